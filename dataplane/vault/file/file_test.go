package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/storetest"
	"farshore/fault"
)

func newVault(t *testing.T) (vault.Store, vault.Replicas, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "vault")
	if err := Create(root); err != nil {
		t.Fatal(err)
	}
	s, r, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s, r, root
}

func TestFolderIsAStore(t *testing.T) {
	storetest.Stores(t, func(t *testing.T) vault.Store {
		s, _, _ := newVault(t)
		return s
	})
}

func TestFolderKeepsReplicaDisks(t *testing.T) {
	storetest.ReplicaDisks(t, func(t *testing.T) vault.Replicas {
		_, r, _ := newVault(t)
		return r
	})
}

func TestSnapshotsAreListedWhileTheyAreRemoved(t *testing.T) {
	_, r, _ := newVault(t)
	const name = "replica/v1/m/web-01/g00000001/sda.vhd"
	if err := r.Create(t.Context(), name, 8); err != nil {
		t.Fatal(err)
	}
	open := func() vault.ReplicaDisk {
		d, err := r.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	writer, reader := open(), open()
	if err := writer.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range 100 {
			id, err := writer.Snapshot(t.Context())
			if err := errors.Join(err, writer.RemoveSnapshot(t.Context(), id)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for seen := 0; ; {
		snapshots, err := reader.Snapshots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen += len(snapshots)
		select {
		case err := <-done:
			if err := errors.Join(err, writer.Close(), reader.Close()); err != nil || seen == 0 {
				t.Errorf("%d were seen: %v", seen, err)
			}
			return
		default:
		}
	}
}

func TestOpenRefusesAFolderThatIsNoVault(t *testing.T) {
	_, _, err := Open(t.TempDir())
	if f, ok := fault.As(err); !ok || f.Code != "FS-3006" {
		t.Errorf("got %v, want FS-3006", err)
	}
}

func TestOpenSweepsWhatTheDeadLeftAndNothingThatIsInUse(t *testing.T) {
	_, _, root := newVault(t)
	v := &folder{root: root}
	living, err := v.temporary()
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(root, tmpDir, "put-dead")
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead writer's file is still there: %v", err)
	}
	if _, err := os.Stat(living.Name()); err != nil {
		t.Errorf("the living writer's file was swept: %v", err)
	}
	if err := discard(living); err != nil {
		t.Error(err)
	}
}

func TestASecondHandleSeesTheSameVault(t *testing.T) {
	s, _, root := newVault(t)
	if _, err := s.PutIfAbsent(t.Context(), "points/v1/a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := Create(root); err != nil { // what is there is kept
		t.Fatal(err)
	}
	other, _, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := other.PutIfAbsent(t.Context(), "points/v1/a", []byte("x")); err != nil || outcome != vault.Same {
		t.Errorf("put by another handle: %v, %v", outcome, err)
	}
}

// Whoever took a volume that is away for an empty vault would think that what is in it had never been.
func TestAVaultWhoseVolumeIsAwayIsNotAnEmptyOne(t *testing.T) {
	s, r, root := newVault(t)
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	away := func(what string, err error) {
		t.Helper()
		if f, ok := fault.As(err); !ok || f.Kind != fault.Transient {
			t.Errorf("%s: %v, want a transient fault", what, err)
		}
	}
	_, err := s.Get(t.Context(), "points/v1/a")
	away("get", err)
	_, err = s.GetRange(t.Context(), "points/v1/a", 0, 1)
	away("get a range", err)
	_, err = s.PutIfAbsent(t.Context(), "points/v1/a", nil)
	away("put", err)
	_, err = r.Open(t.Context(), "replica/v1/m/web-01/g00000001/sda.vhd")
	away("open a disk", err)
	for _, listed := range s.List(t.Context(), "points/v1/", "") {
		err = listed
	}
	away("list", err)
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "points/v1/a"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("when it is back: %v", err)
	}
}
