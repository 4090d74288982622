package agent_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
)

// TestAnotherBodyGoesOnWithTheStreamOfItsMachine fails a machine over: its disk is cloned, with its agent's folders in it as an image
// has them, and written to elsewhere. The heir goes on in the same generation and sends what differs; the source is refused.
func TestAnotherBodyGoesOnWithTheStreamOfItsMachine(t *testing.T) {
	random := seeded(t)
	source := filled(t, random)
	w := newWorld(t, disk.Source{Path: source.Path, Boot: true})
	w.part.Patience = ample
	w.tweak = func(d *agent.Deps) { d.Body = "metal" }
	follower, _ := w.follow()
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	full := w.await(a, "the initial replication", settledAt)
	before := contentOf(t, source.Path)
	w.applied(follower, full.LastPoint.Position)
	stop()

	const changed = 40
	clone := disktest.NewLoop(t, resyncBytes)
	copyDisk(t, source.Path, clone)
	scramble(t, clone.Path, random, changed, resyncBytes)
	image := w.part // of the source, run directory and all: an image that knows too much
	image.Pins = filepath.Join(filepath.Dir(image.Pins), "vm")
	image.State, image.Run = filepath.Join(t.TempDir(), "state"), filepath.Join(disktest.Dir(t), "run")
	for from, to := range map[string]string{w.part.State: image.State, w.part.Run: image.Run} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	metal := w.part
	w.part, w.part.Sources = image, []disk.Source{{Path: clone.Path, Boot: true}}
	w.tweak = func(d *agent.Deps) { d.Body = "vm" }
	vm, stopVM := w.start()
	o := w.await(vm, "the vault to refuse it", func(o agent.Observed) bool { return len(o.Faults) > 0 })
	if o.Instance == full.Instance || faultAt(o, "FS-3503") == nil {
		t.Errorf("nobody named it, and it observes %+v", o)
	}
	control := w.ca.Node(t, farshore.RoleControl, "control-1")
	deps := journal.Deps{Store: w.store, Vault: w.id, Signer: control, Roots: w.ca.Roots(t), Now: time.Now}
	epoch, err := journal.ReleaseTo(t.Context(), deps, machine, o.Instance)
	if err != nil {
		t.Fatal(err)
	}
	o = w.await(vm, "the resync", resynced)
	r, last := o.Resync, o.LastPoint.Position
	t.Logf("the full copy sent %d bytes; the heir: %+v", full.Sent, r)
	if last.Generation != 1 || last.Epoch <= epoch {
		t.Errorf("the heir's point is %v; it was released behind epoch %d of generation 1", last, epoch)
	}
	if r.Owed != resyncBytes || r.Sent > changed*chunkBytes+1<<20 || r.Equal < resyncBytes-changed*chunkBytes {
		t.Errorf("%d blocks changed, and the heir's resync was %+v", changed, r)
	}

	heir := w.part
	w.part = metal // the source comes back while the heir replicates
	w.tweak = func(d *agent.Deps) { d.Body = "metal" }
	back, stopSource := w.start()
	o = w.await(back, "the source to be refused", func(o agent.Observed) bool { return faultAt(o, "FS-3507") != nil })
	if o.Instance != full.Instance {
		t.Errorf("the source is %s, was %s", o.Instance, full.Instance)
	}
	scramble(t, clone.Path, random, changed, resyncBytes)
	w.await(vm, "a later point of the heir", func(o agent.Observed) bool { return settledAt(o) && beyond(last)(o) })
	stopSource()
	stopVM()
	w.part = heir
	w.lastEquals(clone.Path)
	if found := w.pointsHold(resyncBytes, map[string][sha256.Size]byte{"before": before}); len(found) == 0 {
		t.Error("no point of before the failover restores to what the source held")
	}
}

func copyDisk(t *testing.T, from string, to *disk.Loop) {
	t.Helper()
	d := disktest.Open(t, from)
	b := make([]byte, 1<<20)
	for at := int64(0); at < resyncBytes; at += int64(len(b)) {
		if _, err := d.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Node().WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.Node().Sync(); err != nil {
		t.Fatal(err)
	}
}
