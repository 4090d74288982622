package kernels

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"farshore"
	"farshore/tests/lab/kernel"
	"farshore/tests/lab/qemu"
)

// databaseJob makes the database, has it recover, or else runs it under load beside the agent.
const databaseJob = `guest() { /guest -test.v -test.timeout 0 -test.run "^$1\$"; }
case "$(cat /proc/cmdline)" in
*create*) guest create; exit $? ;;
*recovered*) guest recovered; exit $? ;;
esac
` + online + `/agent run --config /agent.yaml 2>&1 &
guest busy`

// The database's disks: a mirror of two buses for its tables, and a third bus for its write-ahead log.
var databaseDisks = []qemu.Disk{
	{Bus: qemu.Virtio, Serial: "mirror-a"}, {Bus: qemu.SCSI, Serial: "mirror-b"}, {Bus: qemu.NVMe, Serial: "log"},
}

// restores is how many points are restored.
const restores = 8

// pointsWanted is how many points are made before the power is cut.
func pointsWanted(t *testing.T) int {
	t.Helper()
	text := os.Getenv("POINTS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A database under load on LVM on a mirror, with its log on another disk. What was recorded of all three disks in one order
// must be a database that recovers, at every point.
func TestPostgreSQLRecoversFromEveryPointOfABusyGuest(t *testing.T) {
	if !long() {
		t.Skip("SKIPPED: a database in an emulated machine takes minutes; run: make kernels")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := newSite(t, 5, "mirror-a", "mirror-b", "log")
	_, tree := fetch(t, kernel.Debian12, "postgresql-15", "dash") // initdb asks a shell
	programs := qemu.Disk{Path: s.ext4("tools.img", 1<<30, tree), Bus: qemu.Virtio, Serial: "tools"}
	disks := append([]qemu.Disk(nil), databaseDisks...)
	for i := range disks {
		disks[i].Path = image(t, s.dir, disks[i].Serial+".img", protectedBytes)
	}
	p := newPower(t, s, kernel.Debian12, databaseJob, append(disks, programs)...)
	p.machine.MemoryMiB = 2048 // the agent may have a tenth of it for what is not sent yet
	boot(t, p.with("create", p.machine.Disks))
	if t.Failed() {
		return
	}
	points := p.load(pointsWanted(t))
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	for _, point := range points[:min(restores, len(points))] {
		t.Logf("point %v of %v", point.Position, point.Time)
		boot(t, p.with("recovered", append(p.restored(point), programs)))
	}
}

// with is the machine with other disks and a word on its kernel's command line.
func (p *power) with(word string, disks []qemu.Disk) kernel.Machine {
	m := p.machine
	m.Append, m.Disks, m.Dir = word, disks, p.TempDir()
	return m
}

// load runs the machine until so many points were made, and cuts its power.
func (p *power) load(wanted int) []farshore.RecoveryPoint {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), time.Hour)
	defer cancel()
	now := p.on(ctx, false)
	points := p.points(p.restorer)
	for ; len(points) < wanted; points = p.points(p.restorer) {
		p.listen(ctx, now)
	}
	now.guest.Stop()
	p.Logf("%d points in %.0f s; write order was gained %d times and lost %d times", len(points), points[len(points)-1].Time.Sub(points[0].Time).Seconds(), now.gained, now.lost)
	if now.gained == 0 {
		p.Error("the writes were never recorded in order")
	}
	return points
}

// restored restores the disks of a point.
func (p *power) restored(point farshore.RecoveryPoint) []qemu.Disk {
	p.Helper()
	disks := append([]qemu.Disk(nil), databaseDisks...)
	for i, id := range names([]string{disks[0].Serial, disks[1].Serial, disks[2].Serial}) {
		disks[i].Path = p.path("restored-" + disks[i].Serial + ".img")
		p.restore(p.restorer, "write", guestName, "--at", point.Position.String(), "--disk", string(id), "--to", "raw", "--out", disks[i].Path, "--yes")
	}
	return disks
}
