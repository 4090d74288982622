package main

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.temporal.io/server/common/headers"
)

// execute changes a closed database file by hand.
func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+escapeURI(path))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), statement)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// makeFile makes a database of this server version and gives its lock back.
func makeFile(t *testing.T, path string) {
	t.Helper()
	s, err := openFile(t.Context(), path)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestNewFileGetsTheSchemaAndTheVersionOfThisServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a?b#c%20 d.db") // characters with a meaning in SQLite's URIs
	makeFile(t, path)
	db, err := sql.Open("sqlite", "file:"+escapeURI(path))
	if err != nil {
		t.Fatal(err)
	}
	mark, err := readMark(t.Context(), db)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if mark.tables == 0 || mark.application != applicationID || versionText(mark.version) != headers.ServerVersion {
		t.Errorf("got %+v, want tables, our mark and version %s", mark, headers.ServerVersion)
	}
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %o: others can read histories", stat.Mode().Perm())
	}
	makeFile(t, path) // and it opens again
}

func TestFileOfAnotherServerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "temporal.db")
	makeFile(t, path)
	execute(t, path, "PRAGMA user_version = 1031005")
	_, err := openFile(t.Context(), path)
	wantFaultError(t, err, "FS-8002")
	execute(t, path, "PRAGMA user_version = 1032001")
	makeFile(t, path) // a refusal leaves no lock behind
}

func TestFileThatIsNotOursIsRefused(t *testing.T) {
	rows := []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"a text", func(t *testing.T, path string) {
			if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("This is a letter and not a database, and long enough to be one."), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"a foreign database", func(t *testing.T, path string) { execute(t, path, "CREATE TABLE letters (text TEXT)") }},
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "temporal.db")
			r.make(t, path)
			_, err := openFile(t.Context(), path)
			wantFaultError(t, err, "FS-8003")
		})
	}
}

func TestFileLeftEmptyByACrashIsTakenAsNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "temporal.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	makeFile(t, path)
}

func TestSecondServerOnAFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "temporal.db")
	first, err := openFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openFile(t.Context(), path)
	wantFaultError(t, err, "FS-8001")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	makeFile(t, path)
}

func TestVersionNumberIsReadBackAsTheSameText(t *testing.T) {
	for _, v := range []string{"1.32.1", "2.0.0", "1.0.999"} {
		n, err := versionNumber(v)
		if err != nil || versionText(n) != v {
			t.Errorf("version %s became %d and then %s (%v)", v, n, versionText(n), err)
		}
	}
	if _, err := versionNumber("dev"); err == nil {
		t.Error("a version without numbers was accepted")
	}
}
