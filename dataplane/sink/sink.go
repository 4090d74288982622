package sink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Sink is where one disk of a machine is written.
type Sink struct {
	Disk      farshore.DiskID
	Kind      farshore.HomeKind // device, file or qcow2
	Path      string
	Sectors   block.Count
	Overwrite bool // a person has confirmed that what it holds may go
}

func (s Sink) subject() string { return fmt.Sprintf("sink %s of disk %s", s.Path, s.Disk) }

// Offer says what of a host may be sinks.
type Offer struct {
	Devices []string // patterns of durable names, as in path/filepath.Match: /dev/disk/by-id/scsi-3*
	Folders []string // of files and images
}

// check says why a path may not be a sink of its kind, by its name alone.
func (o Offer) check(s Sink) error {
	if !filepath.IsAbs(s.Path) || filepath.Clean(s.Path) != s.Path {
		return refused("FS-4103", s, "its path is not absolute and plain", "give the whole path, without dots")
	}
	switch s.Kind {
	case farshore.HomeDevice:
		if filepath.Dir(s.Path) == "/dev" {
			return refused("FS-4101", s, "the kernel may give its name to another disk at the next start",
				"name it by a durable name: ls -l /dev/disk/by-id")
		}
		if !slices.ContainsFunc(o.Devices, func(pattern string) bool { ok, err := filepath.Match(pattern, s.Path); return ok && err == nil }) {
			return refused("FS-4102", s, fmt.Sprintf("this master target offers the devices %v only", o.Devices),
				"choose one of them, or add its name to `devices` in the master target's configuration")
		}
		return nil
	case farshore.HomeFile, farshore.HomeQCOW2:
		if !slices.Contains(o.Folders, filepath.Dir(s.Path)) {
			return refused("FS-4102", s, fmt.Sprintf("this master target offers the folders %v only", o.Folders),
				"choose a file in one of them, or add its folder to `folders` in the master target's configuration")
		}
		return nil
	case farshore.HomeVSphere:
	}
	return refused("FS-4103", s, fmt.Sprintf("%q is no kind of sink", s.Kind), "give device, file or qcow2")
}

func refused(code string, s Sink, what, remedy string) error {
	return &fault.Fault{Code: code, Kind: fault.Refused, Subject: s.subject(), What: what, Remedy: remedy}
}

func operator(code string, s Sink, what, remedy string, err error) error {
	return &fault.Fault{Code: code, Kind: fault.Operator, Subject: s.subject(), What: what, Remedy: remedy, Err: err}
}

// Set is the open sinks of one machine. Its disks are those of which [Set.Create] was called, of one generation at a time.
type Set struct {
	machine farshore.MachineID
	disks   map[farshore.DiskID]*taken
}

var _ vault.Replicas = (*Set)(nil)

// Open takes the sinks of a machine, whose states lie in folders of their own in dir. What it cannot take is a *fault.Fault:
// FS-4101 to FS-4109, FS-4111 or FS-4112. Nothing is written to a disk yet.
func Open(ctx context.Context, o Offer, dir string, m farshore.MachineID, sinks []Sink) (*Set, error) {
	set := &Set{machine: m, disks: map[farshore.DiskID]*taken{}}
	for _, s := range sinks {
		err := o.check(s)
		if err == nil && set.disks[s.Disk] != nil {
			err = refused("FS-4109", s, "the disk has another sink", "assign one sink to each disk")
		}
		var d *taken
		if err == nil {
			d, err = openDisk(ctx, filepath.Join(dir, string(s.Disk)), m, s)
		}
		if err != nil {
			return nil, errors.Join(err, set.Close())
		}
		set.disks[s.Disk] = d
		for id, other := range set.disks {
			if id != s.Disk && other.record.Identity == d.record.Identity {
				err := refused("FS-4109", s, "it is the sink of disk "+string(id)+" too", "assign another disk")
				return nil, errors.Join(err, set.Close())
			}
		}
	}
	return set, nil
}

// Close gives all disks back. It writes nothing.
func (s *Set) Close() error {
	var err error
	for _, d := range s.disks {
		err = errors.Join(err, d.medium.Close())
	}
	return err
}

// disk finds the sink of a replica disk's name.
func (s *Set) disk(name string) (*taken, error) {
	if _, err := vault.SplitDiskName(name); err != nil {
		return nil, err
	}
	id := farshore.DiskID(strings.TrimSuffix(filepath.Base(name), ".vhd"))
	d := s.disks[id]
	if d == nil {
		return nil, fmt.Errorf("disk %s has no sink: %w", name, vault.ErrNotFound)
	}
	return d, nil
}

// Create begins a disk of zeros in a sink: whatever it holds is not known any more. The size may be that of the sink or less.
func (s *Set) Create(ctx context.Context, name string, sectors block.Count) error {
	if err := errors.Join(ctx.Err(), vault.CheckSize(name, sectors)); err != nil {
		return err
	}
	d, err := s.disk(name)
	if err != nil {
		return err
	}
	return d.begin(name, sectors)
}

// Open gives the disk of a sink that was begun under this name.
func (s *Set) Open(ctx context.Context, name string) (vault.ReplicaDisk, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := s.disk(name)
	if err != nil {
		return nil, err
	}
	if d.record.Name != name {
		return nil, fmt.Errorf("open sink %s: %w", name, vault.ErrNotFound)
	}
	return &handle{taken: d}, nil
}

// Remove forgets what a sink holds. The disk stays as it is.
func (s *Set) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d, err := s.disk(name)
	if errors.Is(err, vault.ErrNotFound) || err == nil && d.record.Name != name {
		return nil
	}
	if err != nil {
		return err
	}
	return d.forget()
}

// List gives the disks that were begun.
func (s *Set) List(ctx context.Context, prefix string) iter.Seq2[vault.Entry, error] {
	return func(yield func(vault.Entry, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(vault.Entry{}, err)
			return
		}
		var all []vault.Entry
		for _, d := range s.disks {
			if d.record.Name != "" && strings.HasPrefix(d.record.Name, prefix) {
				all = append(all, vault.Entry{Name: d.record.Name, Size: d.record.Sectors.Bytes()})
			}
		}
		slices.SortFunc(all, func(a, b vault.Entry) int { return strings.Compare(a.Name, b.Name) })
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Complete makes whatever was never written zeros, and flushes: then the disks hold the machine's bytes and nothing else.
func (s *Set) Complete(ctx context.Context) error {
	for _, d := range s.disks {
		if err := d.complete(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Figures are bytes since a sink was begun.
type Figures struct {
	Written int64 // to the disks
	Equal   int64 // found there, and left alone
}

// Figures gives the sums of all disks.
func (s *Set) Figures() Figures {
	var f Figures
	for _, d := range s.disks {
		f.Written += d.written.Load()
		f.Equal += d.equal.Load()
	}
	return f
}

// Reread reads a disk past every cache: what it holds, known or not.
func (s *Set) Reread(id farshore.DiskID, p []byte, at block.Sector) error {
	return s.disks[id].reread(p, at)
}

// Disks lists the disks that have a sink.
func (s *Set) Disks() map[farshore.DiskID]block.Count {
	all := map[farshore.DiskID]block.Count{}
	for id, d := range s.disks {
		all[id] = d.sink.Sectors
	}
	return all
}
