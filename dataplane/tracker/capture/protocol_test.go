//go:build linux && amd64

package capture

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/bitmap"
	"farshore/dataplane/tracker/trackertest"
	"farshore/tests/setting"
)

// rounds is how many rounds of the protocol are run: as many as TRACKER_ROUNDS says, else the short form.
func rounds(t testing.TB, short int) int { return trackertest.Rounds(t, short) }

// pins gives a folder for a bitmap's pins.
func pins(t testing.TB) string {
	t.Helper()
	root := filepath.Join(disktest.Dir(t), "bpf")
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the test's bpf file system: %v", err)
		}
	})
	return filepath.Join(root, "farshore")
}

// driver leads a replica through the grades as an agent does: bitmap, return, capture.
type driver struct {
	t       testing.TB
	bits    *bitmap.Disk
	capture *Capture
	reader  *follower
	replica *replica
	r       *rand.Rand
	seed    uint64

	// plants
	ignoreLost, ignoreAmbiguous bool

	tries, overflows, redone, healed int
}

func newDriver(t testing.TB, node string, ringBytes int) *driver {
	t.Helper()
	seed := setting.Seed(t, "TRACKER_SEED")
	device := disktest.Open(t, node)
	bits, err := bitmap.Open(t.Context(), pins(t), []bitmap.Target{{ID: farshore.DiskID("a"), Device: device}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bits.Close(); err != nil {
			t.Error(err)
		}
	})
	d := &driver{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 1)), bits: bits.Disk("a")}
	d.capture = openWith(t, Config{Devices: disksOf(device), RingBytes: ringBytes})
	d.reader, d.replica = follow(t, d.capture), newReplica(t, device)
	return d
}

// overflow lets the ring run over, under whatever load there is.
func (d *driver) overflow() {
	d.t.Helper()
	before := d.capture.Lost()
	d.reader.held.Store(true)
	for d.capture.Lost() < before+3 {
		time.Sleep(pause)
	}
	d.reader.held.Store(false)
	d.overflows++
}

// dirty takes the marks of the bitmap and what is outstanding.
func (d *driver) dirty() *block.Set {
	d.t.Helper()
	var m tracker.Marks
	if err := d.bits.Exchange(d.t.Context(), &m); err != nil {
		d.t.Fatal(err)
	}
	if err := d.bits.Outstanding(false, &m); err != nil {
		d.t.Fatal(err)
	}
	return &m.Set
}

// marked takes the marks of the bitmap alone.
func (d *driver) marked() *block.Set {
	d.t.Helper()
	var m tracker.Marks
	if err := d.bits.Exchange(d.t.Context(), &m); err != nil {
		d.t.Fatal(err)
	}
	return &m.Set
}

// comeBack makes the replica consistent while writers go on, by the steps of Return. It gives the return that holds.
func (d *driver) comeBack(all bool) Return {
	d.t.Helper()
	for range 40 {
		d.tries++
		d.reader.reach(d.capture.Produced())
		d.reader.dropping(false)
		back, err := d.capture.Begin(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		set := d.dirty()
		if all {
			set = d.replica.whole()
		}
		d.replica.copy(set)
		d.replica.copy(d.dirty()) // not needed; it makes the window longer
		through, held := d.capture.End(back)
		writes := d.reader.through(through)
		if !held && !d.ignoreLost {
			all = false // what was copied is there, and what has changed since is marked again
			continue
		}
		for len(writes) > 0 && !back.Covers(writes[0].Write) {
			writes = writes[1:]
		}
		d.redone += len(writes)
		d.replica.apply(writes)
		return back
	}
	d.t.Fatal("no consistent point in 40 tries")
	return Return{}
}

// heal reads again what is ambiguous, with the redo of what is written meanwhile.
func (d *driver) heal() {
	d.t.Helper()
	set := ambiguous(d.capture, 0)
	if set.Empty() || d.ignoreAmbiguous {
		return
	}
	d.healed += int(set.Sectors())
	d.replica.apply(d.reader.through(d.capture.Produced()))
	back, err := d.capture.Begin(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	d.replica.apply(d.reader.through(back.From))
	d.replica.copy(set)
	through, _ := d.capture.End(back)
	d.replica.apply(d.reader.through(through))
}

// The whole life of a replica: initial copy under load, order, overflow, bitmap, return, and so on. Every cut is examined.
func TestWriteOrderIsReachedAgainAfterOverflowsWithoutAFreeze(t *testing.T) {
	needCapture(t)
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			loop := disktest.NewLoop(t, diskBytes)
			disktest.Make(t, loop.Path, kind)
			d := newDriver(t, loop.Path, 16<<20)
			cuts := 0
			examine := func(round int, what string) {
				cuts++
				if complaint := d.replica.cut(kind); complaint != "" {
					t.Errorf("round %d, %s: %s", round, what, complaint)
				}
			}
			for round := range rounds(t, 2) {
				mnt, unmount := disktest.MountMade(t, loop.Path, kind)
				load := trackertest.StartLoad(t, mnt, d.seed+uint64(round), 5*time.Millisecond)
				if round > 0 {
					d.overflow()
				}
				back := d.comeBack(round == 0 || d.r.IntN(4) == 0)
				examine(round, "the point of the return")
				writes := d.reader.through(d.capture.Produced())
				at := 0
				if len(writes) > 0 {
					at = d.r.IntN(len(writes))
				}
				d.replica.apply(writes[:at])
				if d.capture.Lost() == back.Lost {
					examine(round, "a point in the stream")
				}
				d.replica.apply(writes[at:])
				d.heal()
				load.Stop(t)
				unmount()
				if err := d.capture.Settle(t.Context()); err != nil {
					t.Fatal(err)
				}
				d.replica.apply(d.reader.through(d.capture.Produced()))
				d.heal()
				if d.capture.Lost() != back.Lost {
					t.Logf("round %d: overflow behind the return", round)
					d.replica.copy(d.replica.whole())
				} else if n := d.replica.differences(); n > 0 {
					t.Errorf("round %d: the replica differs from the disk in %d pieces", round, n)
				}
				d.dirty()
			}
			t.Logf("%s: %d cuts, %d overflows, %d tries, %d writes redone, %d sectors healed", kind, cuts, d.overflows, d.tries, d.redone, d.healed)
		})
	}
}
