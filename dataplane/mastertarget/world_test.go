package mastertarget

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/sink"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

// world is a vault with machines, and the truth about their disks at every recovery point.
type world struct {
	t        testing.TB
	dir      string
	ca       *credentialtest.CA
	store    vault.Store
	replicas vault.Replicas
	id       segment.VaultID
	key      vault.PrivateKey
	random   *rand.Rand
}

// stream is one machine's.
type stream struct {
	*world
	machine farshore.MachineID
	session uint64
	writer  *journal.Writer
	sizes   []segment.Disk
	content map[farshore.DiskID][]byte
	points  map[farshore.Position]map[farshore.DiskID][]byte
	order   []farshore.Position
	clock   time.Time
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	dir := disktest.Dir(t)
	if err := file.Create(filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	store, replicas, err := file.Open(filepath.Join(dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	ca := credentialtest.NewCA(t)
	id := segment.VaultID{0xfa, 2}
	key, err := vault.NewPrivateKey(vault.VaultKey, id, sha256.Sum256(ca.DER()))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d", seed)
	return &world{t: t, dir: dir, ca: ca, store: store, replicas: replicas, id: id, key: key, random: rand.New(rand.NewPCG(seed, 5))}
}

// machine begins the stream of a machine of two disks.
func (w *world) machine(m farshore.MachineID) *stream {
	w.t.Helper()
	s := &stream{
		world: w, machine: m, sizes: []segment.Disk{{ID: "sda", Sectors: 6000}, {ID: "sdb", Sectors: 1000}},
		points: map[farshore.Position]map[farshore.DiskID][]byte{}, clock: time.Unix(1_790_000_000, 0).UTC(),
	}
	s.claim(false)
	return s
}

// claim begins an epoch, or a generation whose disks are empty.
func (s *stream) claim(generation bool) {
	s.t.Helper()
	s.session++
	ticket, err := journal.SignTicket(s.ca.Node(s.t, farshore.RoleAgent, string(s.machine)), journal.Ticket{
		Machine: s.machine, Server: "hq-1", Session: s.session, Instance: "instance-1", Capture: "capture-1", BootID: "boot-1",
		NewGeneration: generation, Disks: []journal.TicketDisk{{ID: "sda", Sectors: 6000}}, Time: time.Now(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	writer, resume, err := journal.Claim(s.t.Context(), journal.Deps{
		Store: s.store, Vault: s.id, Signer: s.ca.Node(s.t, farshore.RoleProcessServer, "hq-1"), Roots: s.ca.Roots(s.t),
		Recipients: vault.Recipients{s.key.Recipient()}, Now: time.Now,
	}, ticket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.writer = writer
	if resume.NewGeneration {
		s.content = map[farshore.DiskID][]byte{}
		s.resize()
	}
}

// resize makes the contents as long as the disks are now.
func (s *stream) resize() {
	for _, d := range s.sizes {
		now := make([]byte, d.Sectors.Bytes())
		copy(now, s.content[d.ID])
		s.content[d.ID] = now
	}
}

// segment commits one segment of n random writes.
func (s *stream) segment(n int, clean bool) farshore.Position {
	s.t.Helper()
	var b segment.Builder
	lsn := s.writer.Tip().LastLSN
	first := lsn + 1
	for range n {
		i := s.random.IntN(len(s.sizes))
		r := s.record(uint16(i))
		b.Add(r)
		lsn++
		at := s.content[s.sizes[i].ID][r.Extent.Start.Offset():r.Extent.End().Offset()]
		clear(at)
		copy(at, r.Data)
	}
	disks := make([]segment.Disk, len(s.sizes))
	for i, d := range s.sizes {
		d.Clean = clean
		disks[i] = d
	}
	p, err := s.writer.Prepare(&b, segment.Header{FirstLSN: first, LastLSN: lsn, UTC: s.clock.Add(time.Duration(lsn)), Disks: disks})
	if err == nil {
		err = s.writer.Commit(s.t.Context(), p)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	position := p.Header.Position()
	if clean {
		point := map[farshore.DiskID][]byte{}
		for _, d := range disks {
			point[d.ID] = bytes.Clone(s.content[d.ID])
		}
		s.points[position] = point
		s.order = append(s.order, position)
	}
	return position
}

// record draws a write: mostly data of a few sectors, sometimes zeros or a discard of many.
func (s *stream) record(disk uint16) segment.Record {
	size := int(s.sizes[disk].Sectors)
	n, kind := 1+s.random.IntN(9), block.Data
	switch s.random.IntN(8) {
	case 0:
		kind, n = block.Zero, 1+s.random.IntN(min(900, size))
	case 1:
		kind, n = block.Unspecified, 1+s.random.IntN(min(200, size))
	}
	r := segment.Record{Disk: disk, Kind: kind, Extent: block.Extent{Start: block.Sector(s.random.IntN(size - n + 1)), Count: block.Count(n)}}
	if kind == block.Data {
		r.Data = make([]byte, r.Extent.Count.Bytes())
		for i := range r.Data {
			r.Data[i] = byte(s.random.Uint32())
		}
	}
	return r
}

// story goes on with the stream: unclean rounds, clean points, new epochs, a disk that shrinks and grows.
func (s *stream) story(segments int) {
	s.segment(30, false)
	for range segments {
		switch s.random.IntN(10) {
		case 0:
			s.claim(false)
		case 1:
			s.sizes[0].Sectors = block.Count(3000 + s.random.IntN(3000))
			s.resize()
		}
		s.segment(1+s.random.IntN(25), s.random.IntN(3) > 0)
	}
	s.segment(3, true)
}

func (s *stream) last() farshore.Position { return s.order[len(s.order)-1] }

// home is a master target's host.
type home struct {
	world   *world
	dir     string // of its state
	folder  string // of files and images
	devices string // of durable names
}

func (w *world) home(name string) home {
	w.t.Helper()
	h := home{world: w, dir: filepath.Join(w.dir, name), folder: filepath.Join(w.dir, name+"-disks"), devices: filepath.Join(w.dir, name+"-names")}
	for _, dir := range []string{h.dir, h.folder, h.devices} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	return h
}

func (h home) deps() Deps {
	w := h.world
	return Deps{
		Journal: journal.Reader{Store: w.store, Vault: w.id, Roots: w.ca.Roots(w.t), Keys: vault.KeyRing{w.key}},
		Store:   w.store, Replicas: w.replicas, Dir: h.dir, Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Settings: Settings{Devices: []string{h.devices + "/*"}, Folders: []string{h.folder}, Lanes: 4}.WithDefaults(),
	}
}

// files are sinks for both disks of a machine.
func (h home) files(m farshore.MachineID) Machine {
	wanted := Machine{Machine: m, Run: "b-1"}
	for _, d := range []segment.Disk{{ID: "sda", Sectors: 6000}, {ID: "sdb", Sectors: 1000}} {
		wanted.Sinks = append(wanted.Sinks, sink.Sink{Disk: d.ID, Kind: farshore.HomeFile, Path: filepath.Join(h.folder, fmt.Sprintf("%s-%s.img", m, d.ID)), Sectors: d.Sectors})
	}
	return wanted
}

// running is a master target at work.
type running struct {
	*Target
	t       testing.TB
	desired chan Desired
	number  uint64
	changed chan struct{}
	cancel  context.CancelFunc
	ended   chan error
}

func (h home) start() *running {
	d := h.deps()
	r := &running{t: h.world.t, desired: make(chan Desired), changed: make(chan struct{}, 1), ended: make(chan error, 1)}
	d.Changed = func() {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	r.Target = New(d)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(h.world.t.Context())
	go func() { r.ended <- r.Run(ctx, r.desired) }()
	h.world.t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
	r.ended <- nil
}

func (r *running) want(machines ...Machine) {
	r.number++
	r.desired <- Desired{Version: Version{Incarnation: 1, Number: r.number}, Machines: machines}
}

// await waits until what is reported of a machine is so, and gives it. A fault that is not expected ends the test.
func (r *running) await(m farshore.MachineID, holds func(MachineObserved) bool) MachineObserved {
	r.t.Helper()
	for {
		for _, o := range r.Observed().Machines {
			if o.Machine == m && holds(o) {
				return o
			}
			if o.Machine == m && o.Fault != nil {
				r.t.Fatalf("machine %s stands still: %v", m, o.Fault)
			}
		}
		if err := errors.Join(wait(r.t.Context(), time.Millisecond)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// finished waits until the disks were proved to be at a position.
func (r *running) finished(m farshore.MachineID, p farshore.Position) MachineObserved {
	r.t.Helper()
	return r.await(m, func(o MachineObserved) bool { return o.Finished == p })
}

// judge compares the files of a machine's sinks with the truth at a point.
func (s *stream) judge(wanted Machine, p farshore.Position) {
	s.t.Helper()
	for _, k := range wanted.Sinks {
		got, err := os.ReadFile(k.Path)
		if err != nil {
			s.t.Fatal(err)
		}
		want := s.points[p][k.Disk]
		if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
			s.t.Errorf("machine %s at %v: disk %s is not what it was", s.machine, p, k.Disk)
		}
	}
}
