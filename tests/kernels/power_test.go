package kernels

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/kernel"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// protectedBytes is the size of the disk that is replicated. The load needs 150 MiB of it.
const protectedBytes = 256 << 20

// online connects a guest's network and mounts the agent's state, from the disk with that serial number.
const online = `ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
find() { for b in /sys/block/vd*; do [ "$(cat $b/serial)" = $1 ] && echo /dev/${b##*/}; done; }
while [ -z "$(find state)" ]; do sleep 0.1; done
mkdir -p /state
mount -t ext4 $(find state) /state || exit 1
`

// loadJob mounts the protected disk, runs the agent and a load. What the agent says is reported.
const loadJob = online + `while [ -z "$(find protected)" ]; do sleep 0.1; done
mkdir -p /data
mount -t ext4 $(find protected) /data || exit 1
/agent run --config /agent.yaml 2>&1 &
DATA=/data PACE_MS=1500 /guest -test.v -test.timeout 0 -test.run '^load$'`

// power is a guest with an agent, whose power is cut again and again.
type power struct {
	*site
	machine  kernel.Machine
	restorer string
}

func newPower(t *testing.T, s *site, r kernel.Release, job string, disks ...qemu.Disk) *power {
	t.Helper()
	k, userland := fetch(t, r)
	s.write("machine-id", "0123456789abcdef0123456789abcdef\n")
	initrd := filepath.Join(t.TempDir(), "initrd")
	pack := kernel.Pack{Kernel: k, Userland: userland, Job: job, Files: map[string]string{
		"/guest": program(t, r.Arch, "farshore/tests/kernels/guest"), "/agent": program(t, r.Arch, "farshore/cmd/farshore-agent"),
		"/agent.yaml": s.path("agent.yaml"), "/etc/machine-id": s.path("machine-id"),
	}}
	if err := pack.Write(initrd); err != nil {
		t.Fatal(err)
	}
	state := qemu.Disk{Path: s.ext4("state.img", 32<<20, s.state), Bus: qemu.Virtio, Serial: "state"}
	return &power{
		site: s, restorer: program(t, qemu.AMD64, "farshore/cmd/farshore-restore"),
		machine: kernel.Machine{Kernel: k, Initrd: initrd, Disks: append(disks, state), MemoryMiB: 1024, Network: qemu.Loopback},
	}
}

// turn is one time from power on to power off.
type turn struct {
	guest   *kernel.Guest
	grade   string   // in which the agent began to track
	why     []string // the reasons that the agent gave for copying, word by word
	resync  string   // what the agent says that its comparison with the replica's hashes has cost
	quiet   bool     // its load has ended and its disk is unmounted
	gained  int      // how often write order was gained
	lost    int      // how often it was lost
	started time.Time
}

// on boots the guest and returns when a point was made of what it writes now.
func (p *power) on(ctx context.Context, final bool) *turn {
	p.Helper()
	before := len(p.points(p.restorer))
	m := p.machine
	m.Dir = p.TempDir()
	if final {
		m.Append = "final"
	}
	g, err := kernel.Boot(ctx, m)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(g.Stop)
	t := &turn{guest: g, started: time.Now()}
	for len(p.points(p.restorer)) <= before {
		p.listen(ctx, t)
	}
	return t
}

// listenFor is how long the guest is listened to before the vault is looked at again.
const listenFor = 2 * time.Second

// listen takes in what the guest reports for a while.
func (p *power) listen(ctx context.Context, t *turn) {
	p.Helper()
	short, cancel := context.WithTimeout(ctx, listenFor)
	defer cancel()
	err := t.guest.Reports(short, func(r kernel.Report) bool {
		p.note(t, r)
		return true
	})
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		p.Fatalf("the guest did not come so far: %v\nprocess server:\n%s", err, p.server.Tail())
	}
}

// note keeps what the agent says about a copy.
func (p *power) note(t *turn, r kernel.Report) {
	p.Helper()
	line := string(r.Raw)
	if _, why, ok := strings.Cut(line, " why="); ok && strings.Contains(line, "copied") {
		t.why = append(t.why, why)
	}
	if _, cost, ok := strings.Cut(line, "msg=\"resync done\" "); ok {
		t.resync = cost
	}
	if _, facts, ok := strings.Cut(line, "msg=\"writes are tracked\" grade="); ok {
		t.grade, _, _ = strings.Cut(facts, " ")
	}
	t.quiet = t.quiet || r.Action == "quiet"
	if strings.Contains(line, `msg="write order was gained`) {
		t.gained++
	}
	if strings.Contains(line, `msg="write order was lost`) {
		t.lost++
	}
	if os.Getenv("VERBOSE") != "" {
		p.Logf("%.1f s: %s", time.Since(t.started).Seconds(), line)
	}
	if strings.Contains(line, "FAIL") || strings.Contains(line, "level=ERROR") {
		p.Errorf("guest: %s", line)
	}
}

// equal restores the newest point and compares it with the machine's first disk, but for what the stream leaves open.
func (p *power) equal() (point farshore.Position, pieces int, first []int64) {
	p.Helper()
	points := p.points(p.restorer)
	newest := points[len(points)-1]
	restored := p.path("restored.img")
	p.restore(p.restorer, "write", guestName, "--at", newest.Position.String(), "--to", "raw", "--out", restored, "--yes")
	open := p.unspecified(newest.Position)
	p.Logf("%d of %d MiB are unspecified", open.Sectors().Bytes()>>20, protectedBytes>>20)
	a, b := disktest.Open(p.T, p.machine.Disks[0].Path), disktest.Open(p.T, restored)
	pieces, first, err := disktest.Differences(disktest.Without(a, open), b, protectedBytes)
	if err != nil {
		p.Fatal(err)
	}
	return newest.Position, pieces, first
}

// cuts is how often the power is cut.
func cuts(t *testing.T) int {
	if text := os.Getenv("POWER_CUTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 20
}

// Whatever was written while the power went and came back was seen by nobody. The agent must know, say why, and bring the
// replica back to what is on the disk.
func TestAfterPowerCutsTheReplicaEqualsTheDiskAgain(t *testing.T) {
	if !long() {
		t.Skip("SKIPPED: cutting the power takes a minute each time; run: make kernels")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, 2, "protected")
	p := newPower(t, s, kernel.Debian12, loadJob, qemu.Disk{Path: s.ext4("protected.img", protectedBytes, ""), Bus: qemu.Virtio, Serial: "protected"})
	total := cuts(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	for n := range total {
		now := p.on(ctx, false)
		ready := time.Since(now.started)
		time.Sleep(time.Duration(random.Int64N(int64(5 * time.Second)))) // the cut comes at a random moment
		now.guest.Stop()
		points := len(p.points(p.restorer))
		t.Logf("turn %d: a point after %.1f s, off after %.1f s, %d points; copied because %q", n, ready.Seconds(), time.Since(now.started).Seconds(), points, now.why)
		t.Logf("resync: %s", now.resync)
		if n > 0 && len(now.why) == 0 {
			t.Errorf("turn %d: the agent copied nothing, though it could not know what was written before it ran", n)
		}
	}
	now := p.on(ctx, true)
	for !now.quiet {
		p.listen(ctx, now)
	}
	p.await(ctx)
	now.guest.Stop()
	p.examine(random, 6)
}

// await waits until the newest point is what is on the disk, on which nothing writes any more.
func (p *power) await(ctx context.Context) {
	p.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		at, pieces, first := p.equal()
		if pieces == 0 {
			p.Logf("point %v equals the disk", at)
			return
		}
		p.Logf("point %v differs from the disk in %d pieces yet, first at %v", at, pieces, first)
		select {
		case <-ctx.Done():
			p.Fatalf("the replica never became what is on the disk: %v", ctx.Err())
		case <-time.After(2 * time.Second):
		}
	}
}

// examine restores some points, lets the journal of the file system be replayed, and has it checked.
func (p *power) examine(random *rand.Rand, some int) {
	p.Helper()
	points := p.points(p.restorer)
	for range min(some, len(points)) {
		at := points[random.IntN(len(points))].Position
		restored := p.path("examined.img")
		p.restore(p.restorer, "write", guestName, "--at", at.String(), "--to", "raw", "--out", restored, "--yes")
		for _, how := range []string{"-fp", "-fn"} { // first as a boot would, then as a judge
			if out, err := need.Run(p.Context(), "e2fsck", how, restored); err != nil && (how == "-fn" || !strings.Contains(fmt.Sprint(err), "exit status 1")) {
				p.Errorf("point %v: e2fsck %s: %v\n%s", at, how, err, out)
			}
		}
		if err := os.Remove(restored); err != nil {
			p.Error(err)
		}
	}
	p.Logf("%d points, %d of them examined", len(points), min(some, len(points)))
}
