package kernels

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"farshore/tests/lab/kernel"
	"farshore/tests/lab/qemu"
)

// pointsUnderLoad is how many points are made before the power of the machine is cut.
const pointsUnderLoad = 5

// The agent as a whole where nothing is captured: its bitmap and its freezes alone must make points that are sound, also in front of a
// cut of the power, and a replica that becomes what is on the disk behind it.
func TestTheAgentKeepsAnARM64MachineInBitmapGrade(t *testing.T) {
	if !long() {
		t.Skip("SKIPPED: booting another architecture takes minutes; run: make kernels")
	}
	for _, r := range []kernel.Release{kernel.Debian12ARM, kernel.Debian13ARM} {
		t.Run(r.Name, func(t *testing.T) { keep(t, r) })
	}
}

func keep(t *testing.T, r kernel.Release) {
	if !wanted(r) {
		t.Skipf("SKIPPED: ONLY asks for other kernels")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := newSite(t, 5, "protected")
	p := newPower(t, s, r, loadJob, qemu.Disk{Path: s.ext4("protected.img", protectedBytes, ""), Bus: qemu.Virtio, Serial: "protected"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	busy := p.on(ctx, false)
	t.Logf("a point after %.1f s", time.Since(busy.started).Seconds())
	for len(p.points(p.restorer)) < pointsUnderLoad {
		p.listen(ctx, busy)
	}
	busy.guest.Stop()
	points := p.points(p.restorer)
	t.Logf("%d points in %.0f s under load", len(points), points[len(points)-1].Time.Sub(points[0].Time).Seconds())
	last := p.on(ctx, true)
	for !last.quiet {
		p.listen(ctx, last)
	}
	p.await(ctx)
	last.guest.Stop()
	t.Logf("behind the cut: copied because %q; resync: %s", last.why, last.resync)
	for _, one := range []*turn{busy, last} {
		if one.grade != "bitmap" || one.gained > 0 {
			t.Errorf("the agent began in grade %q and gained write order %d times; bitmap is what this architecture has", one.grade, one.gained)
		}
	}
	p.examine(rand.New(rand.NewPCG(seed, 0)), len(p.points(p.restorer)))
}
