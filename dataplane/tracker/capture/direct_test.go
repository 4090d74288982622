//go:build linux && amd64

package capture

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker/kernel"
	"farshore/fault"
)

// direct makes writes by the loop's node go past the page cache.
func direct(t testing.TB, loop *disk.Loop) *os.File {
	t.Helper()
	if err := kernel.Direct(loop.Node(), true); err != nil {
		t.Fatal(err)
	}
	return loop.Node()
}

// stamped is a buffer each of whose sectors begins with the stamp.
func stamped(stamp uint64, bytes int) []byte {
	b := disk.Buffer(bytes)
	for at := 0; at < bytes; at += block.SectorSize {
		binary.LittleEndian.PutUint64(b[at:], stamp)
	}
	return b
}

func put(t testing.TB, node *os.File, at int64, b []byte) {
	t.Helper()
	if _, err := node.WriteAt(b, at); err != nil {
		t.Error(err)
	}
}

func TestTheAgentsOwnWritesComeWithoutData(t *testing.T) {
	needCapture(t)
	loop := disktest.NewLoop(t, 16<<20)
	own := Own{PID: os.Getpid(), Cookie: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}
	c := openWith(t, Config{Devices: disksOf(disktest.Open(t, loop.Path)), RingBytes: 1 << 20, Own: own})
	node := direct(t, loop)
	mine := stamped(7, 64<<10)
	copy(mine, own.Cookie[:])
	put(t, node, 1<<20, mine)
	put(t, node, 2<<20, stamped(8, 8<<10))
	var got []Write
	if err := c.Read(func(w Write) error { got = append(got, w); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Fatalf("%d writes were recorded, want 2: %+v", len(got), got)
	}
	if w, want := got[0], (block.Extent{Start: 2048, Count: 128}); w.Kind != block.Unspecified || w.Pieces != nil || w.Extent != want {
		t.Errorf("the agent's own write came as %v of %v with %d pieces", w.Kind, w.Extent, len(w.Pieces))
	}
	if w := got[1]; w.Kind != block.Data || len(w.Pieces) != 2 {
		t.Errorf("another write of the agent came as %v with %d pieces", w.Kind, len(w.Pieces))
	}
}

// On three disks in turn, each write is made when the one before it is done: no cut may show a later one without the earlier.
func TestManyDisksHaveOneOrder(t *testing.T) {
	needCapture(t)
	loops := []*disk.Loop{disktest.NewLoop(t, 1<<20), disktest.NewLoop(t, 1<<20), disktest.NewLoop(t, 1<<20)}
	c := open(t, 8<<20, loops...)
	f := follow(t, c)
	lost := c.Lost()
	const chains = 3 // each with a place of its own on all the disks
	var group sync.WaitGroup
	for chain := range int64(chains) {
		nodes := make([]*os.File, len(loops))
		for i, l := range loops {
			nodes[i] = direct(t, l)
		}
		group.Go(func() {
			for n := uint64(1); n <= 200; n++ {
				for _, node := range nodes {
					put(t, node, chain*4096, stamped(n, 4096))
					if err := node.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	writes := f.through(c.Produced())
	if c.Lost() != lost {
		t.Fatalf("%d writes were lost", c.Lost()-lost)
	}
	var state [chains][3]uint64
	for i, w := range writes {
		chain := w.Extent.Start.Offset() / 4096
		state[chain][w.Disk] = binary.LittleEndian.Uint64(w.data)
		if s := state[chain]; s[0] < s[1] || s[1] < s[2] || s[0]-s[2] > 1 {
			t.Fatalf("a cut behind write %d shows %v on the disks of chain %d", i, s, chain)
		}
	}
	if want := chains * 3 * 200; len(writes) != want {
		t.Errorf("%d writes were recorded, want %d", len(writes), want)
	}
}

// Writes of 32 KiB by many writers: their pieces may interleave in the ring, a cut shows each of them whole or not at all.
// The planted cutter cuts between pieces.
func TestACutHoldsWholeBios(t *testing.T) {
	needCapture(t)
	loop := disktest.NewLoop(t, 16<<20)
	c := open(t, 16<<20, loop)
	node := direct(t, loop)
	const writers, size = 4, 32 << 10
	var group sync.WaitGroup
	for w := range int64(writers) {
		group.Go(func() {
			for n := uint64(1); n <= 50; n++ {
				put(t, node, w*size, stamped(n, size))
			}
		})
	}
	group.Wait()
	image := make([]byte, writers*size)
	torn := func() int {
		n := 0
		for w := range writers {
			one := image[w*size : (w+1)*size]
			for at := 0; at < size; at += 4096 {
				if binary.LittleEndian.Uint64(one[at:]) != binary.LittleEndian.Uint64(one) {
					n++
					break
				}
			}
		}
		return n
	}
	bios, planted := 0, 0
	if err := c.Read(func(w Write) error {
		at := w.Extent.Start.Offset()
		for _, p := range w.Pieces {
			at += int64(copy(image[at:], p))
			planted += torn()
		}
		bios++
		if torn() > 0 {
			t.Errorf("the cut behind write %d holds a part of a bio", bios)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if bios != writers*50 {
		t.Errorf("%d bios were read, want %d", bios, writers*50)
	}
	if planted == 0 {
		t.Error("cutting inside of bios went unnoticed: the test is blind")
	}
}

// compete lets writers write the same place at the same time.
func compete(t testing.TB, node *os.File, r *rand.Rand) {
	t.Helper()
	var group sync.WaitGroup
	for range 4 {
		b := stamped(r.Uint64(), 128<<10)
		group.Go(func() { put(t, node, 1<<20, b) })
	}
	group.Wait()
}

func TestWritersThatOverlapAreFoundAndHealed(t *testing.T) {
	needCapture(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	loop := disktest.NewLoop(t, 4<<20)
	c := open(t, 16<<20, loop)
	node := direct(t, loop)
	rep := newReplica(t, c.devices[0])
	f := follow(t, c)
	lost, wrong, contests := c.Lost(), 0, rounds(t, 100)
	for range contests {
		compete(t, node, r)
		rep.apply(f.through(c.Produced()))
		doubtful := ambiguous(c, 0)
		if rep.differences() > 0 {
			wrong++
		}
		rep.copy(doubtful)
		if n := rep.differences(); n > 0 {
			t.Fatalf("the replica differs in %d pieces of which none is said to be ambiguous (%v)", n, doubtful)
		}
	}
	t.Logf("%d contests, in %d the disk ended otherwise than the ring", contests, wrong)
	if c.Lost() != lost {
		t.Errorf("%d writes were lost", c.Lost()-lost)
	}
}

func TestASequentialLoadOfManyWritesInFlightIsNotAmbiguous(t *testing.T) {
	needCapture(t)
	loop := disktest.NewLoop(t, 64<<20)
	c := open(t, 128<<20, loop)
	node := direct(t, loop)
	for range 2 { // the second time over what was written before
		next := make(chan int64, 32)
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() {
				b := stamped(1, 4096)
				for at := range next {
					put(t, node, at, b)
				}
			})
		}
		for at := int64(0); at < 16<<20; at += 4096 {
			next <- at
		}
		close(next)
		group.Wait()
	}
	n := 0
	if err := c.Read(func(Write) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	// A bucket that empties and fills at the same time may look older than it is.
	if set := ambiguous(c, 0); set.Sectors() > 2*4096*8/100 || n != 2*4096 {
		t.Errorf("%d writes, ambiguous: %v", n, set)
	}
}

// A loop device over a file on a full file system refuses writes.
func TestAWriteThatFailsIsAmbiguous(t *testing.T) {
	needCapture(t)
	dir := filepath.Join(disktest.Dir(t), "full")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("farshore-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "disk.img")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("1 MiB went into 64 KiB: %v", err)
	}
	if err := file.Truncate(8 << 20); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	loop := disktest.Attach(t, path)
	c := open(t, 8<<20, loop)
	node := direct(t, loop)
	if _, err := node.WriteAt(stamped(1, 1<<20), 1<<20); err == nil {
		t.Fatal("a full file system took 1 MiB")
	}
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Read(func(Write) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if set := ambiguous(c, 0); !set.Overlaps(block.Extent{Start: 2048, Count: 2048}) {
		t.Errorf("ambiguous: %v, want a part of what was refused", set)
	}
}

// The programs are blinded for one write; the kernel counts it nevertheless.
func TestAWriteThatNobodySawIsNoticed(t *testing.T) {
	needCapture(t)
	loop := disktest.NewLoop(t, 1<<20)
	c := open(t, 1<<20, loop)
	node := direct(t, loop)
	check := func() string {
		t.Helper()
		if err := c.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		gap, err := c.Check(0)
		if err != nil {
			t.Fatal(err)
		}
		return gap
	}
	if gap := check(); gap != "" {
		t.Fatalf("a gap before anything was written: %s", gap)
	}
	put(t, node, 0, stamped(1, 4096))
	if err := kernel.Discard.Do(node, 64<<10, 64<<10); err != nil {
		t.Fatal(err)
	}
	lost := c.Lost()
	if gap := check(); gap != "" || c.Lost() != lost {
		t.Errorf("a gap though everything was seen: %s", gap)
	}
	if err := c.maps["disks"].Delete(number(c.devices[0])); err != nil {
		t.Fatal(err)
	}
	put(t, node, 0, stamped(2, 4096))
	if err := c.enter(0, monotonic()); err != nil {
		t.Fatal(err)
	}
	if gap := check(); gap == "" || c.Lost() == lost {
		t.Errorf("a write that was not seen makes no gap (%q)", gap)
	}
	lost = c.Lost()
	if gap := check(); gap != "" || c.Lost() != lost {
		t.Errorf("the same gap once more: %s", gap)
	}
}

func TestStableWritesAreSetAndPutBack(t *testing.T) {
	needCapture(t)
	loop := disktest.NewLoop(t, 1<<20)
	device := disktest.Open(t, loop.Path)
	before := device.Queue("stable_writes")
	c, err := Open(t.Context(), Config{Devices: disksOf(device), RingBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	now := device.Queue("stable_writes")
	if got := c.Stable()[0]; got.Before != before || got.Now != now || before == "0" && now != "1" {
		t.Errorf("stable_writes was %q, is %q, and is said to be %+v", before, now, got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := device.Queue("stable_writes"); got != before {
		t.Errorf("stable_writes is %q after closing, was %q", got, before)
	}
}

func TestADiskWithoutRequestsIsRefused(t *testing.T) {
	needCapture(t)
	path := filepath.Join(disktest.Dir(t), "disk.img")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Devices: disksOf(disktest.Open(t, path)), RingBytes: 1 << 20})
	if f, ok := fault.As(err); !ok || f.Code != "FS-1015" {
		t.Errorf("an image file: %v, want FS-1015", err)
	}
}
