package applier

import (
	"os"
	"path/filepath"
	"testing"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/vault/file"
)

// wantPassed runs an applier until the replica stands at the end of the stream, in a new generation.
func (w *world) wantPassed(t *testing.T) Observed {
	t.Helper()
	a := w.applier(w.vault.Store, w.vault.Replicas)
	desired := run(t, a)
	desired <- Desired{Machines: []farshore.MachineID{web}}
	o := observed(t, a, func(o Observed) bool { return len(o.Replicas) > 0 && o.Replicas[0].Applied == w.tail() })
	if o.Replicas[0].Applied.Generation != 2 || o.StandingStill != 0 {
		t.Errorf("observed %+v", o)
	}
	w.judge("the new generation")
	if n, wrong := w.judgeCheckpoints(1); n == 0 || len(wrong) > 0 {
		t.Errorf("generation 1 has %d checkpoints: %v", n, wrong)
	}
	return o
}

func TestANewFullCopyIsFollowedBehindADamagedSegment(t *testing.T) {
	dir := filepath.Join(disktest.Dir(t), "vault")
	if err := file.Create(dir); err != nil {
		t.Fatal(err)
	}
	s, r, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 4, s, r)
	for range 5 {
		w.Segment(10, true)
	}
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	rotten := filepath.Join(dir, filepath.FromSlash(chain.NameOf(web, w.Segment(10, true))))
	w.Segment(10, true)
	body, err := os.ReadFile(rotten)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := os.WriteFile(rotten, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := faultOf("replica", w.applier(s, r).followOnce(t.Context(), web)); f.Code != "FS-3510" {
		t.Errorf("without a new full copy: %v", f)
	}
	w.Claim(true)
	w.Segment(20, true)
	w.Segment(20, true)
	if o := w.wantPassed(t); len(o.Faults) != 1 || o.Faults[0].Code != "FS-3510" {
		t.Errorf("faults %v", o.Faults)
	}
}

func TestANewFullCopyIsFollowedBehindAGap(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 5, s, r)
	w.Segment(10, true)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	lost := w.Segment(1, true)
	for range 2 * chain.MaxInFlight { // the writer of the new generation seals far behind the gap
		w.Segment(1, true)
	}
	if err := s.Delete(t.Context(), chain.NameOf(web, lost)); err != nil {
		t.Fatal(err)
	}
	w.Claim(true)
	w.Segment(20, true)
	w.wantPassed(t)
}
