package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/capture"
	"farshore/dataplane/tracker/trackertest"
	"farshore/tests/setting"
)

// ringBytes is room for what the load writes while the emulated consumer is not running.
const ringBytes = 64 * mib

// replay is a replica that is fed with captured writes.
type replay struct {
	capture *capture.Capture
	device  *disk.Device
	file    *os.File
	bytes   int64
	// unspecified is what was discarded and not written since: the disk may hold anything there.
	unspecified block.Set
	writes      int
	zeros       []byte
}

// captured keeps a replica by replaying captured writes alone, and compares it with the disk at the end.
func captured(t *testing.T, at place) {
	for _, system := range strings.Fields(os.Getenv("SYSTEMS")) {
		t.Run(system, func(t *testing.T) {
			total, wrong := setting.Number(t, "ROUNDS", 1), 0
			started := time.Now()
			for range total {
				wrong += captureOnce(t, at, system)
			}
			report(t, "captured", map[string]any{
				"Disk": at.kind, "System": system, "Rounds": total, "Mismatches": wrong, "Seconds": time.Since(started).Seconds(),
			})
		})
	}
}

func captureOnce(t *testing.T, at place, system string) (wrong int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	disktest.Make(t, at.node, system)
	r := newReplay(t, at.node)
	if err := r.copy(block.SetOf(block.Extent{Count: block.Count(r.bytes / block.SectorSize)})); err != nil {
		t.Fatal(err)
	}
	if err := r.capture.Record(true); err != nil {
		t.Fatal(err)
	}
	lost := r.capture.Lost()
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.follow(stop) }()
	end := sync.OnceValue(func() error {
		close(stop)
		return <-ended
	})
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	mnt, unmount := disktest.MountWith(t, at.node, system, os.Getenv("MOUNT"))
	load := trackertest.StartLoad(t, mnt, seed, time.Duration(setting.Number(t, "PACE_MS", 0))*time.Millisecond)
	time.Sleep(time.Duration(setting.Number(t, "LOAD_MS", 3000)) * time.Millisecond) // as much load as fits: nothing depends on it
	changes := load.Stop(t)
	unmount()
	if err := errors.Join(r.capture.Settle(t.Context()), end(), r.capture.Read(r.take)); err != nil {
		t.Fatal(err)
	}
	var doubtful tracker.Marks
	r.capture.Ambiguous(0, &doubtful)
	ambiguous := doubtful.Set.Sectors()
	doubtful.Set.Union(&r.unspecified)
	if err := r.copy(&doubtful.Set); err != nil {
		t.Fatal(err)
	}
	if n := r.capture.Lost() - lost; n > 0 {
		t.Errorf("%d writes could not be recorded", n)
	}
	pieces, first, err := disktest.Differences(r.device, r.file, r.bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes, %d writes, %d sectors ambiguous, %d discarded", changes, r.writes, ambiguous, r.unspecified.Sectors())
	if err := errors.Join(r.capture.Close(), r.file.Close(), os.Remove(r.file.Name())); err != nil {
		t.Error(err)
	}
	if pieces > 0 {
		t.Errorf("the replica differs in %d pieces of 4 KiB, first at %v", pieces, first)
		return 1
	}
	return 0
}

func newReplay(t *testing.T, node string) *replay {
	t.Helper()
	device := disktest.Open(t, node)
	sectors, err := device.Sectors()
	if err != nil {
		t.Fatal(err)
	}
	c, err := capture.Open(t.Context(), capture.Config{Devices: []*disk.Device{device}, RingBytes: ringBytes})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(disktest.Dir(t), "replica"))
	if err == nil {
		err = file.Truncate(sectors.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	return &replay{capture: c, device: device, file: file, bytes: sectors.Bytes(), zeros: make([]byte, mib)}
}

func (r *replay) follow(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Millisecond):
		}
		if err := r.capture.Read(r.take); err != nil {
			return err
		}
	}
}

func (r *replay) take(w capture.Write) error {
	r.writes++
	at := w.Extent.Start.Offset()
	switch w.Kind {
	case block.Data:
		for _, p := range w.Pieces {
			if _, err := r.file.WriteAt(p, at); err != nil {
				return err
			}
			at += int64(len(p))
		}
	case block.Zero:
		for end := w.Extent.End().Offset(); at < end; at += int64(len(r.zeros)) {
			if _, err := r.file.WriteAt(r.zeros[:min(int64(len(r.zeros)), end-at)], at); err != nil {
				return err
			}
		}
	case block.Unspecified:
		r.unspecified.Add(w.Extent)
		return nil
	}
	r.unspecified.Remove(w.Extent)
	return nil
}

// copy reads the ranges from the disk as they are now.
func (r *replay) copy(set *block.Set) error {
	buffer := disk.Buffer(mib)
	for e := range set.All() {
		for at, end := e.Start.Offset(), e.End().Offset(); at < end; at += int64(len(buffer)) {
			b := buffer[:min(int64(len(buffer)), end-at)]
			if n, err := r.device.ReadAt(b, at); n < len(b) {
				return err
			}
			if _, err := r.file.WriteAt(b, at); err != nil {
				return err
			}
		}
	}
	return nil
}
