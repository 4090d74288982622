package main

import (
	"context"

	"go.temporal.io/server/common/config"
)

// store is where the server keeps its state. Opening one takes its lock; Close gives it back.
type store struct {
	name       string      // for people: "file /var/lib/farshore/temporal.db", "PostgreSQL 10.0.0.5:5432"
	executions *config.SQL // workflows, task queues, namespaces
	visibility *config.SQL // what lists and queries read
	shards     int32       // history shards; fixed for ever when the store is first used
	release    func() error
}

// Close gives the lock back. The server must have stopped, or the process must be about to end.
func (s *store) Close() error { return s.release() }

// storeOptions names exactly one store: a file or a PostgreSQL server.
type storeOptions struct {
	file     string
	postgres postgresOptions
}

func (o storeOptions) open(ctx context.Context) (*store, error) {
	if o.file != "" {
		return openFile(ctx, o.file)
	}
	return openPostgres(ctx, o.postgres)
}
