package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
	"farshore/dataplane/processserver"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker/trackertest"
	"farshore/dataplane/transport"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
	"farshore/tests/lab/site"
)

const machine = farshore.MachineID("web-01")

// part is what a child process of a test is told: to be an agent.
type part struct {
	Node, State, Run, Pins, Hooks string
	Sources                       []disk.Source
	Desired                       agent.Desired
	Patience                      time.Duration // for hashes of a resync
	CopyRate                      int64
	RingBytes                     int // 0: writes are not captured
	LogPath                       string
	LogFileBytes                  int64
	LogBytes                      int64
}

// The test binary plays three parts: the tests, the thaw watchdog, and an agent that will be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		if err := playAgent(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	trackertest.Main(m)
}

// playAgent runs an agent and writes what it observes, line by line.
func playAgent(text string) error {
	var p part
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	node, err := credential.Load(p.Node, time.Now)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := agent.New(p.deps(node, slog.New(slog.NewTextHandler(os.Stderr, nil))))
	a.Desire(p.Desired)
	go func() {
		encoder, told := json.NewEncoder(os.Stdout), ""
		for range time.NewTicker(20 * time.Millisecond).C {
			o := a.Observe()
			for _, f := range o.Faults {
				if f.Error() != told {
					told = f.Error()
					fmt.Fprintln(os.Stderr, told)
				}
			}
			o.Faults = nil // they do not read back
			if encoder.Encode(o) != nil {
				cancel()
			}
		}
	}()
	return a.Run(ctx)
}

func (p part) deps(node *credential.Node, log *slog.Logger) agent.Deps {
	return agent.Deps{
		Machine: machine, Node: node, Sources: func() ([]disk.Source, error) { return p.Sources, nil },
		StateDir: p.State, RunDir: p.Run, PinDir: p.Pins, Hooks: disk.Hooks{Dir: p.Hooks, Limit: 10 * time.Second},
		Watchdog: []string{os.Args[0], trackertest.WatchdogVerb}, FreezeBound: time.Minute, WindowBytes: 512 << 20,
		Limits: session.DefaultLimits(), Log: log, Now: time.Now, Patience: p.Patience, CopyRate: p.CopyRate,
		RingBytes: p.RingBytes, ChangeLog: agent.ChangeLog{MemoryBytes: p.LogBytes, Path: p.LogPath, FileBytes: p.LogFileBytes},
	}
}

// world is a vault with real keys, a process server, and the folders of an agent.
type world struct {
	t     *testing.T
	ca    *credentialtest.CA
	store vault.Store
	id    segment.VaultID
	key   vault.PrivateKey
	cache string
	part  part
	tweak func(*agent.Deps)  // of an agent in this process
	ready func(*agent.Agent) // before it runs

	unspecified []*block.Set // by disk, where the last restore stood last

	snapshots disk.Snapshotter // of an agent that runs in this process
}

func newWorld(t *testing.T, sources ...disk.Source) *world {
	t.Helper()
	dir := disktest.Dir(t)
	if err := file.Create(filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	store, _, err := file.Open(filepath.Join(dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ca: credentialtest.NewCA(t), store: store, id: segment.VaultID{1, 2, 3}, cache: filepath.Join(dir, "cache")}
	if w.key, err = vault.NewPrivateKey(vault.VaultKey, w.id, sha256.Sum256(w.ca.DER())); err != nil {
		t.Fatal(err)
	}
	w.part = part{
		Node: filepath.Join(dir, "node"), State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run"),
		Pins: filepath.Join(dir, "bpf", "farshore"), Hooks: filepath.Join(dir, "hooks"), Sources: sources,
		Desired: agent.Desired{Protect: true, CrashEvery: 300 * time.Millisecond}, Patience: time.Second,
	}
	w.ca.NodeIn(t, w.part.Node, farshore.RoleAgent, string(machine))
	for _, s := range sources {
		id, err := disk.Identify(disktest.Open(t, s.Path))
		if err != nil {
			t.Fatal(err)
		}
		w.part.Desired.Disks = append(w.part.Desired.Disks, id)
	}
	t.Cleanup(func() { // what is pinned holds the loop devices' tracking
		if err := unix.Unmount(filepath.Join(dir, "bpf"), unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			t.Errorf("unmount the test's bpf file system: %v", err)
		}
	})
	return w
}

// serve starts the process server; stop ends it and waits.
func (w *world) serve() (address string, stop func()) {
	w.t.Helper()
	_, address, stop = w.serveAs("hq-1", w.cache)
	return address, stop
}

// serveAs starts a process server of a name with a cache of its own.
func (w *world) serveAs(name, cache string) (s *processserver.Server, address string, stop func()) {
	w.t.Helper()
	node := w.ca.Node(w.t, farshore.RoleProcessServer, name)
	config := processserver.Config{CacheDir: cache, CacheBytes: 512 << 20, SegmentBytes: 4 << 20, SegmentAge: time.Second, DrainWithin: 10 * time.Second}
	s, err := processserver.New(config, processserver.Deps{Node: node, Log: slog.New(slog.DiscardHandler), Now: time.Now, Journal: journal.Deps{
		Store: w.store, Vault: w.id, Signer: node, Roots: w.ca.Roots(w.t), Recipients: vault.Recipients{w.key.Recipient()}, Now: time.Now,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	s.Allow(w.t.Context(), []farshore.MachineID{machine})
	listener, err := transport.Listen(w.t.Context(), "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	stop = w.background("process server "+name, func(ctx context.Context) error { return s.Run(ctx, listener) })
	return s, listener.Addr().String(), stop
}

func (w *world) background(name string, run func(context.Context) error) (stop func()) {
	return site.Background(w.t, name, run)
}

// start runs the agent in this process.
func (w *world) start() (a *agent.Agent, stop func()) {
	w.t.Helper()
	node, err := credential.Load(w.part.Node, time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	deps := w.part.deps(node, slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	deps.Snapshots = w.snapshots
	if w.tweak != nil {
		w.tweak(&deps)
	}
	a = agent.New(deps)
	if w.ready != nil {
		w.ready(a)
	}
	a.Desire(w.part.Desired)
	return a, w.background("agent", a.Run)
}

// await looks at the agent until what is asked for has come.
func (w *world) await(a *agent.Agent, what string, come func(agent.Observed) bool) agent.Observed {
	w.t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		o := a.Observe()
		if come(o) {
			return o
		}
		select {
		case <-look.C:
		case <-w.t.Context().Done():
			w.t.Fatalf("waited for %s; the agent observes %+v", what, o)
		}
	}
}

// transactions writes a number to the one file and then to the other, each durable before the next begins.
func transactions(t *testing.T, paths ...string) (stop func() int) {
	t.Helper()
	return transactionsEvery(t, 0, paths...)
}

// transactionsEvery does so with a rest in front of each transaction: how much is written does not depend on the machine's speed alone.
func transactionsEvery(t *testing.T, rest time.Duration, paths ...string) (stop func() int) {
	t.Helper()
	var files []*os.File
	for _, path := range paths {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	done, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				ended <- n
				return
			case <-time.After(rest):
			}
			n++
			for _, f := range files {
				if _, err := f.WriteAt(fmt.Appendf(nil, "transaction %012d", n), 0); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	return func() int {
		close(done)
		n := <-ended
		for _, f := range files {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		return n
	}
}

// lastTransaction mounts a copy of the image and reads the number.
func lastTransaction(t *testing.T, image string) (n int) {
	t.Helper()
	mounted(t, "ext4", image, func(_, mnt string) {
		body, err := os.ReadFile(filepath.Join(mnt, "log"))
		if err != nil || len(body) == 0 {
			return // before the first
		}
		if _, err := fmt.Sscanf(string(body), "transaction %d", &n); err != nil {
			t.Errorf("the restored file says %q: %v", body, err)
		}
	})
	return n
}

// child is an agent in a process of its own.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func (w *world) spawn() *child { return w.spawnTo(w.t.Output()) }

// spawnTo starts an agent that logs to out.
func (w *world) spawnTo(out io.Writer) *child {
	w.t.Helper()
	text, err := json.Marshal(w.part)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(w.t.Context()), os.Args[0], "agent", string(text))
	cmd.Stderr = out
	lines, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return &child{cmd: cmd, lines: bufio.NewScanner(lines)}
}

func (c *child) await(t *testing.T, what string, come func(agent.Observed) bool) agent.Observed {
	t.Helper()
	var o agent.Observed
	for c.lines.Scan() {
		o = agent.Observed{}
		if err := json.Unmarshal(c.lines.Bytes(), &o); err != nil {
			t.Fatal(err)
		}
		if come(o) {
			return o
		}
	}
	t.Fatalf("waited for %s; the agent ended, having observed %+v", what, o)
	return o
}

// kill ends the agent as a power cut would: no handler runs.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err == nil {
		t.Error("the killed agent ended well")
	}
}

func (w *world) reader() journal.Reader {
	return journal.Reader{Store: w.store, Vault: w.id, Roots: w.ca.Roots(w.t), Keys: vault.KeyRing{w.key}}
}

func (w *world) points() []farshore.RecoveryPoint {
	w.t.Helper()
	points, err := w.reader().Points(w.t.Context(), machine)
	if err != nil {
		w.t.Fatal(err)
	}
	return points
}

// restore replays the newest generation and calls at for each point with the images of the disks.
func (w *world) restore(sizes []int64, at func(h segment.Header, images []*os.File)) {
	w.t.Helper()
	dir := disktest.Dir(w.t)
	var images []*os.File
	w.unspecified = nil
	for i, size := range sizes {
		w.unspecified = append(w.unspecified, &block.Set{})
		image, err := os.Create(filepath.Join(dir, fmt.Sprintf("restored-%d.img", i)))
		if err == nil {
			err = image.Truncate(size)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { image.Close() })
		images = append(images, image)
	}
	r := w.reader()
	generations, err := r.Generations(w.t.Context(), machine)
	if err != nil || len(generations) == 0 {
		w.t.Fatalf("generations %v, %v", generations, err)
	}
	for s, err := range r.Follow(w.t.Context(), r.Start(machine, generations[len(generations)-1])) {
		if err != nil {
			w.t.Fatal(err)
		}
		for record, err := range s.Records() {
			if err != nil {
				w.t.Fatal(err)
			}
			apply(w.t, images[record.Disk], record)
			if record.Kind == block.Unspecified {
				w.unspecified[record.Disk].Add(record.Extent)
			} else {
				w.unspecified[record.Disk].Remove(record.Extent)
			}
		}
		if h := s.Header(); h.Clean() && !h.Seal {
			at(h, images)
		}
	}
}

// equals compares a restored image with its disk, but for what the stream says is unspecified.
func (w *world) equals(index int, node string, image io.ReaderAt, size int64) {
	w.t.Helper()
	unspecified := w.unspecified[index]
	pieces, first, err := disktest.Differences(disktest.Without(disktest.Open(w.t, node), unspecified), image, size)
	if err != nil || pieces > 0 {
		w.t.Errorf("the last point differs from disk %d in %d pieces, first at %v: %v", index, pieces, first, err)
	}
	w.t.Logf("%d of %d bytes of disk %d are unspecified", unspecified.Sectors().Bytes(), size, index)
}

func apply(t *testing.T, image *os.File, r segment.Record) {
	t.Helper()
	var err error
	if r.Kind == block.Data {
		_, err = image.WriteAt(r.Data, r.Extent.Start.Offset())
	} else { // a hole reads as zeros
		err = unix.Fallocate(int(image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.Extent.Start.Offset(), r.Extent.Count.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// check has a copy of the image examined after its journal was replayed by mounting it, as a recovered machine would.
func check(t *testing.T, kind, image string) {
	t.Helper()
	node := mounted(t, kind, image, func(string, string) {})
	if node == nil {
		return
	}
	checker := map[string][]string{"ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"}}[kind]
	out, err := exec.CommandContext(t.Context(), checker[0], append(checker[1:], node.Path)...).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("could be narrower")) { // wasteful, not damaged
		t.Errorf("%s of the restored image: %v\n%s", checker[0], err, out)
	}
}

// mounted mounts a copy of the image for a moment and gives the loop device it is on.
func mounted(t *testing.T, kind, image string, look func(node, mnt string)) *disk.Loop {
	t.Helper()
	dir := disktest.Dir(t)
	copied, mnt := filepath.Join(dir, "check.img"), filepath.Join(dir, "mnt")
	if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", image, copied).CombinedOutput(); err != nil {
		t.Fatalf("copy the image: %v\n%s", err, out)
	}
	loop := disktest.Attach(t, copied)
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(loop.Path, mnt, kind, 0, map[string]string{"xfs": "nouuid"}[kind]); err != nil {
		t.Errorf("mount the restored %s: %v", kind, err)
		return nil
	}
	look(loop.Path, mnt)
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Error(err)
		return nil
	}
	return loop
}
