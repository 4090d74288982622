//go:build linux && amd64

package changelog

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/hrl"
	"farshore/dataplane/tracker/capture"
	"farshore/dataplane/tracker/trackertest"
)

func TestMain(m *testing.M) { trackertest.Main(m) }

// captured is a log on the very disk whose writes go into it.
type captured struct {
	t     *testing.T
	log   *Log
	ring  *capture.Capture
	data  int64  // bytes captured with their data
	own   int64  // bytes captured as unspecified
	from  uint64 // number of the first record behind the making of the file
	found int    // writes of the log's own that were captured with their data
}

// drain takes everything that was captured by now into the log.
func (c *captured) drain() {
	c.t.Helper()
	err := c.ring.Read(func(w capture.Write) error {
		switch w.Kind {
		case block.Data:
			if c.log != nil && c.log.own(w.Pieces) {
				c.own += w.Extent.Count.Bytes()
				c.found++
				break
			}
			c.data += w.Extent.Count.Bytes()
		case block.Unspecified:
			c.own += w.Extent.Count.Bytes()
		case block.Zero:
		}
		return c.log.Append(Entry{Disk: uint16(w.Disk), Extent: w.Extent, Kind: w.Kind, Pieces: w.Pieces, Boot: w.Boot})
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// TestTheFileOnACapturedDiskDoesNotFeedItself keeps a log whose file lies on the disk that is captured, and lets it
// overflow: what it writes comes back as unspecified, without its data, and writing ends when the others end.
func TestTheFileOnACapturedDiskDoesNotFeedItself(t *testing.T) {
	disktest.NeedRoot(t)
	if err := capture.Probe(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	for name, mkfs := range map[string]string{"ext4": mkfsExt4, "xfs": mkfsXFS, "btrfs": mkfsBTRS} {
		t.Run(name, func(t *testing.T) { feedNothing(t, mkfs, os.Getpid()) })
	}
	t.Run("submitted by a kernel thread", func(t *testing.T) { feedNothing(t, mkfsExt4, 1) })
}

// feedNothing lets the log overflow. If owner is another process, the capture programs know none of its writes.
func feedNothing(t *testing.T, mkfs string, owner int) {
	node, mnt := fileSystemOn(t, mkfs, "")
	const written = 32 << 20
	c := &captured{t: t}
	var err error
	c.ring, err = capture.Open(t.Context(), capture.Config{
		Devices: []*disk.Device{disktest.Open(t, node)}, RingBytes: 64 << 20, Own: capture.Own{PID: owner, Cookie: testCookie},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.ring.Close()
	if err := c.ring.Record(true); err != nil {
		t.Fatal(err)
	}
	c.log, err = Open(Config{
		Path: filepath.Join(mnt, "changes.hrl"), Cookie: testCookie, MemoryBytes: MinMemoryBytes, FileBytes: 64 << 20, Disks: testDisks[:1],
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.log.Close()
	c.drain()
	if known := owner == os.Getpid(); known && c.own < c.log.header.FileBytes() {
		t.Errorf("making the file of %d bytes was captured as %d bytes of the agent's own", c.log.header.FileBytes(), c.own)
	}
	made, lost := c.own, c.ring.Lost()
	c.data, c.found = 0, 0
	_, c.from = c.log.Span()
	dd := exec.CommandContext(t.Context(), "dd", "if=/dev/urandom", "of="+filepath.Join(mnt, "data"), "bs=64k", "count=512", "oflag=direct", "status=none")
	if out, err := dd.CombinedOutput(); err != nil {
		t.Fatalf("dd: %v\n%s", err, out)
	}
	rounds := c.rest(mnt)
	u := c.log.Usage()
	if u.Written < written/2 || c.own-made < u.Written {
		t.Errorf("%d bytes were written to the file, %d of them were captured as the agent's own", u.Written, c.own-made)
	}
	if (c.found > 0) != (owner != os.Getpid()) || c.data < written || c.data > written+(8<<20) || c.ring.Lost() != lost {
		t.Errorf("%d bytes of others were captured (%d were written), and %d writes of our own with their data; lost %d", c.data, written, c.found, c.ring.Lost()-lost)
	}
	t.Logf("%d bytes of others, %d of our own; %d in %d records went to the file; at rest after %d commits", c.data, c.own-made, u.Written, u.Records, rounds)
	c.readBack()
}

// rest commits the file system until nothing is written any more. What the log wrote has changed the time of its file, and
// that is a write as any other; it must not cause as much again.
func (c *captured) rest(mnt string) (rounds int) {
	c.t.Helper()
	dir, err := os.Open(mnt)
	if err != nil {
		c.t.Fatal(err)
	}
	defer dir.Close()
	const most = 20
	for still := 0; still < 2; rounds++ {
		before := c.data + c.own
		if err := unix.Syncfs(int(dir.Fd())); err != nil {
			c.t.Fatal(err)
		}
		if err := c.ring.Settle(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		c.drain()
		if still++; c.data+c.own != before {
			still = 0
		}
		if rounds > most {
			c.t.Fatalf("after %d commits there are still writes: %d bytes of data, %d of our own", rounds, c.data, c.own)
		}
	}
	return rounds
}

// readBack reads the log to its end.
func (c *captured) readBack() {
	c.t.Helper()
	from, sum := c.from, int64(0)
	for {
		records, next, _, err := c.log.Read(from, Limit{Bytes: hrl.BodyBytes(hrl.MaxFramePages)})
		if err != nil {
			c.t.Fatal(err)
		}
		if len(records) == 0 {
			break
		}
		for _, r := range records {
			sum += int64(len(r.Data))
		}
		from = next
	}
	if sum != c.data {
		c.t.Errorf("%d bytes of data were captured, %d come back", c.data, sum)
	}
}
