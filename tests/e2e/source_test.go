package e2e

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os/exec"
	"testing"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/hashes"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// compared is what `farshore verify machine NAME --source` prints.
type compared struct {
	Workflow string
	Source   struct {
		TotalBytes, EqualBytes, ChangedBytes, UnspecifiedBytes, DifferentBytes uint64
		NotCompared                                                            []string
		Differences                                                            []struct {
			Disk          string
			Offset, Bytes uint64
		}
		Healed farshore.RecoveryPoint
	}
}

func sourceCompared(r *rig.Rig, exit int) compared {
	r.Helper()
	out, err := r.CLI(r.Context(), "verify", "machine", r.Machine, "--source", "-o", "json")
	code := 0
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		code = ended.ExitCode()
	}
	var told compared
	if code != exit || json.Unmarshal(out, &told) != nil {
		r.Fatalf("verify --source: exit code %d, want %d: %v\n%s\ncontrol:\n%s\nagent:\n%s", code, exit, err, out, r.Tail(stack.Control), r.Tail(stack.Agent))
	}
	r.Logf("%+v", told)
	if c := told.Source; c.TotalBytes != rig.DiskBytes || len(c.NotCompared) > 0 {
		r.Errorf("not everything was looked at: %+v", c)
	}
	return told
}

// wantSourceEqual has the disk compared with its replica while the writer writes it.
func wantSourceEqual(r *rig.Rig) {
	r.Helper()
	before := len(r.VaultPoints())
	if c := sourceCompared(r, 0).Source; c.DifferentBytes != 0 || c.ChangedBytes == 0 {
		r.Errorf("under load: %+v", c)
	}
	r.AwaitPoints(before + 1)
}

// wantReplicaFlipTold turns a bit over in the replica, which nobody but the source can tell from what was written, and wants it
// told where it is, healed, and not told again.
func wantReplicaFlipTold(t *testing.T, r *rig.Rig, draw *rand.Rand) {
	t.Helper()
	replica, at := replicaByte(t, r, draw)
	flip(r, replica, at)
	c := sourceCompared(r, damaged).Source
	if want := uint64(at) / hashes.ChunkBytes * hashes.ChunkBytes; len(c.Differences) != 1 || c.Differences[0].Offset != want || c.Differences[0].Bytes != hashes.ChunkBytes || c.Healed.Position.IsZero() {
		t.Errorf("a flip in byte %d of sector %d was told as %+v", at, at/block.SectorSize, c)
	}
	if c := sourceCompared(r, 0).Source; c.DifferentBytes != 0 {
		t.Errorf("healed, and again: %+v", c)
	}
}
