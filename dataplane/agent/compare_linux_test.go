package agent_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/capture"
)

const comparedBytes = 32 << 20

// source is a protected disk of which the tests reach what is below the device: nobody sees what is written there.
type source struct {
	*world
	loop    *disk.Loop
	backing string
	agent   *agent.Agent
	stop    func()
	log     *heard

	mu   sync.Mutex
	read func(block.Extent) // what happens between the first look at the tracker and a read
}

// heard keeps what the agent logs.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
	to   io.Writer
	on   func(line string)
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(b)
	if h.on != nil {
		h.on(string(b))
	}
	return h.to.Write(b)
}

func (h *heard) says(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Count(h.text.String(), what)
}

// inEachGrade runs a test where writes are captured and where they are only marked.
func inEachGrade(t *testing.T, run func(t *testing.T, grade tracker.Grade)) {
	for _, grade := range []tracker.Grade{tracker.Bitmap, tracker.Capture} {
		t.Run(string(grade), func(t *testing.T) {
			if err := capture.Probe(t.Context()); err != nil && grade == tracker.Capture {
				t.Skipf("SKIPPED: %v", err)
			}
			t.Parallel()
			run(t, grade)
		})
	}
}

// newSource makes a disk of noise, or what prepare makes of it, and protects it until it is at rest.
func newSource(t *testing.T, grade tracker.Grade, prepare func(loop *disk.Loop)) *source {
	t.Helper()
	dir := disktest.Dir(t)
	s := &source{loop: disktest.NewLoopIn(t, dir, comparedBytes), backing: filepath.Join(dir, "disk.img")}
	s.below(0, int(comparedBytes)*2/3)
	if prepare != nil {
		prepare(s.loop)
	}
	s.world = newWorld(t, disk.Source{Path: s.loop.Path, Boot: true})
	s.part.Patience = ample
	if grade == tracker.Capture {
		s.part.RingBytes, s.part.LogBytes = 4<<20, 16<<20
	}
	s.log = &heard{to: t.Output()}
	s.tweak = func(d *agent.Deps) { d.Log = slog.New(slog.NewTextHandler(s.log, nil)) }
	s.follow()
	address, _ := s.serve()
	s.part.Desired.ProcessServers = []string{address}
	s.ready = func(a *agent.Agent) {
		a.BeforeRead(func(_ farshore.DiskID, e block.Extent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.read != nil {
				s.read(e)
			}
		})
	}
	s.agent, s.stop = s.start()
	o := s.await(s.agent, "the initial replication", func(o agent.Observed) bool {
		return settledAt(o) && (grade == tracker.Bitmap || o.Grade == string(grade))
	})
	if o.Grade == "scan" {
		t.Skip("SKIPPED: the disk is scanned here: each point compares it")
	}
	return s
}

// between sets what happens before each read of a comparison.
func (s *source) between(do func(block.Extent)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = do
}

// below writes noise under the device: into the file that it is made of.
func (s *source) below(at int64, n int) {
	b := make([]byte, n)
	noise(rand.New(rand.NewPCG(uint64(at), 9)), b)
	if err := writeFile(s.backing, b, at); err != nil {
		panic(err)
	}
}

func writeFile(path string, b []byte, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(b, at)
	return err
}

// write writes through the device, and is on it when it returns.
func (s *source) write(at int64, b []byte) {
	s.t.Helper()
	f, err := os.OpenFile(s.loop.Path, os.O_WRONLY|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	aligned := disk.Buffer(len(b))
	copy(aligned, b)
	if _, err := f.WriteAt(aligned, at); err != nil {
		s.t.Error(err)
	}
}

// compared asks for a comparison and waits for its end.
func (s *source) compared(number uint64) agent.Comparison {
	s.t.Helper()
	s.part.Desired.Compare = agent.CompareRequest{Number: number}
	s.agent.Desire(s.part.Desired)
	c := s.await(s.agent, "the comparison", func(o agent.Observed) bool { return o.Comparison.Done && o.Comparison.Number == number }).Comparison
	s.t.Logf("comparison %d: %+v", number, c)
	if got := c.Equal + c.Changed + c.Unspecified + c.Unclear + c.Different; len(c.Why) == 0 && (c.Read != c.Total || got < c.Total) {
		s.t.Errorf("of %d bytes %d were looked at, and %d were judged", c.Total, c.Read, got)
	}
	return c
}

// rest waits until a point is durable that holds everything written so far.
func (s *source) rest() agent.Observed {
	s.t.Helper()
	s.part.Desired.Cut = agent.CutRequest{Number: s.part.Desired.Cut.Number + 1, Consistency: farshore.CrashConsistent}
	s.agent.Desire(s.part.Desired)
	return s.await(s.agent, "rest", func(o agent.Observed) bool { return o.CutNumber == s.part.Desired.Cut.Number })
}

// restAtEqual waits for rest, and compares the last point with the disk.
func (s *source) restAtEqual() agent.Observed {
	s.t.Helper()
	o := s.rest()
	var last *os.File
	s.restore([]int64{comparedBytes}, func(_ segment.Header, images []*os.File) { last = images[0] })
	s.equals(0, s.loop.Path, last, comparedBytes)
	return o
}

// settled rests, and sees that nothing was copied as a whole for it.
func (s *source) settled() {
	s.t.Helper()
	o := s.restAtEqual()
	if o.LastPoint.Position.Generation != 1 || o.Copies > 1 || len(o.Faults) > 0 {
		s.t.Errorf("point %v, %d copies, faults %v: a comparison is no full copy, and what it found is healed", o.LastPoint.Position, o.Copies, o.Faults)
	}
}

// replicaPath is the replica of the disk: a fixed VHD, which begins with the disk's bytes.
func (s *source) replicaPath() string {
	return filepath.Join(s.vaultDir(), "replica/v1/m", string(machine), "g00000001", string(s.part.Desired.Disks[0])+".vhd")
}

func TestUnderLoadNothingDiffersAndWhatWasWrittenMeanwhileIsCounted(t *testing.T) {
	inEachGrade(t, func(t *testing.T, grade tracker.Grade) {
		s := newSource(t, grade, nil)
		before := s.agent.Observe()
		const busy = 4 << 20
		done, ended := make(chan struct{}), make(chan struct{})
		go func() { // an ordinary writer, of 2 MB/s: too slow for the ring to overflow while the agent waits for a processor
			defer close(ended)
			random, b := rand.New(rand.NewPCG(1, 2)), make([]byte, 4096)
			next := time.NewTicker(2 * time.Millisecond)
			defer next.Stop()
			for {
				select {
				case <-done:
					return
				case <-next.C:
				}
				noise(random, b)
				s.write(random.Int64N(busy/4096)*4096, b)
			}
		}()
		random := rand.New(rand.NewPCG(3, 4))
		between := 0
		s.between(func(e block.Extent) { // and one that writes into a piece just before it is read: behind the first look at the tracker
			b := make([]byte, 4096)
			noise(random, b)
			if e.Start.Offset() > busy {
				between++
				s.write(e.Start.Offset()+random.Int64N(e.Count.Bytes()/4096)*4096, b)
			}
		})
		c := s.compared(1)
		close(done)
		<-ended
		s.between(nil)
		after := s.agent.Observe()
		if c.Different != 0 || len(c.Differences) != 0 || c.Changed < int64(between)*chunkBytes || between == 0 || c.Equal == 0 {
			t.Errorf("under load: %+v", c)
		}
		if s.log.says("FS-1027") > 0 || after.Downgrades != before.Downgrades {
			t.Errorf("%d downgrades before, %d after (%s); a difference was told %d times", before.Downgrades, after.Downgrades, after.GradeWhy, s.log.says("FS-1027"))
		}
		s.settled()
		if c = s.compared(2); c.Changed != 0 || c.Equal != c.Total {
			t.Errorf("at rest: %+v", c)
		}
	})
}

func TestAFlipThatNobodyWroteIsFoundWhereItIsAndHealed(t *testing.T) {
	inEachGrade(t, func(t *testing.T, grade tracker.Grade) {
		s := newSource(t, grade, nil)
		const inSource, inReplica = 5<<20 + 12345, 7<<20 + 54321
		flipByte(t, s.backing, inSource)
		flipByte(t, s.replicaPath(), inReplica)
		c := s.compared(1)
		id := s.part.Desired.Disks[0]
		want := []agent.Difference{
			{Disk: id, Offset: inSource / chunkBytes * chunkBytes, Bytes: chunkBytes}, {Disk: id, Offset: inReplica / chunkBytes * chunkBytes, Bytes: chunkBytes},
		}
		if !slices.Equal(c.Differences, want) || c.Different != 2*chunkBytes || c.Unproven || c.Left != 0 {
			t.Errorf("found %+v, want %+v", c, want)
		}
		if c.Healed.Position.IsZero() || s.log.says("FS-1027") != 1 {
			t.Errorf("healed at %v; told %d times", c.Healed.Position, s.log.says("FS-1027"))
		}
		s.settled()
		if c = s.compared(2); c.Different != 0 || c.Equal != c.Total {
			t.Errorf("healed, and again: %+v", c)
		}
	})
}

// The agent ends as soon as it has found a difference, before anything was copied: the next one says it too, and heals it.
func TestADifferenceStaysSaidUntilItIsHealed(t *testing.T) {
	inEachGrade(t, func(t *testing.T, grade tracker.Grade) {
		s := newSource(t, grade, nil)
		const at = 5 << 20
		flipByte(t, s.backing, at)
		paused := s.part.Desired
		paused.Paused, paused.Compare = true, agent.CompareRequest{Number: 1}
		s.log.on = func(line string) {
			if strings.Contains(line, "FS-1027") {
				s.agent.Desire(paused)
			}
		}
		s.part.Desired.Compare = paused.Compare
		s.agent.Desire(s.part.Desired)
		s.await(s.agent, "the fault", func(o agent.Observed) bool { return o.Phase == agent.Paused && faultAt(o, "FS-1027") != nil })
		s.stop()
		s.log.on = nil
		s.agent, s.stop = s.start()
		s.await(s.agent, "the fault", func(o agent.Observed) bool { return faultAt(o, "FS-1027") != nil })
		c := s.compared(1)
		if len(c.Differences) != 1 || c.Differences[0].Offset != at || c.Healed.Position.IsZero() {
			t.Errorf("the comparison, begun anew: %+v", c)
		}
		s.settled()
	})
}

func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 16
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A file system whose free space holds noise: that is left out of the stream. So is what it allocates later and does not write.
func TestWhatTheStreamLeavesUnspecifiedIsNoDifference(t *testing.T) {
	inEachGrade(t, func(t *testing.T, grade tracker.Grade) {
		var mnt string
		s := newSource(t, grade, func(loop *disk.Loop) {
			mnt, _ = disktest.Mount(t, loop.Path, "ext4")
			b := make([]byte, 22<<20)
			noise(rand.New(rand.NewPCG(5, 6)), b)
			for _, name := range []string{"kept", "gone"} {
				if err := os.WriteFile(filepath.Join(mnt, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
				syncFolder(t, mnt)
				b = b[:2<<20]
			}
			if err := os.Rename(filepath.Join(mnt, "gone"), filepath.Join(mnt, "kept")); err != nil { // the large one is free now
				t.Fatal(err)
			}
			syncFolder(t, mnt)
		})
		f, err := os.Create(filepath.Join(mnt, "allocated"))
		if err == nil {
			err = unix.Fallocate(int(f.Fd()), 0, 0, 3<<20)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		syncFolder(t, mnt)
		s.rest()
		c := s.compared(1)
		if c.Different != 0 || c.Unspecified == 0 || c.Unclear != 0 {
			t.Errorf("free space of noise: %+v", c)
		}
	})
}

func TestADiscardedRangeThatComesBackAsNoiseIsNoDifference(t *testing.T) {
	inEachGrade(t, func(t *testing.T, grade tracker.Grade) {
		if grade == tracker.Bitmap {
			return // there it is read, and sent as whatever it reads as
		}
		s := newSource(t, grade, nil)
		const at, n = 4 << 20, 1 << 20
		out, err := exec.CommandContext(t.Context(), "blkdiscard", "-o", fmt.Sprint(at), "-l", fmt.Sprint(n), s.loop.Path).CombinedOutput()
		if err != nil {
			t.Skipf("SKIPPED: the loop device discards nothing: %v\n%s", err, out)
		}
		s.rest()
		s.below(at, n)
		if c := s.compared(1); c.Different != 0 || c.Unspecified != n {
			t.Errorf("a range that was discarded: %+v", c)
		}
	})
}

func TestAComparisonThatIsTakenBackEnds(t *testing.T) {
	t.Parallel()
	s := newSource(t, tracker.Bitmap, nil)
	s.part.Desired.Compare = agent.CompareRequest{Number: 1}
	begun := make(chan struct{})
	var once sync.Once
	s.between(func(block.Extent) {
		once.Do(func() {
			s.part.Desired.Compare.Stop = true
			s.agent.Desire(s.part.Desired)
			close(begun)
		})
	})
	s.agent.Desire(s.part.Desired)
	<-begun
	s.await(s.agent, "its end", func(o agent.Observed) bool { return o.Comparison.Number == 0 })
	s.between(nil)
	if c := s.compared(2); c.Equal != c.Total {
		t.Errorf("the next one: %+v", c)
	}
}

func TestAScannedDiskIsNotComparedAndTheAnswerSaysWhy(t *testing.T) {
	path := filepath.Join(disktest.Dir(t), "vm.img")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, disk.Source{Path: path})
	address, _ := w.serve()
	w.part.Desired.ProcessServers, w.part.Desired.Compare = []string{address}, agent.CompareRequest{Number: 1}
	a, _ := w.start()
	o := w.await(a, "the answer", func(o agent.Observed) bool { return o.Comparison.Done })
	if c := o.Comparison; len(c.Why) != 1 || !strings.Contains(c.Why[0], "each point reads the whole of it") || c.Read != 0 || o.LastPoint.Position.Epoch != 1 {
		t.Errorf("%+v, the newest point is %v: no session had to end for that", c, o.LastPoint.Position)
	}
}
