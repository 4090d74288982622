package e2e

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// damaged is the exit code of a verification that has found something.
const damaged = 13

// found is what a verification prints of one thing that is not what was written.
type found struct {
	Kind, Object, Disk, Code, What string
	Offset, Bytes                  uint64
	Lost                           []farshore.Position
}

// verified runs `farshore verify` and gives what it found in the one machine there is.
func verified(r *rig.Rig, exit int, what ...string) []found {
	r.Helper()
	out, err := r.CLI(r.Context(), append(append([]string{"verify"}, what...), "-o", "json")...)
	code := 0
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		code = ended.ExitCode()
	}
	var told struct {
		Machines []struct {
			Points                                    int
			TotalBytes, ComparedBytes, DifferentBytes uint64
			Findings                                  []found
		}
	}
	if code != exit || json.Unmarshal(out, &told) != nil || len(told.Machines) != 1 {
		r.Fatalf("verify %v: exit code %d, want %d: %v\n%s\ncontrol:\n%s\napplier:\n%s", what, code, exit, err, out, r.Tail(stack.Control), r.Tail(stack.Applier))
	}
	m := told.Machines[0]
	r.Logf("verify %v: exit code %d, %d points, %d of %d bytes compared, %d differ; %+v", what, code, m.Points, m.ComparedBytes, m.TotalBytes, m.DifferentBytes, m.Findings)
	if exit == 0 && (m.ComparedBytes == 0 || m.Points == 0) {
		r.Error("nothing was looked at")
	}
	return m.Findings
}

// flip turns a bit over in an object of the vault, and gives what turns it back.
func flip(r *rig.Rig, object string, at int64) (back func()) {
	r.Helper()
	turn := func() {
		f, err := os.OpenFile(filepath.Join(r.Stack.Dir, "vault", object), os.O_RDWR, 0)
		if err != nil {
			r.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			r.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b, at); err != nil {
			r.Fatal(err)
		}
	}
	turn()
	return turn
}

// replicaByte draws a byte of the replica's one disk that was written, and gives the disk's name in the vault.
func replicaByte(t *testing.T, r *rig.Rig, draw *rand.Rand) (replica string, at int64) {
	t.Helper()
	disks, err := filepath.Glob(filepath.Join(r.Stack.Dir, "vault", chain.ReplicaPrefix(farshore.MachineID(r.Machine), 1), "*.vhd"))
	if err != nil || len(disks) != 1 {
		t.Fatalf("replica disks %v: %v", disks, err)
	}
	replica, err = filepath.Rel(filepath.Join(r.Stack.Dir, "vault"), disks[0])
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(disks[0])
	if err != nil {
		t.Fatal(err)
	}
	at = draw.Int64N(rig.DiskBytes)
	for content[at] == 0 { // what was never written is nobody's
		at = draw.Int64N(rig.DiskBytes)
	}
	return replica, at
}

// wantDamageTold flips a bit in the replica, and one in a segment, and wants `farshore verify` to tell both, each with its place and
// the points that are lost by it. Afterwards everything is as it was.
func wantDamageTold(t *testing.T, r *rig.Rig, draw *rand.Rand) {
	t.Helper()
	if told := verified(r, 0, "vault"); len(told) > 0 {
		t.Fatalf("findings in a sound vault: %+v", told)
	}
	replica, at := replicaByte(t, r, draw)
	back := flip(r, replica, at)
	told := verified(r, damaged, "machine", r.Machine)
	if sector := uint64(at) / block.SectorSize * block.SectorSize; len(told) != 1 || told[0].Kind != "replica" || told[0].Object != replica || told[0].Offset != sector || told[0].Bytes != block.SectorSize || told[0].Disk == "" {
		t.Errorf("a flip in byte %d of %s was told as %+v", at, replica, told)
	}
	back()

	points := r.VaultPoints()
	lost := points[len(points)/2:]
	name := chain.NameOf(farshore.MachineID(r.Machine), lost[0].Position)
	whole, err := os.Stat(filepath.Join(r.Stack.Dir, "vault", name))
	if err != nil {
		t.Fatal(err)
	}
	back = flip(r, name, draw.Int64N(whole.Size()))
	told = verified(r, damaged, "machine", r.Machine)
	var want []farshore.Position
	for _, p := range lost {
		want = append(want, p.Position)
	}
	if len(told) != 1 || told[0].Kind != "journal" || told[0].Object != name || !slices.Equal(told[0].Lost, want) {
		t.Errorf("a flip in %s, which loses %v, was told as %+v", name, want, told)
	}
	back()
}
