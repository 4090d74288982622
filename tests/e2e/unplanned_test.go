package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/hub"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// The recovery site is lost, its agent and its disk with it: the machine comes home at a point that is named, that is taken back,
// and it comes home at the newest one. farshore-restore says what either must be.
func TestAMachineComesHomeThoughItsRecoverySiteIsLost(t *testing.T) {
	r, draw := rig.Up(t, "home-4"), drawn(t)
	disk, there := goOut(r)
	folder := t.TempDir()
	if err := r.StartMasterTarget(t.Context(), "", folder+"/"); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(folder, "home.img")
	reprotect(r, fmt.Sprintf("kind: file\ndisks: {%q: %q}\n", disk, image))
	m, err := r.Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	scribble(r, there, draw)
	m = awaitPointBehind(r, m)
	named := hub.Position(m.GetLastPoint().GetPosition()).String()
	scribble(r, there, draw)
	awaitPointBehind(r, m)
	r.Kill(stack.Agent)
	images, err := filepath.Glob(filepath.Join(r.Dir, "farshore", "disks", "*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("disks of the recovered machine: %v, %v", images, err)
	}
	if err := os.Remove(images[0]); err != nil {
		t.Fatal(err)
	}
	is := func(point string) {
		t.Helper()
		want := filepath.Join(r.Dir, "want.img")
		r.Restore("write", r.Machine, "--at", point, "--to", "raw", "--out", want, "--yes")
		sameBytes(r, want, image)
		if err := os.Remove(want); err != nil {
			t.Fatal(err)
		}
	}
	must(r, "failback", "start", r.Machine, "--unplanned", "--point", named)
	is(named)
	must(r, "failback", "cancel", r.Machine)
	must(r, "failback", "start", r.Machine, "--unplanned")
	is("latest")
	if m, err = r.Show(t.Context()); err != nil || m.GetFailback().GetPlanned() || m.GetFailback().GetComparedBytes() == 0 {
		t.Errorf("failback %v, %v", m.GetFailback(), err)
	}
	t.Logf("home at %s and then at %s; %d bytes compared", named, hub.Position(m.GetFailback().GetPoint().GetPosition()), m.GetFailback().GetComparedBytes())
}
