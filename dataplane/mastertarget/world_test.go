package mastertarget

import (
	"bytes"
	"context"
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
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/host"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/segment"
	"farshore/dataplane/sink"
)

// world is a vault with machines, and the truth about their disks at every recovery point.
type world struct {
	t      testing.TB
	vault  *journaltest.Vault
	random *rand.Rand
}

// stream is one machine's.
type stream struct {
	*world
	*journaltest.Machine
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	t.Logf("seed %d", seed)
	return &world{t: t, vault: journaltest.NewVault(t, disktest.Dir(t)), random: rand.New(rand.NewPCG(seed, 5))}
}

// machine begins the stream of a machine of two disks.
func (w *world) machine(m farshore.MachineID) *stream {
	w.t.Helper()
	disks := []segment.Disk{{ID: "sda", Sectors: 6000}, {ID: "sdb", Sectors: 1000}}
	return &stream{world: w, Machine: w.vault.Machine(m, w.random, disks...)}
}

// story goes on with the stream: unclean rounds, clean points, new epochs, a disk that shrinks and grows.
func (s *stream) story(segments int) {
	s.Segment(30, false)
	for range segments {
		switch s.Random.IntN(10) {
		case 0:
			s.Claim(false)
		case 1:
			s.Sizes[0].Sectors = block.Count(3000 + s.Random.IntN(3000))
			s.Resize()
		}
		s.Segment(1+s.Random.IntN(25), s.Random.IntN(3) > 0)
	}
	s.Segment(3, true)
}

// home is a master target's host.
type home struct {
	world   *world
	dir     string // of its state
	folder  string // of files and images
	devices string // of durable names
}

func (w *world) home(name string) home {
	w.t.Helper()
	h := home{world: w, dir: filepath.Join(w.vault.Dir, name), folder: filepath.Join(w.vault.Dir, name+"-disks"), devices: filepath.Join(w.vault.Dir, name+"-names")}
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
		Journal: w.vault.Reader(), Store: w.vault.Store, Replicas: w.vault.Replicas, Dir: h.dir, Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
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
		if err := errors.Join(host.Pause(r.t.Context(), time.Millisecond)); err != nil {
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
		want := s.Points[p][k.Disk]
		if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
			s.t.Errorf("machine %s at %v: disk %s is not what it was", s.ID, p, k.Disk)
		}
	}
}
