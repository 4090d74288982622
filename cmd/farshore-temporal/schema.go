package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/lib/pq"
	"github.com/spf13/cobra"
	"go.temporal.io/server/common/log"
	schematool "go.temporal.io/server/tools/common/schema"
	sqltool "go.temporal.io/server/tools/sql"
)

const schemaExample = `  PGPASSWORD=... farshore-temporal schema postgres --address 10.0.0.5:5432 --user temporal --password-env PGPASSWORD`

// databaseMissing is PostgreSQL's SQLSTATE for a database that does not exist.
const databaseMissing = "3D000"

func schemaCommand() *cobra.Command {
	o := postgresOptions{shards: 1}
	var output string
	pg := &cobra.Command{
		Use:     "postgres",
		Short:   "Create the two PostgreSQL databases of a Temporal cluster, or bring their schemas up to date",
		Example: schemaExample,
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(o.check(), checkOutput(output)); err != nil {
				return usageFault(cmd, err)
			}
			return updateSchemas(cmd.Context(), o, newPrinter(cmd, output))
		},
	}
	f := pg.Flags()
	f.StringVar(&o.address, "address", "127.0.0.1:5432", "PostgreSQL `host:port`")
	f.StringVar(&o.user, "user", "temporal", "PostgreSQL `user`; needs CREATEDB only while a database is missing")
	f.StringVar(&o.passwordEnv, "password-env", "", "`name` of the environment variable with the password")
	f.StringVar(&o.database, "db", "temporal", "`database` for workflows")
	f.StringVar(&o.visibility, "visibility-db", "temporal_visibility", "`database` for lists and queries")
	f.StringVar(&o.ca, "ca", "", "PEM `file` of the authority that signed PostgreSQL's certificate; turns TLS on")
	addOutputFlag(pg, &output)
	parent := &cobra.Command{Use: "schema", Short: "Prepare a database for a Temporal cluster"}
	parent.AddCommand(pg)
	return parent
}

// schemaState is what was done to one database.
type schemaState struct {
	Database string `json:"database"`
	Before   string `json:"before"` // empty when the schema is new
	Now      string `json:"now"`
}

// String is the line for people.
func (s schemaState) String() string {
	switch s.Before {
	case "":
		return fmt.Sprintf("%s: schema %s created", s.Database, s.Now)
	case s.Now:
		return fmt.Sprintf("%s: schema %s is up to date", s.Database, s.Now)
	}
	return fmt.Sprintf("%s: schema %s updated from %s", s.Database, s.Now, s.Before)
}

// updateSchemas may be repeated and may be interrupted: each step of a schema is recorded when it is done.
func updateSchemas(ctx context.Context, o postgresOptions, out *printer) error {
	for _, d := range []struct{ database, schema string }{
		{o.database, "postgresql/v12/temporal"},
		{o.visibility, "postgresql/v12/visibility"},
	} {
		state, err := updateSchema(ctx, o, d.database, d.schema)
		if err != nil {
			o.database = d.database
			return noPostgres(o, err)
		}
		if err := out.print(state); err != nil {
			return err
		}
	}
	return nil
}

func updateSchema(ctx context.Context, o postgresOptions, database, schema string) (schemaState, error) {
	conn, err := openOrCreate(ctx, o, database)
	if err != nil {
		return schemaState{}, err
	}
	defer conn.Close()
	tables, err := conn.ListTables()
	if err != nil {
		return schemaState{}, fmt.Errorf("list its tables: %w", err)
	}
	state := schemaState{Database: database}
	if slices.Contains(tables, "schema_version") {
		if state.Before, err = conn.ReadSchemaVersion(); err != nil {
			return schemaState{}, fmt.Errorf("read its schema version: %w", err)
		}
	} else {
		setup := &schematool.SetupConfig{InitialVersion: "0.0"}
		if err := schematool.NewSetupSchemaTask(conn, setup, log.NewNoopLogger()).Run(); err != nil {
			return schemaState{}, fmt.Errorf("create its version table: %w", err)
		}
	}
	update := &schematool.UpdateConfig{DBName: database, SchemaName: schema}
	if err := schematool.NewUpdateSchemaTask(conn, update, log.NewNoopLogger()).Run(); err != nil {
		return schemaState{}, fmt.Errorf("update its schema: %w", err)
	}
	if state.Now, err = conn.ReadSchemaVersion(); err != nil {
		return schemaState{}, fmt.Errorf("read its schema version: %w", err)
	}
	return state, nil
}

// openOrCreate connects to a database and creates it if it is missing. It looks first, because PostgreSQL demands the
// right to create databases even for one that is there, and an administrator may have made it for us.
func openOrCreate(ctx context.Context, o postgresOptions, database string) (*sqltool.Connection, error) {
	err := o.ping(ctx, database)
	var refusal *pq.Error
	if errors.As(err, &refusal) && refusal.Code == databaseMissing {
		if err := sqltool.DoCreateDatabase(o.config(database), "", log.NewNoopLogger()); err != nil {
			return nil, fmt.Errorf("create it: %w", err)
		}
		err = o.ping(ctx, database)
	}
	if err != nil {
		return nil, err
	}
	conn, err := sqltool.NewConnection(o.config(database), log.NewNoopLogger())
	if err != nil {
		return nil, fmt.Errorf("connect to it: %w", err)
	}
	return conn, nil
}

// ping connects once. The server's own connections hide why they do not come about.
func (o postgresOptions) ping(ctx context.Context, database string) (err error) {
	db, err := sql.Open("postgres", o.dsn(database))
	if err != nil {
		return fmt.Errorf("connect to it: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, postgresDialLimit)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("connect to it: %w", err)
	}
	return nil
}
