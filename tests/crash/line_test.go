package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
	"farshore/tests/lab/process/processtest"
	"farshore/tests/lab/site"
	"farshore/tests/lab/stack"
)

const (
	lineMachine = farshore.MachineID("crash-1")
	lineBytes   = 4 << 20
	// lineRate is how many writes the blockwriter makes in a second: in the bitmap grade a point of a disk without a file system
	// needs a moment without one.
	lineRate = 60
	// linePatience bounds how long a line may take to make a point again on a machine that has no time for it.
	linePatience = 6 * time.Minute
)

var (
	agentID   = farshore.Identity{Role: farshore.RoleAgent, Name: string(lineMachine)}
	serverID  = farshore.Identity{Role: farshore.RoleProcessServer, Name: site.Server}
	applierID = farshore.Identity{Role: farshore.RoleApplier, Name: "west-1"}
)

// line is the dataplane in real programs around one small disk that the blockwriter writes to: agent, process server and
// applier, a vault in a folder, and a hub without the rest of a configuration server.
type line struct {
	t   *testing.T
	rng *rand.Rand
	place
	site    *site.Site
	hub     *site.Hub
	loop    *disk.Loop
	diskID  farshore.DiskID
	writer  *blockwriter.Writer
	log     string // the writer's
	capture bool   // writes are kept in order
	tool    string // farshore-restore
	specs   map[string]process.Spec
	running map[string]*process.Process
	*judge
}

// newLine makes everything in memory and starts it. The first point is there when it returns.
func newLine(t *testing.T, rng *rand.Rand) *line {
	t.Helper()
	dir := disktest.Dir(t)
	return newLineOn(t, rng, place{dir: dir, stable: dir, cacheBytes: 32 << 20})
}

// place is where a line keeps what.
type place struct {
	dir        string // in memory
	stable     string // what outlives a power cut: vault, cache, the programs' states
	cacheBytes int64  // of the process server
}

func (p place) cache() string { return filepath.Join(p.stable, "cache") }

// newLineOn is [newLine] with everything at its place.
func newLineOn(t *testing.T, rng *rand.Rand, at place) *line {
	t.Helper()
	dir := at.dir
	l := &line{
		t: t, rng: rng, place: at, site: site.New(t, at.stable, lineMachine), specs: map[string]process.Spec{}, running: map[string]*process.Process{},
		log: filepath.Join(dir, "writer.log"), capture: rng.IntN(2) == 0,
	}
	t.Cleanup(func() { // what is pinned holds the loop device's tracking
		if err := unix.Unmount(filepath.Join(dir, "bpf"), unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			t.Errorf("unmount the test's bpf file system: %v", err)
		}
	})
	l.hub = l.site.HubIn(filepath.Join(dir, "control"))
	l.attach()
	l.judge = newJudge(l)
	l.configure()
	l.write()
	for _, name := range []string{stack.ProcessServer, stack.Applier, stack.Agent} {
		l.start(name)
	}
	l.awaitPoint("the first point")
	return l
}

// attach puts the disk behind a loop device.
func (l *line) attach() {
	l.t.Helper()
	path := filepath.Join(l.dir, "source.img")
	err := os.WriteFile(path, nil, 0o600)
	if err == nil {
		err = os.Truncate(path, lineBytes)
	}
	if err == nil {
		l.loop, err = disk.AttachLoop(path)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := l.loop.Detach(); err != nil {
			l.t.Error(err)
		}
	})
	if l.diskID, err = disk.Identify(disktest.Open(l.t, l.loop.Path)); err != nil {
		l.t.Fatal(err)
	}
}

// configure writes the programs' configurations, enrols them, and says what is wanted of them.
func (l *line) configure() {
	l.t.Helper()
	address := processtest.FreeAddress(l.t)
	l.tool = built(l.t, "farshore-restore")
	vault := fmt.Sprintf("vault: {kind: file, path: %s}\n", l.site.Vault)
	l.program(stack.ProcessServer, serverID, "farshore-dataplane", "process-server",
		fmt.Sprintf("listen: %s\ncache: {path: %s, bytes: %d}\nsegment: {bytes: %d, ageSeconds: 1}\n%s", address, l.cache(), l.cacheBytes, min(l.cacheBytes/4, 8<<20), vault))
	l.program(stack.Applier, applierID, "farshore-dataplane", "applier",
		fmt.Sprintf("keyFile: %s\npollSeconds: 1\nrtoGoalSeconds: 1\ncheckpoints: 3\n%s", l.site.KeyFile, vault))
	l.program(stack.Agent, agentID, "farshore-agent", "run",
		fmt.Sprintf("run: %s\npins: %s\nhooks: %s\ncapture: %v\nringMiB: 4\nhrl: {memoryMiB: 8}\nwindowMiB: 16\ndisks:\n  - %s\n",
			l.runDir(), filepath.Join(l.dir, "bpf", "farshore"), filepath.Join(l.dir, "hooks"), l.capture, l.loop.Path))
	spec := l.specs[stack.ProcessServer]
	spec.Ready = accepts(address)
	l.specs[stack.ProcessServer] = spec
	l.hub.Desire(&farshorev1.AgentDesired{Protect: true, Disks: []string{string(l.diskID)}, ProcessServers: []string{address}, CrashEverySeconds: 1})
	l.hub.DesireOf(serverID, func(r *farshorev1.SyncResponse) {
		r.Desired = &farshorev1.SyncResponse_ProcessServer{ProcessServer: &farshorev1.ProcessServerDesired{Machines: []string{string(lineMachine)}}}
	})
	l.hub.DesireOf(applierID, func(r *farshorev1.SyncResponse) {
		r.Desired = &farshorev1.SyncResponse_Applier{Applier: &farshorev1.ApplierDesired{Machines: []string{string(lineMachine)}}}
	})
}

// program enrols one and keeps how it is started.
func (l *line) program(name string, id farshore.Identity, program, verb, config string) {
	l.t.Helper()
	state := filepath.Join(l.stable, "state-"+name)
	l.site.CA.NodeIn(l.t, state, id.Role, id.Name)
	path := filepath.Join(l.dir, name+".yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, "control: %s\nstate: %s\n%s", l.hub.Address, state, config), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.specs[name] = process.Spec{
		Name: name, Command: []string{built(l.t, program), verb, "--config", path}, LogPath: filepath.Join(l.dir, name+".log"), ReadyTimeout: linePatience,
	}
}

// built builds a program and gives its path.
func built(t *testing.T, name string) string {
	t.Helper()
	path, err := need.Program(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (l *line) runDir() string { return filepath.Join(l.dir, "run") }

// accepts is ready when something accepts connections at the address.
func accepts(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// start starts a program, for the first time or again.
func (l *line) start(name string) {
	l.t.Helper()
	p, err := process.Start(l.t.Context(), l.specs[name])
	if err != nil {
		l.t.Fatal(err)
	}
	if l.running[name] == nil {
		l.t.Cleanup(func() {
			l.running[name].Kill()
			if l.t.Failed() {
				l.t.Logf("the end of what %s said:\n%s", name, l.running[name].Tail())
			}
		})
	}
	l.running[name] = p
}

// write lets the blockwriter begin.
func (l *line) write() {
	l.t.Helper()
	var err error
	l.writer, err = blockwriter.New(blockwriter.Options{Devices: []string{l.loop.Path}, Log: l.log, Rate: lineRate, Seed: l.rng.Uint64()})
	if err != nil {
		l.t.Fatal(err)
	}
	site.Background(l.t, "the blockwriter", l.writer.Run)
}

// hold stops the writer and gives the number of its last write, which is durable.
func (l *line) hold() uint64 {
	l.t.Helper()
	if err := l.writer.Hold(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	acks := l.acknowledged().Acks
	return acks[len(acks)-1].Seq
}

// acknowledged is what the writer was told to be durable on the disk, so far.
func (l *line) acknowledged() blockwriter.Run {
	l.t.Helper()
	runs, err := blockwriter.ReadLog(l.log)
	if err != nil || len(runs) != 1 {
		l.t.Fatalf("read the writer's log: %d runs, %v", len(runs), err)
	}
	return runs[0]
}

// awaitPoint waits until the stream has a point more than now.
func (l *line) awaitPoint(what string) {
	l.t.Helper()
	before := l.points
	l.await(what, func() bool {
		l.forward()
		return l.points > before
	})
}

// await looks until something is so.
func (l *line) await(what string, so func() bool) {
	l.t.Helper()
	l.awaitWithin(linePatience, what, so)
}

func (l *line) awaitWithin(patience time.Duration, what string, so func() bool) {
	l.t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for begun := time.Now(); !so(); <-look.C {
		if l.t.Failed() {
			l.t.FailNow()
		}
		if time.Since(begun) > patience {
			l.t.Fatalf("%s: not after %v; the agent tells %v", what, patience, l.hub.Observed())
		}
	}
}

// pass lets some time go by, at most so much.
func (l *line) pass(most time.Duration) {
	timer := time.NewTimer(time.Duration(l.rng.Int64N(int64(most))))
	<-timer.C
}
