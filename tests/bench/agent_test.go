package bench

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/bitmap"
	"farshore/dataplane/tracker/capture"
	"farshore/dataplane/tracker/trackertest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/site"
)

func TestMain(m *testing.M) { trackertest.Main(m) }

// What an agent is measured with.
const (
	benchBytes    = 1 << 30
	benchRing     = 64 << 20
	benchLog      = 256 << 20
	benchPoints   = 5 * time.Second // between recovery points
	defaultRounds = 5
	runFor        = 10 * time.Second // of one load: two points
)

// none is no agent at all; the others are grades.
const none = "none"

// agentBench is a file system on a loop device, loads on it, and agents that come and go.
type agentBench struct {
	*testing.B
	site    *site.Site
	sink    *site.Sink
	deps    agent.Deps
	desired agent.Desired
	dir     string // of the file system
	loads   []load
	shares  shares
	now     *agent.Agent
	stop    func()
}

// load is something that is measured: more is better.
type load struct {
	name, unit string
	run        func(b *agentBench) float64
}

// BenchmarkAgent compares loads on a disk without an agent and with one in each grade that follows writes, in turn, so that
// whatever else the machine does hits all of them. The agent makes a point every five seconds and sends to a sink that
// acknowledges at once, on the same processors. BENCH_ROUNDS says how often each is measured, BENCH_DIR on which disk;
// with BENCH_LOAD only the loads whose names hold it are, and nothing else.
func BenchmarkAgent(b *testing.B) {
	disktest.NeedRoot(b)
	if err := need.Programs("this benchmark", "fio", "mkfs.ext4"); err != nil {
		b.Skipf("SKIPPED: %v", err)
	}
	configs := []string{none, string(tracker.Bitmap), string(tracker.Capture)}
	if err := bitmap.Probe(b.Context()); err != nil {
		b.Skipf("SKIPPED: %v", err)
	}
	if err := capture.Probe(b.Context()); err != nil {
		b.Logf("SKIPPED: the grade capture: %v", err)
		configs = configs[:2]
	}
	a := newAgentBench(b)
	for range b.N {
		a.compare(configs)
	}
}

func newAgentBench(b *testing.B) *agentBench {
	b.Helper()
	loop := benchDisk(b)
	a := &agentBench{B: b, shares: newShares(b)}
	a.dir, _ = disktest.Mount(b, loop.Path, "ext4")
	dir := disktest.Dir(b)
	b.Cleanup(func() {
		if err := unix.Unmount(filepath.Join(dir, "bpf"), unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			b.Errorf("unmount the bpf file system: %v", err)
		}
	})
	a.site = site.New(b, dir, "bench-1")
	a.sink = a.site.Sink()
	a.deps = a.site.AgentDeps(dir, os.Args[0], slog.New(slog.DiscardHandler), disk.Source{Path: loop.Path, Boot: true})
	a.deps.Patience = time.Millisecond // the sink offers no hashes
	id, err := disk.Identify(disktest.Open(b, loop.Path))
	if err != nil {
		b.Fatal(err)
	}
	a.desired = agent.Desired{Protect: true, CrashEvery: benchPoints, Disks: []farshore.DiskID{id}, ProcessServers: []string{a.sink.Address}}
	a.loads = append(fioLoads(), pgbench(a)...)
	a.loads = slices.DeleteFunc(a.loads, func(l load) bool { return !strings.Contains(l.name, os.Getenv("BENCH_LOAD")) })
	return a
}

// benchDisk is in memory, where every instruction counts, or on the disk of the folder BENCH_DIR, past the page cache.
func benchDisk(b *testing.B) *disk.Loop {
	b.Helper()
	parent := os.Getenv("BENCH_DIR")
	if parent == "" {
		return disktest.NewLoop(b, benchBytes)
	}
	dir, err := os.MkdirTemp(parent, "farshore-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	loop := disktest.NewLoopIn(b, dir, benchBytes)
	if err := unix.IoctlSetInt(int(loop.Node().Fd()), unix.LOOP_SET_DIRECT_IO, 1); err != nil {
		b.Fatalf("have %s read and write past the page cache: %v", dir, err)
	}
	return loop
}

// protect begins an agent of a grade; end ends it, and whatever it has left in the kernel.
func (a *agentBench) protect(grade string) {
	a.Helper()
	if grade == none {
		return
	}
	deps := a.deps
	if grade == string(tracker.Capture) {
		deps.RingBytes, deps.ChangeLog = benchRing, agent.ChangeLog{MemoryBytes: benchLog}
	}
	a.now = agent.New(deps)
	a.stop = site.Background(a, "the agent", a.now.Run)
	a.settle(grade)
}

// settle waits until the agent is in the grade and has nothing to send: what a load has left is not paid for by the next.
func (a *agentBench) settle(grade string) {
	a.Helper()
	if a.now == nil {
		return
	}
	desired := a.desired
	desired.CrashEvery = 200 * time.Millisecond // until it is where it shall be
	a.now.Desire(desired)
	a.await("the grade "+grade, func(o agent.Observed) bool {
		return o.Phase == agent.Protected && o.Grade == grade && o.CopyTotal == 0 && o.Pending < 1<<20
	})
	a.now.Desire(a.desired)
}

func (a *agentBench) end() {
	a.Helper()
	if a.now == nil {
		return
	}
	a.now.Desire(agent.Desired{})
	a.await("the end of tracking", func(o agent.Observed) bool { return o.Phase == agent.Idle })
	a.stop()
	a.now = nil
}

func (a *agentBench) await(what string, come func(agent.Observed) bool) {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), 5*time.Minute)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !come(a.now.Observe()) {
		select {
		case <-look.C:
		case <-ctx.Done():
			a.Fatalf("waited for %s; the agent observes %+v", what, a.now.Observe())
		}
	}
}

// compare measures everything in turn and prints the ratios.
func (a *agentBench) compare(configs []string) {
	a.Helper()
	rounds := defaultRounds
	if asked, err := strconv.Atoi(os.Getenv("BENCH_ROUNDS")); err == nil {
		rounds = asked
	}
	got, used := map[string]map[string][]float64{}, map[string]map[string][]float64{} // by load and config
	for _, l := range a.loads {
		got[l.name], used[l.name] = map[string][]float64{}, map[string][]float64{}
	}
	for r := range rounds {
		for i := range configs {
			c := configs[(r+i)%len(configs)]
			a.protect(c)
			for _, l := range a.loads {
				a.settle(c)
				begun, before := time.Now(), a.processors()
				got[l.name][c] = append(got[l.name][c], l.run(a))
				used[l.name][c] = append(used[l.name][c], (a.processors()-before).Seconds()/time.Since(begun).Seconds())
			}
			a.end()
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%s\n%d rounds of %v each, in turn; median of the pairs with the lowest and the highest\n%-26s %14s", a.shares.text, rounds, runFor, "load", none)
	for _, c := range configs[1:] {
		fmt.Fprintf(&table, "  %26s", c+" / "+none)
	}
	for _, l := range a.loads {
		fmt.Fprintf(&table, "\n%-26s %9.0f %-4s", l.name, middle(got[l.name][none]), l.unit)
		for _, c := range configs[1:] {
			ratios := pairs(got[l.name][c], got[l.name][none])
			fmt.Fprintf(&table, "  %10.3f (%5.2f to %5.2f)", middle(ratios), slices.Min(ratios), slices.Max(ratios))
			a.ReportMetric(middle(ratios), strings.ReplaceAll(l.name, " ", "-")+"-"+c)
		}
	}
	fmt.Fprintf(&table, "\n\nprocessors that agent and sink took together meanwhile, of %d; median\n%-26s", runtime.NumCPU(), "load")
	for _, c := range configs[1:] {
		fmt.Fprintf(&table, "  %8s", c)
	}
	for _, l := range a.loads {
		fmt.Fprintf(&table, "\n%-26s", l.name)
		for _, c := range configs[1:] {
			fmt.Fprintf(&table, "  %8.2f", middle(used[l.name][c])-middle(used[l.name][none]))
		}
	}
	if os.Getenv("BENCH_LOAD") != "" {
		a.Log("\n" + table.String())
		return
	}
	a.Log("\n" + table.String() + "\n\n" + a.costs(configs[1:]) + "\n" + a.memory(configs[1:]))
	if slices.Contains(configs, string(tracker.Capture)) {
		a.Log("\n" + a.sustained())
	}
}

// processors is the time that this process has had of them: agent and sink, and neither the load nor the kernel's programs in it.
func (a *agentBench) processors() time.Duration {
	a.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		a.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func pairs(some, others []float64) []float64 {
	var ratios []float64
	for i := range some {
		ratios = append(ratios, some[i]/max(others[i], 1e-9))
	}
	return ratios
}

func middle(values []float64) float64 {
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare[float64])
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
