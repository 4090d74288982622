package torture

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/site"
)

const (
	machine = farshore.MachineID("torture-1")

	otherBytes = 16 << 20
	// patience bounds how long a round waits for its points on a machine that has no time for them; the short form has less.
	patience, shortPatience = 20 * time.Second, 8 * time.Second
	// least is how long a load lasts at least: write order makes points faster than fio starts.
	least = 1500 * time.Millisecond
	// endPatience bounds the wait for the last point.
	endPatience = 10 * time.Minute
)

// run is one cell at work.
type run struct {
	t       *testing.T
	rng     *rand.Rand
	tally   tally
	site    *site.Site
	wire    *site.Wire
	volumes []*volume
	deps    agent.Deps
	desired agent.Desired
	stop    func() // of the agent
	watch   *watch
	judge   *judge
	log     *logged
	raw     *rawWriter // of a raw cell
}

// newRun makes the disks and everything around an agent, which starts in the middle of the first round's load.
func newRun(t *testing.T, c cell, rng *rand.Rand) *run {
	t.Helper()
	dir := disktest.Dir(t)
	r := &run{t: t, rng: rng, log: &logged{}, watch: &watch{}}
	r.tally.cell = c
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", r.log.tail())
		}
	})
	t.Cleanup(func() { // what is pinned holds the loop devices' tracking
		if err := unix.Unmount(filepath.Join(dir, "bpf"), unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT && err != unix.ENOTDIR {
			t.Errorf("unmount the test's bpf file system: %v", err)
		}
	})
	other := "ext4"
	if c.kind == raw {
		other = raw
	}
	r.volumes = []*volume{newVolume(t, "main.img", c.kind, mainBytes(c)), newVolume(t, "other.img", other, otherBytes)}
	r.site = site.New(t, dir, machine)
	address, _ := r.site.Serve()
	r.wire = site.NewWire(t, address)
	r.deps = r.site.AgentDeps(dir, os.Args[0], slog.New(slog.NewTextHandler(r.log, nil)),
		disk.Source{Path: r.volumes[0].loop.Path, Boot: true}, disk.Source{Path: r.volumes[1].loop.Path})
	shapeGrade(t, c.grade, dir, &r.deps)
	r.desired = agent.Desired{
		Protect: true, CrashEvery: 100 * time.Millisecond, Disks: []farshore.DiskID{r.volumes[0].id, r.volumes[1].id}, ProcessServers: []string{r.wire.Address},
	}
	r.judge = newJudge(r)
	site.Background(t, "the watch", r.watch.run)
	return r
}

// all does the rounds.
func (r *run) all() {
	r.t.Helper()
	for n := range r.tally.rounds {
		r.round(n)
		if r.t.Failed() {
			return
		}
		r.tally.done++
	}
	r.stop()
	if !r.tally.good() {
		r.t.Errorf("%+v", r.tally)
	}
	if r.tally.kind != raw && r.tally.written == 0 {
		r.t.Error("fio has written nothing at all")
	}
}

// round is one load, one last point, and the judgement of all points since the round before.
func (r *run) round(n int) {
	r.t.Helper()
	if n > 0 && r.rng.IntN(2) == 0 { // else what was narrowed stays so for another round
		r.stop()
		r.ease()
		r.startAgent()
	}
	if r.tally.kind == raw {
		r.loadRaw(n)
	} else {
		r.loadFileSystem(n)
	}
	point := r.lastPoint(n)
	r.judge.forward(point.Position)
	r.tally.differing += r.judge.compare()
	lost, unseen := losses(r.t, r.deps.PinDir)
	r.tally.lost, r.tally.unseen = lost, unseen
	r.watch.collect(&r.tally)
	if r.t.Failed() || !r.tally.good() {
		r.t.Errorf("round %d: %+v", n, r.tally)
	}
}

// loadFileSystem makes or mounts the file systems, loads them while points are made, and lets go of them.
func (r *run) loadFileSystem(n int) {
	r.t.Helper()
	fresh := n == 0 || r.rng.IntN(4) == 0 // a new file system over a tracked one is a load as well
	r.judge.fresh = fresh
	for _, v := range r.volumes {
		if fresh {
			v.make()
		}
		v.mount()
	}
	if !fresh {
		r.sweep()
	}
	r.judge.probe = startProbe(r.t, r.volumes, r.rng)
	l := startLoad(r.t, r.volumes[0], r.rng)
	if n == 0 {
		r.startAgent()
	}
	r.awaitPoints()
	r.tally.written += l.end()
	r.judge.probe.end(r.t)
	for _, v := range r.volumes {
		v.unmount()
	}
}

// sweep removes what the round before has left, so that the next finds room.
func (r *run) sweep() {
	r.t.Helper()
	entries, err := os.ReadDir(r.volumes[0].dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for i, e := range entries {
		if i%3 == 0 || e.Name() == "lost+found" {
			continue // some of it stays, to be written over
		}
		if err := os.RemoveAll(filepath.Join(r.volumes[0].dir, e.Name())); err != nil {
			r.t.Fatal(err)
		}
	}
}

// startAgent begins an agent as after a start of its program.
func (r *run) startAgent() {
	r.t.Helper()
	a := agent.New(r.deps)
	a.Desire(r.desired)
	r.watch.look(a)
	r.stop = site.Background(r.t, "the agent", a.Run)
}

// awaitPoints waits until the round has its points, making some trouble on the way.
func (r *run) awaitPoints() {
	r.t.Helper()
	begun, made := time.Now(), false
	at := 1 + r.rng.IntN(r.tally.points)
	start, most := r.watch.points(), patience
	if r.tally.points < longPoints {
		most = shortPatience
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		n := r.watch.points() - start
		if !made && (n >= at || time.Since(begun) > most/2) {
			made = true
			r.trouble()
		}
		if n >= r.tally.points && time.Since(begun) > least || time.Since(begun) > most {
			return
		}
		<-look.C
	}
}

// lastPoint asks for a point of the disks as they are now, and waits until it is durable.
func (r *run) lastPoint(n int) farshore.RecoveryPoint {
	r.t.Helper()
	r.desired.Cut = agent.CutRequest{Number: uint64(n) + 1, Consistency: farshore.CrashConsistent, Label: fmt.Sprintf("round %d", n)}
	r.watch.agent().Desire(r.desired)
	ctx, cancel := context.WithTimeout(r.t.Context(), endPatience)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		o := r.watch.agent().Observe()
		if o.CutNumber == r.desired.Cut.Number {
			return o.CutPoint
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			r.t.Fatalf("round %d: waited for the last point; the agent observes %+v", n, o)
		}
	}
}

// logged keeps what an agent logs.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logged) tail() string {
	const quoted = 40
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimRight(l.all.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-quoted):], "\n")
}

// mainBytes is the size of a cell's first disk: as small as its kind allows where every look reads all of it.
func mainBytes(c cell) int64 {
	switch {
	case c.kind == raw:
		return 32 << 20
	case c.grade != scanGrade:
		return 192 << 20
	case c.kind == "btrfs":
		return 144 << 20
	}
	return 64 << 20
}
