package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/group"
	"farshore/dataplane/group/peers"
	"farshore/dataplane/journal"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/processserver"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/trackertest"
	"farshore/dataplane/transport"
	"farshore/tests/lab/process/processtest"
	"farshore/tests/lab/site"
)

const (
	shop      = farshore.GroupID("shop")
	diskBytes = 64 << 20
	ring      = 8 << 20
)

func TestMain(m *testing.M) { trackertest.Main(m) }

// world is a vault, a process server, and machines of one group.
type world struct {
	t        *testing.T
	vault    *journaltest.Vault
	server   string // address of the process server
	machines []*machine
	times    group.Times
	every    time.Duration
}

// machine is a loop device with a file system, and an agent.
type machine struct {
	id      farshore.MachineID
	loop    *disk.Loop
	mnt     string
	address string // of its end of the group
	agent   *agent.Agent
	peers   *peers.Peers
	config  peers.Config
	stop    func() // of its agent and its end of the group; waits
	still   func() // of its end of the group alone
}

func newWorld(t *testing.T, grade tracker.Grade, ids ...farshore.MachineID) *world {
	t.Helper()
	w := &world{t: t, vault: journaltest.NewVault(t, disktest.Dir(t)), times: ampleTimes(), every: time.Second}
	w.serve(ids)
	for i, id := range ids {
		w.machines = append(w.machines, w.machine(grade, i, id))
	}
	for _, m := range w.machines {
		m.peers.Desire(w.group())
	}
	return w
}

// ampleTimes are for a machine that is held up: who is slow is not missing.
func ampleTimes() group.Times {
	return group.Times{Call: 2 * time.Minute, Freeze: 20 * time.Second, Mark: 20 * time.Second, Seal: 5 * time.Minute, Hold: 30 * time.Second}
}

func (w *world) background(name string, run func(context.Context) error) (stop func()) {
	return site.Background(w.t, name, run)
}

// serve starts the process server.
func (w *world) serve(ids []farshore.MachineID) {
	w.t.Helper()
	deps := w.vault.Deps(farshore.RoleProcessServer, "hq-1")
	config := processserver.Config{CacheDir: filepath.Join(disktest.Dir(w.t), "cache"), CacheBytes: 512 << 20, SegmentBytes: 4 << 20, SegmentAge: time.Second, DrainWithin: 10 * time.Second}
	s, err := processserver.New(config, processserver.Deps{Node: deps.Signer.(*credential.Node), Log: slog.New(slog.DiscardHandler), Now: time.Now, Journal: deps})
	if err != nil {
		w.t.Fatal(err)
	}
	s.Allow(w.t.Context(), ids)
	listener, err := transport.Listen(w.t.Context(), "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = listener.Addr().String()
	w.background("process server", func(ctx context.Context) error { return s.Run(ctx, listener) })
}

func (w *world) machine(grade tracker.Grade, i int, id farshore.MachineID) *machine {
	t := w.t
	t.Helper()
	m := &machine{id: id, loop: disktest.NewLoop(t, diskBytes), address: processtest.FreeAddress(t)}
	m.mnt, _ = disktest.Mount(t, m.loop.Path, "ext4")
	name := named(t, m.loop, i)
	dir := disktest.Dir(t)
	node := w.vault.CA.Node(t, farshore.RoleAgent, string(id))
	log := slog.New(slog.NewTextHandler(t.Output(), nil)).With("machine", id)
	deps := agent.Deps{
		Machine: id, Node: node, Sources: func() ([]disk.Source, error) { return []disk.Source{{Path: m.loop.Path, Boot: true}}, nil },
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), PinDir: filepath.Join(dir, "bpf", "farshore"),
		Watchdog: []string{os.Args[0], trackertest.WatchdogVerb}, FreezeBound: time.Minute, WindowBytes: 512 << 20,
		Limits: session.DefaultLimits(), Log: log, Now: time.Now, Patience: time.Second,
	}
	if grade == tracker.Capture {
		deps.RingBytes, deps.ChangeLog = ring, agent.ChangeLog{MemoryBytes: 32 << 20}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(filepath.Join(dir, "bpf"), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			t.Errorf("unmount the test's bpf file system: %v", err)
		}
	})
	m.agent = agent.New(deps)
	m.agent.Desire(agent.Desired{Protect: true, Disks: []farshore.DiskID{name}, ProcessServers: []string{w.server}, CrashEvery: 500 * time.Millisecond})
	m.config = peers.Config{Machine: id, Node: node, Cutter: m.agent, Times: w.times, Log: log, Now: time.Now}
	stopAgent := w.background("agent "+string(id), m.agent.Run)
	w.speak(m)
	m.stop = func() { m.still(); stopAgent() }
	return m
}

// speak begins a machine's end of the group, anew if it had one.
func (w *world) speak(m *machine) {
	m.peers = peers.New(m.config)
	m.still = w.background("peers of "+string(m.id), m.peers.Run)
}

// named gives a disk a name of its own by the signature of a boot record: ext4 leaves its first kilobyte to others.
func named(t *testing.T, l *disk.Loop, i int) farshore.DiskID {
	t.Helper()
	head := make([]byte, 512)
	_, err := l.Node().ReadAt(head, 0)
	copy(head[440:], []byte{byte(i + 1), 7, 7, 7})
	copy(head[510:], []byte{0x55, 0xAA})
	if err == nil {
		_, err = l.Node().WriteAt(head, 0)
	}
	if err = errors.Join(err, l.Node().Sync()); err != nil {
		t.Fatal(err)
	}
	id, err := disk.Identify(disktest.Open(t, l.Path))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// group is what is desired of every member.
func (w *world) group() peers.Group {
	g := peers.Group{Name: shop, Every: w.every}
	for _, m := range w.machines {
		g.Members = append(g.Members, peers.Member{Machine: m.id, Address: m.address})
	}
	return g
}

// await looks until what is asked for has come.
func (w *world) await(what string, come func() bool) {
	w.t.Helper()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for !come() {
		select {
		case <-look.C:
		case <-w.t.Context().Done():
			var state []string
			for _, m := range w.machines {
				state = append(state, fmt.Sprintf("%s: %+v", m.id, m.agent.Observe()))
			}
			w.t.Fatalf("waited for %s; %v", what, state)
		}
	}
}

// stored are the group's points that the vault has, not judged by the streams of their members.
func (w *world) stored() []journal.GroupPoint {
	w.t.Helper()
	var found []journal.GroupPoint
	for e, err := range w.vault.Store.List(w.t.Context(), chain.GroupPrefix(shop), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		body, err := w.vault.Store.Get(w.t.Context(), e.Name)
		if err != nil {
			w.t.Fatal(err)
		}
		g, err := journal.ReadGroupPoint(w.vault.CA.Roots(w.t), e.Name, body)
		if err != nil {
			w.t.Fatal(err)
		}
		found = append(found, g)
	}
	return found
}

// points are the group's points that the vault has.
func (w *world) points() []journal.OfferedGroupPoint {
	w.t.Helper()
	r := w.vault.Reader()
	r.Damage = func(err error) { w.t.Error(err) }
	points, err := r.GroupPoints(w.t.Context(), shop)
	if err != nil {
		w.t.Fatal(err)
	}
	return points
}

// contents restores a member of each of the points, in the order of its stream, and has its mounted copy looked at.
func (w *world) contents(m *machine, points []journal.OfferedGroupPoint, look func(point int, mnt string)) {
	t := w.t
	t.Helper()
	image, err := os.Create(filepath.Join(disktest.Dir(t), string(m.id)+".img"))
	if err == nil {
		err = image.Truncate(diskBytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	at := map[farshore.Position]int{}
	for i, g := range points {
		j := slices.IndexFunc(g.Parts, func(p journal.GroupPart) bool { return p.Machine == m.id })
		if j < 0 {
			continue
		}
		at[g.Parts[j].Place()] = i
		if err := w.vault.Reader().CheckPart(t.Context(), g.Parts[j]); err != nil {
			t.Error(err)
		}
	}
	r := w.vault.Reader()
	for s, err := range r.Follow(t.Context(), r.Start(m.id, 1)) {
		if err != nil {
			t.Fatal(err)
		}
		for record, err := range s.Records() {
			if err == nil {
				err = apply(image, record)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if i, wanted := at[s.Header().Position()]; wanted {
			delete(at, s.Header().Position())
			mounted(t, image.Name(), func(mnt string) { look(i, mnt) })
		}
	}
	if len(at) > 0 {
		t.Errorf("the stream of machine %s does not have %v", m.id, at)
	}
}

func apply(image *os.File, r segment.Record) error {
	if r.Kind == block.Data {
		_, err := image.WriteAt(r.Data, r.Extent.Start.Offset())
		return err
	}
	return unix.Fallocate(int(image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.Extent.Start.Offset(), r.Extent.Count.Bytes())
}

// mounted mounts a copy of an image for a moment, as a recovered machine would.
func mounted(t *testing.T, image string, look func(mnt string)) {
	t.Helper()
	dir := disktest.Dir(t)
	copied, mnt := filepath.Join(dir, "copy.img"), filepath.Join(dir, "mnt")
	body, err := os.ReadFile(image)
	if err == nil {
		err = errors.Join(os.WriteFile(copied, body, 0o600), os.Mkdir(mnt, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	loop, err := disk.AttachLoop(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(loop.Detach(), os.Remove(copied)); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mount(loop.Path, mnt, "ext4", 0, ""); err != nil {
		t.Errorf("mount the restored disk: %v", err)
		return
	}
	look(mnt)
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Error(err)
	}
}
