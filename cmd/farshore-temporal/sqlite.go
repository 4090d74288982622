package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/headers"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/schema"
)

const (
	// fileShards is the number of history shards in a file. SQLite has one writer, so more would only cost.
	fileShards = 1
	// applicationID marks the file as ours in SQLite's header (file offset 68): "FSTP".
	applicationID = 0x46535450
)

// openFile locks the database file and sees that it has the schema of this server version, creating it if it is new.
func openFile(ctx context.Context, path string) (*store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the database file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, unusableFile(path, err)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	if err := prepareFile(ctx, path); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	cfg := &config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: escapeURI(path),
		ConnectAttributes: map[string]string{
			"mode": "rw",
			// Twice the throughput of the defaults. What is acknowledged is in the log, but synced only when the log is
			// folded in: a kill loses nothing; a power loss keeps the file sound and may take the last moments back.
			// Then a step runs again, which every activity allows, or a request is gone and is made again.
			"journal_mode": "wal",
			"synchronous":  "normal",
			// A backup reading the file may hold it for a moment.
			"busy_timeout": "10000",
		},
	}
	return &store{
		name: "file " + path, executions: cfg, visibility: cfg, shards: fileShards,
		// By the time of a release the context of the start has long ended.
		release: func() error { return errors.Join(foldLog(context.WithoutCancel(ctx), path), lock.release()) },
	}, nil
}

// foldLog writes the write-ahead log into the file, so that after a clean stop the file alone is a whole backup.
// The server's own connection stays open as long as the process lives, so SQLite would not do it by itself.
func foldLog(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+escapeURI(path)+"?mode=rw&_pragma=busy_timeout=10000")
	if err != nil {
		return unusableFile(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return unusableFile(path, fmt.Errorf("fold the write-ahead log into it: %w", err))
	}
	return nil
}

// prepareFile creates the schema in a new file and checks whose file an old one is.
func prepareFile(ctx context.Context, path string) (err error) {
	// Made here and not by SQLite so that histories are never readable by others, not even for a moment.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return unusableFile(path, err)
	}
	if err := file.Close(); err != nil {
		return unusableFile(path, err)
	}
	db, err := sql.Open("sqlite", "file:"+escapeURI(path)+"?mode=rw")
	if err != nil {
		return unusableFile(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	mark, err := readMark(ctx, db)
	if err != nil {
		return unusableFile(path, err)
	}
	want, err := versionNumber(headers.ServerVersion)
	if err != nil {
		return err
	}
	switch {
	case mark.tables == 0:
		if err := createSchema(ctx, db, want); err != nil {
			return unusableFile(path, err)
		}
		return nil
	case mark.application != applicationID:
		return &fault{
			code: "FS-8003", kind: operator, subject: "file " + path,
			what:   "it is a database, but not one of farshore-temporal's",
			remedy: "name another file with --db; a new file is created when there is none",
		}
	case mark.version != want:
		return otherVersion(path, mark.version)
	}
	return nil
}

// fileMark is what the header of a SQLite file says about its maker.
type fileMark struct {
	tables, application, version int
}

func readMark(ctx context.Context, db *sql.DB) (fileMark, error) {
	var m fileMark
	for query, into := range map[string]*int{
		"SELECT count(*) FROM sqlite_master": &m.tables,
		"PRAGMA application_id":              &m.application,
		"PRAGMA user_version":                &m.version,
	} {
		if err := db.QueryRowContext(ctx, query).Scan(into); err != nil {
			return fileMark{}, fmt.Errorf("read its header: %w", err)
		}
	}
	return m, nil
}

// createSchema makes all tables and the mark in one transaction: a crash leaves an empty file, which the next start
// takes for a new one, and never half a schema.
func createSchema(ctx context.Context, db *sql.DB, version int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("create the schema: %w", err)
	}
	for _, name := range []string{"sqlite/v3/temporal/schema.sql", "sqlite/v3/visibility/schema.sql"} {
		text, err := fs.ReadFile(schema.Assets(), name)
		if err != nil {
			return errors.Join(fmt.Errorf("read the schema of the server: %w", err), tx.Rollback())
		}
		if _, err := tx.ExecContext(ctx, string(text)); err != nil {
			return errors.Join(fmt.Errorf("create the schema %s: %w", name, err), tx.Rollback())
		}
	}
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return errors.Join(fmt.Errorf("mark the file: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("create the schema: %w", err)
	}
	return nil
}

// versionNumber packs "1.32.1" into 1032001, so that it fits SQLite's user_version.
func versionNumber(version string) (int, error) {
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return 0, fmt.Errorf("read the server version %q: %w", version, err)
	}
	return major*1_000_000 + minor*1_000 + patch, nil
}

// versionText is the inverse of versionNumber.
func versionText(n int) string {
	return fmt.Sprintf("%d.%d.%d", n/1_000_000, n/1_000%1_000, n%1_000)
}

func otherVersion(path string, found int) error {
	return &fault{
		code: "FS-8002", kind: operator, subject: "file " + path,
		what: fmt.Sprintf("it was written by Temporal server %s and this is %s; files do not carry over between versions",
			versionText(found), headers.ServerVersion),
		remedy: "run the farshore-temporal that made it (farshore-temporal --version), or move the file aside with its " +
			"-wal and -shm, start on a new one and rebuild with: farshore-control recover --from-vault",
	}
}

func unusableFile(path string, err error) error {
	return &fault{
		code: "FS-8003", kind: operator, subject: "file " + path, what: "it cannot be used as a database", err: err,
		remedy: "check that the folder exists, is on a local disk, is writable for this user and has free space",
	}
}

// escapeURI keeps ?, # and % in a file name from being read as parts of SQLite's URI.
func escapeURI(path string) string {
	return (&url.URL{Path: path}).EscapedPath()
}
