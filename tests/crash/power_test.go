package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/powercut"
	"farshore/tests/lab/stack"
	"farshore/tests/setting"
)

const (
	// shortCuts is how many cuts are tried on each kind of file system in the short form.
	shortCuts = 2
	// agentEvery is how many cuts there are between two behind which the agent is started too.
	agentEvery = 3
	// recorded is how long a line runs whose power will have been cut; strikeEvery is the time between two kills.
	recorded, strikeEvery = 6 * time.Second, 1500 * time.Millisecond
	powerBytes            = 320 << 20 // the smallest xfs
)

// crashable is a way in which a file system may lose what was not synced.
type crashable struct {
	system, options string
}

// ways are those that are tried. Without the order of data and metadata, a name can be there and what it should hold not.
var ways = []crashable{{"ext4", "noauto_da_alloc"}, {"ext4", "noauto_da_alloc,data=writeback"}, {"xfs", ""}, {"btrfs", ""}}

func (c crashable) String() string { return strings.TrimSpace(c.system + " " + c.options) }

// mark says that at a moment of the disk something had been acknowledged.
type mark struct {
	moment int
	told   farshore.Position
}

// powered is a line whose vault, cache and states are on a disk that remembers.
type powered struct {
	*line
	disk  *powercut.Disk
	way   crashable
	mnt   string
	marks []mark
}

// A power cut at any moment takes nothing that was acknowledged: the stream is whole up to there, the process server and the
// applier start on what was left without anybody's help, and so does the agent, whose memory is gone.
func TestNoPowerCutTakesWhatWasAcknowledged(t *testing.T) {
	disktest.NeedRoot(t)
	if err := powercut.Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	seed := setting.Seed(t, "CRASH_SEED")
	cuts := setting.Number(t, "CRASH_CUTS", shortCuts)
	for i, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1<<42+uint64(i)))
			p := record(t, rng, way)
			p.cutAll(cuts)
		})
	}
}

// record runs a line for a while, kills something now and then, and takes its disk away.
func record(t *testing.T, rng *rand.Rand, way crashable) *powered {
	t.Helper()
	p := &powered{disk: powercut.New(t, powerBytes), way: way, mnt: filepath.Join(disktest.Dir(t), "mnt")}
	if err := os.Mkdir(p.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	loop := p.attachTo(t, p.disk.Path)
	disktest.Make(t, loop.Path, way.system)
	p.mount(t, loop)
	p.line = newLineOn(t, rng, place{dir: disktest.Dir(t), stable: p.mnt, cacheBytes: 32 << 20})
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for begun, struck := time.Now(), time.Now(); time.Since(begun) < recorded; <-look.C {
		told := p.told()
		p.marks = append(p.marks, mark{moment: p.disk.Moment(), told: told})
		if time.Since(struck) > strikeEvery {
			struck = time.Now()
			victim := victims[rng.IntN(len(victims)-1)]
			p.running[victim].Kill()
			p.start(victim)
		}
	}
	p.hold()
	p.killAll()
	p.unmount(t, loop)
	return p
}

func (p *powered) killAll() {
	for _, r := range p.running {
		r.Kill()
	}
}

// attachTo attaches a loop device. It goes when its mount and its handle are gone.
func (p *powered) attachTo(t *testing.T, path string) *disk.Loop {
	t.Helper()
	loop, err := disk.AttachLoop(path)
	if err != nil {
		t.Fatal(err)
	}
	return loop
}

func (p *powered) mount(t *testing.T, loop *disk.Loop) {
	t.Helper()
	if err := unix.Mount(loop.Path, p.mnt, p.way.system, 0, p.way.options); err != nil {
		t.Fatalf("mount what a power cut left: %v", err)
	}
	t.Cleanup(func() { // only if the test broke off
		if err := unix.Unmount(p.mnt, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			t.Error(err)
		}
	})
}

func (p *powered) unmount(t *testing.T, loop *disk.Loop) {
	t.Helper()
	for begun := time.Now(); ; {
		err := unix.Unmount(p.mnt, 0)
		if err == nil {
			break
		}
		if time.Since(begun) > linePatience {
			t.Fatalf("unmount: %v", err)
		}
		timer := time.NewTimer(10 * time.Millisecond)
		<-timer.C
	}
	if err := loop.Detach(); err != nil {
		t.Fatal(err)
	}
}

// cutAll tries so many cuts, in the order of their moments: half of them right in front of a flush, when most can be lost.
func (p *powered) cutAll(n int) {
	p.t.Helper()
	first, last := p.marks[0].moment, p.marks[len(p.marks)-1].moment
	moments := make([]int, n)
	for i := range moments {
		moments[i] = first + p.rng.IntN(last-first+1)
		if i%2 == 0 {
			moments[i] = p.disk.BeforeFlush(moments[i])
		}
	}
	slices.Sort(moments)
	cutter := p.disk.Cuts()
	points, kept, lost := 0, 0, 0
	for i, moment := range moments {
		image := filepath.Join(p.dir, "cut.img")
		k, l, err := cutter.Cut(moment, p.rng, image)
		if err != nil {
			p.t.Fatal(err)
		}
		kept, lost = kept+k, lost+l
		points += p.restartOn(image, p.toldAt(moment), i%agentEvery == agentEvery-1)
		if p.t.Failed() {
			p.t.Fatalf("behind the cut at operation %d (%d unsynced writes kept, %d lost)", moment, k, l)
		}
	}
	p.t.Logf("%s: %d operations, %d flushes recorded; %d cuts with %d unsynced writes kept and %d lost; %d points judged, all acknowledged ones there",
		p.way, p.disk.Moment(), p.disk.Flushes(), n, kept, lost, points)
}

// toldAt is what had been acknowledged at a moment.
func (p *powered) toldAt(moment int) (told farshore.Position) {
	for _, m := range p.marks {
		if m.moment <= moment {
			told = m.told
		}
	}
	return told
}

// restartOn mounts what a cut left, asks the oracle, starts the programs on it, and asks again. It gives the points judged.
func (p *powered) restartOn(image string, told farshore.Position, withAgent bool) int {
	p.t.Helper()
	loop := p.attachTo(p.t, image)
	p.mount(p.t, loop)
	p.judge = newJudge(p.line)
	p.judge.told = func() farshore.Position { return told }
	p.forward()
	for _, name := range []string{stack.ProcessServer, stack.Applier} {
		p.start(name)
	}
	p.await("the spool to be empty", func() bool { return len(p.spooled(".fsj")) == 0 })
	if aside := p.spooled(".damaged"); len(aside) > 0 {
		p.t.Errorf("the cache had lost what it had synced: %v", aside)
	}
	if withAgent {
		p.startAgentAfresh()
	}
	p.forward()
	if p.at.Position.Seq > 0 {
		p.awaitReplica()
	}
	p.killAll()
	p.unmount(p.t, loop)
	return p.points
}

// spooled lists the files of the cache that end so.
func (p *powered) spooled(suffix string) []string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.cache(), "*", "*"+suffix))
	if err != nil {
		p.t.Fatal(err)
	}
	return files
}

// startAgentAfresh starts the agent as behind a reboot: what it kept in memory is gone. It has to come to the state of the disk.
func (p *powered) startAgentAfresh() {
	p.t.Helper()
	if err := os.RemoveAll(p.runDir()); err != nil {
		p.t.Fatal(err)
	}
	p.start(stack.Agent)
	acks := p.acknowledged().Acks
	p.await("a point with the last write", func() bool {
		p.forward()
		return p.last == acks[len(acks)-1].Seq
	})
	if n, first := p.equal(p.loop.Path); n > 0 {
		p.t.Errorf("the newest point %v differs from the disk in %d blocks, first at %v", p.newest, n, fmt.Sprint(first))
	}
}
