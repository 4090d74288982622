package bitmap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
)

// Target is a disk to track.
type Target struct {
	ID     farshore.DiskID
	Device *disk.Device
}

// set is one load of the programs and its maps.
type set struct {
	form  *form
	dir   string // of its pins; "" if it is not pinned
	maps  map[string]*ebpf.Map
	links map[string]link.Link
	dirty []uint64
	count []counters
	mmaps [][]byte
}

// Tracker tracks disks with bitmaps. See the package comment.
type Tracker struct {
	form  *form
	sets  []*set
	disks map[farshore.DiskID]*Disk
}

// Open tracks the disks, going on with what is pinned under pinDir wherever it is whole and fits. It loads and tests
// programs for the others.
func Open(ctx context.Context, pinDir string, targets []Target) (*Tracker, error) {
	types := btf.NewCache() // tens of megabytes: let go of with the end of this function
	how, err := chooseForm(types)
	if err != nil {
		return nil, err
	}
	return how.open(ctx, types, pinDir, targets)
}

func (f *form) open(ctx context.Context, types *btf.Cache, pinDir string, targets []Target) (*Tracker, error) {
	if err := prepare(pinDir); err != nil {
		return nil, err
	}
	t := &Tracker{form: f, disks: map[farshore.DiskID]*Disk{}}
	if err := t.adoptAll(pinDir, targets); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	var fresh []Target
	for _, target := range targets {
		if t.disks[target.ID] == nil {
			fresh = append(fresh, target)
		}
	}
	if len(fresh) == 0 {
		return t, nil
	}
	if err := f.selfTest(ctx, types); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	dir := filepath.Join(pinDir, f.prefix()+rand.Text())
	if err := t.create(types, dir, fresh); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir), t.Close())
	}
	return t, nil
}

// Disk gives a tracked disk, or nil.
func (t *Tracker) Disk(id farshore.DiskID) *Disk { return t.disks[id] }

// Close lets go of all disks. What is pinned goes on tracking.
func (t *Tracker) Close() error {
	var err error
	for _, s := range t.sets {
		err = errors.Join(err, s.close())
	}
	t.sets, t.disks = nil, nil
	return err
}

// Forget ends all tracking pinned under pinDir.
func Forget(pinDir string) error {
	if err := os.RemoveAll(pinDir); err != nil {
		return fmt.Errorf("remove the pinned tracker: %w", err)
	}
	return nil
}

// adoptAll takes over every pinned set that holds a wanted disk and removes the rest, whole or not.
func (t *Tracker) adoptAll(pinDir string, targets []Target) error {
	entries, err := os.ReadDir(pinDir)
	if err != nil {
		return fmt.Errorf("list the pinned trackers: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(pinDir, e.Name())
		used := 0
		if strings.HasPrefix(e.Name(), t.form.prefix()) {
			if used, err = t.adoptOne(dir, targets); err != nil {
				return err
			}
		}
		if used == 0 {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("remove a pinned tracker: %w", err)
			}
		}
	}
	return nil
}

// adoptOne takes over the wanted disks of a pinned set. A broken set has none.
func (t *Tracker) adoptOne(dir string, targets []Target) (used int, err error) {
	maps, links, broken := t.form.adopt(dir)
	s := &set{form: t.form, dir: dir, maps: maps, links: links}
	if broken == nil {
		broken = s.open()
	}
	if broken != nil {
		return 0, s.close()
	}
	for _, target := range targets {
		if t.disks[target.ID] != nil {
			continue
		}
		d, err := s.find(target)
		if err != nil {
			return 0, errors.Join(err, s.close())
		}
		if d != nil {
			t.disks[target.ID] = d
			used++
		}
	}
	if used == 0 {
		return 0, s.close()
	}
	t.sets = append(t.sets, s)
	return used, nil
}

// find gives the disk of the set that is the target, unchanged, or nil. An entry for the same device number that is not
// the same disk is taken out, so that no other set's disk is tracked twice.
func (s *set) find(target Target) (*Disk, error) {
	number := deviceNumber(target.Device)
	var held tracked
	err := s.maps["disks"].Lookup(number, &held)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s in a pinned tracker: %w", target.ID, err)
	}
	want, err := s.form.describe(target)
	if err != nil {
		return nil, err
	}
	if held.ID != want.ID || held.Sequence != want.Sequence || held.Sectors != want.Sectors {
		return nil, s.maps["disks"].Delete(number)
	}
	return newDisk(s, target, held), nil
}

// create loads a set for the targets, attaches it, pins it if dir is given, and begins their first eras.
func (t *Tracker) create(types *btf.Cache, dir string, targets []Target) error {
	if len(targets) > maxDisks {
		return fmt.Errorf("track %d disks: at most %d", len(targets), maxDisks)
	}
	entries, words := make([]tracked, len(targets)), uint64(0)
	for i, target := range targets {
		entry, err := t.form.describe(target)
		if err != nil {
			return err
		}
		entry.Base, entry.Index = words, uint32(i)
		words += t.form.words(entry)
		entries[i] = entry
	}
	loaded, err := t.form.load(types, words)
	if err != nil {
		return err
	}
	defer loaded.Close()
	s := &set{form: t.form, dir: dir, maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}
	t.sets = append(t.sets, s)
	for _, name := range t.form.maps {
		s.maps[name] = loaded.DetachMap(name)
	}
	if err := s.open(); err != nil {
		return err
	}
	for i, target := range targets {
		if err := s.maps["disks"].Put(deviceNumber(target.Device), entries[i]); err != nil {
			return fmt.Errorf("enter %s in the tracker: %w", target.ID, err)
		}
	}
	for _, name := range attachments {
		if s.links[name], err = link.AttachTracing(link.TracingOptions{Program: loaded.Programs[name]}); err != nil {
			delete(s.links, name)
			return fmt.Errorf("attach the program %s: %w", name, err)
		}
	}
	for i, target := range targets {
		d := newDisk(s, target, entries[i])
		if err := d.Renew(); err != nil {
			return err
		}
		t.disks[target.ID] = d
	}
	if dir == "" {
		return nil
	}
	return t.form.pin(dir, s.maps, s.links)
}

// open maps the bitmap and the counters into memory.
func (s *set) open() error {
	words := s.maps["dirty"].MaxEntries()
	dirty, err := s.mmap("dirty", int(words)*8)
	if err != nil {
		return err
	}
	s.dirty = unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(dirty))), words)
	count, err := s.mmap("counts", maxDisks*int(unsafe.Sizeof(counters{})))
	if err != nil {
		return err
	}
	s.count = unsafe.Slice((*counters)(unsafe.Pointer(unsafe.SliceData(count))), maxDisks)
	return nil
}

func (s *set) mmap(name string, size int) ([]byte, error) {
	page := os.Getpagesize()
	mapped, err := unix.Mmap(s.maps[name].FD(), 0, (size+page-1)&^(page-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s into memory: %w", name, err)
	}
	s.mmaps = append(s.mmaps, mapped)
	return mapped, nil
}

func (s *set) close() error {
	var err error
	for _, m := range s.mmaps {
		err = errors.Join(err, unix.Munmap(m))
	}
	for _, l := range s.links {
		err = errors.Join(err, l.Close())
	}
	for _, m := range s.maps {
		err = errors.Join(err, m.Close())
	}
	s.mmaps, s.dirty, s.count = nil, nil, nil
	return err
}

func newEra() (era [16]byte) {
	rand.Read(era[:]) // never returns an error
	return era
}
