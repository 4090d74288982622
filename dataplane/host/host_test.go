package host_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/host"
)

func create(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestAStoreToAMappingIsInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "set")
	file := create(t, path)
	if err := file.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	m, err := host.Map(file, 8192)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil { // the mapping stays
		t.Fatal(err)
	}
	copy(m.Bytes()[5000:], "kept")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got[5000:5004], []byte("kept")) {
		t.Errorf("the file holds %q, %v", got[5000:5004], err)
	}
}

func TestReservedMemoryIsZero(t *testing.T) {
	m, err := host.Reserve(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Bytes(), make([]byte, 1<<20)) {
		t.Error("reserved memory is not zero")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFileIsLockedByOneHandleOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first := create(t, path)
	if err := host.Lock(first); err != nil {
		t.Fatal(err)
	}
	if err := host.Lock(create(t, path)); err == nil {
		t.Error("two handles hold the same lock")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := host.Lock(create(t, path)); err != nil {
		t.Errorf("the lock did not end with its handle: %v", err)
	}
}

func TestAFileIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, "state"), filepath.Join(dir, "state.new")
	for path, body := range map[string]string{old: "a longer old state", fresh: "new"} {
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := host.Replace(fresh, old); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(old); err != nil || string(got) != "new" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if _, err := os.Stat(fresh); !os.IsNotExist(err) {
		t.Errorf("the new name is still there: %v", err)
	}
}

func TestABootHasOneNameAndAClockThatRuns(t *testing.T) {
	id, err := host.BootID()
	if err != nil || id == "" || len(id) > 36 {
		t.Fatalf("BootID = %q, %v", id, err)
	}
	if again, err := host.BootID(); err != nil || again != id {
		t.Errorf("BootID = %q, %v; want %q again", again, err, id)
	}
	a, err := host.BootClock()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := host.BootClock(); err != nil || b < a || a <= 0 {
		t.Errorf("the boot clock went from %v to %v, %v", a, b, err)
	}
}

func TestAFileIsReplacedWholeForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for _, content := range []string{"a longer first", "second"} {
		if err := host.Write(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("it holds %q, %v", got, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := host.Write(filepath.Join(path, "below"), nil); err == nil {
		t.Error("a file was made below a file")
	}
}
