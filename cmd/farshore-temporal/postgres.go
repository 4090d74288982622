package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"time"

	"go.temporal.io/server/common/auth"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	persistencesql "go.temporal.io/server/common/persistence/sql"
	postgresplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"
	"go.temporal.io/server/common/resolver"
)

const (
	// postgresLock is the advisory lock of the embedded server in its own database: "FSTP" and a number.
	postgresLock = 0x46535450_00000001
	// postgresConnections is the limit per database.
	postgresConnections = 20
	postgresLifetime    = time.Hour
	// postgresDialLimit bounds each connection from dial to greeting; the driver does not listen to a context meanwhile.
	postgresDialLimit = 5 * time.Second
)

// postgresOptions say where PostgreSQL is and which two databases are ours.
type postgresOptions struct {
	address     string
	user        string
	passwordEnv string
	database    string
	visibility  string
	ca          string
	shards      int32
}

func (o postgresOptions) check() error {
	if _, _, err := net.SplitHostPort(o.address); err != nil {
		return fmt.Errorf("PostgreSQL address %q is not host:port: %w", o.address, err)
	}
	name := regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	for _, database := range []string{o.database, o.visibility} {
		if !name.MatchString(database) {
			return fmt.Errorf("database name %q: want lower-case letters, digits and _", database)
		}
	}
	if o.database == o.visibility {
		return fmt.Errorf("workflows and visibility need two databases, both are %q", o.database)
	}
	if o.shards < 1 {
		return fmt.Errorf("%d history shards: want at least 1", o.shards)
	}
	return nil
}

// config gives the server's own form of the options for one database.
func (o postgresOptions) config(database string) *config.SQL {
	c := &config.SQL{
		PluginName:        postgresplugin.PluginName,
		ConnectAddr:       o.address,
		ConnectProtocol:   "tcp",
		User:              o.user,
		Password:          os.Getenv(o.passwordEnv),
		DatabaseName:      database,
		ConnectAttributes: map[string]string{"connect_timeout": dialSeconds()},
		MaxConns:          postgresConnections,
		MaxIdleConns:      postgresConnections,
		MaxConnLifetime:   postgresLifetime,
	}
	if o.ca != "" {
		c.TLS = &auth.TLS{Enabled: true, EnableHostVerification: true, CaFile: o.ca}
	}
	return c
}

// openPostgres takes the lock in the database and checks that the schemas fit this server.
func openPostgres(ctx context.Context, o postgresOptions) (*store, error) {
	release, err := lockPostgres(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &store{
		name:       "PostgreSQL " + o.address,
		executions: o.config(o.database),
		visibility: o.config(o.visibility),
		shards:     o.shards,
		release:    release,
	}
	err = persistencesql.VerifyCompatibleVersion(config.Persistence{
		DefaultStore:    executionStore,
		VisibilityStore: visibilityStore,
		DataStores: map[string]config.DataStore{
			executionStore:  {SQL: s.executions},
			visibilityStore: {SQL: s.visibility},
		},
	}, resolver.NewNoopResolver(), log.NewNoopLogger())
	if err != nil {
		return nil, errors.Join(&fault{
			code: "FS-8007", kind: operator, subject: s.name, err: err,
			what:   fmt.Sprintf("the schemas of %s and %s are missing or older than this server", o.database, o.visibility),
			remedy: fmt.Sprintf("run: farshore-temporal schema postgres --address %s --user %s", o.address, o.user),
		}, release())
	}
	return s, nil
}

// lockPostgres takes the advisory lock on a connection of its own and keeps both until release. PostgreSQL drops the
// lock with the connection; a second server that came in then is still fenced by the shards' range numbers.
func lockPostgres(ctx context.Context, o postgresOptions) (release func() error, err error) {
	db, err := sql.Open("postgres", o.dsn(o.database))
	if err != nil {
		return nil, noPostgres(o, err)
	}
	dialCtx, cancel := context.WithTimeout(ctx, postgresDialLimit)
	defer cancel()
	conn, err := db.Conn(dialCtx)
	if err != nil {
		return nil, errors.Join(noPostgres(o, err), db.Close())
	}
	release = func() error {
		if err := errors.Join(conn.Close(), db.Close()); err != nil {
			return fmt.Errorf("unlock database %s: %w", o.database, err)
		}
		return nil
	}
	var taken bool
	err = conn.QueryRowContext(dialCtx, "SELECT pg_try_advisory_lock($1)", int64(postgresLock)).Scan(&taken)
	if err != nil {
		return nil, errors.Join(noPostgres(o, err), release())
	}
	if !taken {
		return nil, errors.Join(&fault{
			code: "FS-8001", kind: operator, subject: "database " + o.database + " on PostgreSQL " + o.address,
			what:   "another farshore-temporal server is running on it",
			remedy: "stop that server first; it shows in pg_locks as an advisory lock",
		}, release())
	}
	return release, nil
}

// dsn is the address of one database as a URL for the driver.
func (o postgresOptions) dsn(database string) string {
	query := url.Values{"sslmode": {"disable"}, "connect_timeout": {dialSeconds()}, "application_name": {"farshore-temporal"}}
	if o.ca != "" {
		query.Set("sslmode", "verify-full")
		query.Set("sslrootcert", o.ca)
	}
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(o.user, os.Getenv(o.passwordEnv)),
		Host: o.address, Path: database, RawQuery: query.Encode(),
	}).String()
}

func dialSeconds() string { return strconv.Itoa(int(postgresDialLimit.Seconds())) }

func noPostgres(o postgresOptions, err error) error {
	return &fault{
		code: "FS-8006", kind: operator, subject: "PostgreSQL " + o.address, what: "database " + o.database + " cannot be used",
		err: err,
		remedy: "check address, user and password variable; a database that does not exist is made by: " +
			"farshore-temporal schema postgres",
	}
}
