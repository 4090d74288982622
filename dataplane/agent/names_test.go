package agent_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
)

// An image of a machine is started in another body, where its disk has another name.
func TestADiskKeepsItsNameInAnotherBody(t *testing.T) {
	dir := disktest.Dir(t)
	path := filepath.Join(dir, "db.img")
	if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", path).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	w := newWorld(t, disk.Source{Path: path})
	w.part.Desired.Protect = false
	called := func(body string) farshore.DiskID {
		w.tweak = func(d *agent.Deps) { d.Body = body }
		a, stop := w.start()
		defer stop()
		o := w.await(a, "its disks", func(o agent.Observed) bool { return len(o.Machine.Disks) == 1 })
		return o.Machine.Disks[0].ID
	}
	at := called("metal")
	if at != "name-db.img" {
		t.Errorf("it is called %s", at)
	}
	moved := filepath.Join(dir, "lun0")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	w.part.Sources = []disk.Source{{Path: moved}}
	for range 2 {
		if got := called("vm"); got != at {
			t.Errorf("in another body it is called %s, want %s", got, at)
		}
	}

	notes := filepath.Join(w.part.State, "disks.json")
	body, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := os.WriteFile(notes, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := agent.Names(w.part.State, slog.New(slog.DiscardHandler)); len(n.Disks) != 0 {
		t.Errorf("damaged notes say %+v", n)
	}
	if got := called("vm"); got != "name-lun0" {
		t.Errorf("with damaged notes it is called %s", got)
	}
}
