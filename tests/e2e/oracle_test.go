package e2e

import (
	"math/rand/v2"
	"testing"

	"farshore/tests/lab/rig"
)

const (
	wantedPoints = 60 // made
	triedPoints  = 50 // restored, at random among them
)

// On the way, `farshore verify` is asked whether the vault holds what was written and what the disk holds, and told an untruth.
func TestFiftyRandomPointsRestoreByteForByteWithEverythingElseStopped(t *testing.T) {
	r := rig.Up(t, "oracle-1")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	wantSourceEqual(r)
	r.AwaitPoints(wantedPoints)
	r.Writer.Kill()
	draw := rand.New(rand.NewPCG(seed, 0))
	wantDamageTold(t, r, draw)
	wantReplicaFlipTold(t, r, draw)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	points := r.VaultPoints()
	if len(points) < wantedPoints {
		t.Fatalf("the vault has %d points, want %d", len(points), wantedPoints)
	}
	states := map[uint64]bool{}
	for _, i := range draw.Perm(len(points))[:triedPoints] {
		states[r.Check(points[i].Position.String())] = true
	}
	t.Logf("%d points made, %d restored, %d different states, each byte for byte as logged", len(points), triedPoints, len(states))
	if len(states) < triedPoints/4 {
		t.Error("the points show too few different states to prove anything")
	}
}
