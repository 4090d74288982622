package shadow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/windows/drive"
	"farshore/dataplane/windows/image"
	"farshore/dataplane/windows/vss"
	"farshore/fault"
)

// Snapshotter makes snapshots of drives.
type Snapshotter struct {
	System drive.System
	Open   func() (vss.API, error)
	Now    func() time.Time
}

var _ disk.Snapshotter = (*Snapshotter)(nil)

// snapshot is one set of shadow copies with the disks made of it.
type snapshot struct {
	set     *vss.Set
	disks   []*picture
	handles []drive.Handle
	boot    time.Duration
}

// picture is one disk.
type picture struct {
	device  *disk.Device
	number  uint32
	bytes   int64
	volumes []drive.Volume // of which there may be shadow copies
	raw     image.Map      // what is read from the disk itself
	before  []digest       // of each piece of raw
}

type digest [sha256.Size]byte

// Take makes a snapshot of the drives. See [disk.Snapshotter].
func (s *Snapshotter) Take(ctx context.Context, devices []*disk.Device, applications bool) (disk.Snapshot, error) {
	shot := &snapshot{}
	for _, d := range devices {
		p, err := s.look(d)
		if err != nil {
			return nil, err
		}
		shot.disks = append(shot.disks, p)
	}
	request := vss.Request{Applications: applications}
	for _, p := range shot.disks {
		for _, v := range p.volumes {
			request.Volumes = append(request.Volumes, v.Name)
		}
	}
	if system, err := s.System.SystemVolume(); err == nil {
		request.Bootable = slices.Contains(request.Volumes, system)
	}
	request.Before = func(ctx context.Context, skipped []string) (err error) {
		if err := shot.witness(ctx, skipped); err != nil {
			return err
		}
		shot.boot, err = host.BootClock()
		return err
	}
	var err error
	if shot.set, err = vss.Take(ctx, s.Open, s.Now, request); err != nil {
		return nil, err
	}
	if err := s.compose(shot); err != nil {
		return nil, errors.Join(err, shot.Release(context.WithoutCancel(ctx), false))
	}
	return shot, nil
}

func unfit(subject, what, remedy string, err error) error {
	return &fault.Fault{Code: "FS-1053", Kind: fault.Operator, Subject: subject, What: what, Remedy: remedy, Err: err}
}

// look finds the volumes of a device.
func (s *Snapshotter) look(d *disk.Device) (*picture, error) {
	p := &picture{device: d}
	var ok bool
	if p.number, ok = drive.Number(d.Path()); !ok {
		return nil, unfit("disk "+d.Path(), "it is no physical drive, so there are no shadow copies of it", `name drives such as \\.\PhysicalDrive0`, nil)
	}
	sectors, err := d.Sectors()
	if err != nil {
		return nil, err
	}
	p.bytes = sectors.Bytes()
	if p.volumes, err = drive.On(s.System, p.number); err != nil {
		return nil, unfit("disk "+d.Path(), "its volumes cannot be listed", "run the agent as LocalSystem or an administrator", err)
	}
	for _, v := range p.volumes {
		if !v.Simple() {
			return nil, unfit("volume "+v.Name, fmt.Sprintf("it lies in %d pieces (spanned, striped or mirrored), which cannot be put into the disk's image", len(v.Places)),
				"move its data to a simple volume or a storage space, or leave its disks out of protection", nil)
		}
	}
	return p, nil
}

// layOut composes a disk of the volumes that the function has a source for.
func (p *picture) layOut(from func(volume string) (io.ReaderAt, bool)) (image.Map, error) {
	var parts []image.Part
	for _, v := range p.volumes {
		if source, ok := from(v.Name); ok {
			parts = append(parts, image.Part{Offset: v.Places[0].Offset, Length: v.Places[0].Length, From: source, Name: "volume " + v.Name})
		}
	}
	m, err := image.Compose(p.bytes, block.SectorSize, parts...)
	if err != nil {
		return nil, unfit("disk "+p.device.Path(), "its volumes do not fit on it", "the agent goes on trying; it helps to restart the machine after a change of partitions", err)
	}
	return m, nil
}

// witness notes what everything holds that will be read from the disks themselves.
func (s *snapshot) witness(ctx context.Context, skipped []string) error {
	for _, p := range s.disks {
		m, err := p.layOut(func(volume string) (io.ReaderAt, bool) {
			return strings.NewReader(""), !slices.Contains(skipped, volume) // where the copy will be
		})
		if err != nil {
			return err
		}
		p.raw = m.Raw()
		if p.before, err = p.digests(ctx); err != nil {
			return err
		}
	}
	return nil
}

const readBytes = 1 << 20

// digests hashes every piece that is read from the disk itself.
func (p *picture) digests(ctx context.Context) ([]digest, error) {
	var all []digest
	buffer := disk.Buffer(readBytes)
	for _, piece := range p.raw {
		sum := sha256.New()
		for at := int64(0); at < piece.Length; at += readBytes {
			if err := ctx.Err(); err != nil {
				return nil, context.Cause(ctx)
			}
			n := min(readBytes, piece.Length-at)
			if m, err := p.device.Itself().ReadAt(buffer[:n], piece.Offset+at); int64(m) < n {
				return nil, fmt.Errorf("read what no shadow copy covers: %w", errors.Join(err, io.ErrUnexpectedEOF))
			}
			sum.Write(buffer[:n])
		}
		all = append(all, digest(sum.Sum(nil)))
	}
	return all, nil
}

// compose opens the shadow copies and puts the views on.
func (s *Snapshotter) compose(shot *snapshot) error {
	sources := map[string]io.ReaderAt{}
	for _, p := range shot.disks {
		for _, v := range p.volumes {
			device, ok := shot.set.Devices[v.Name]
			if !ok {
				continue
			}
			h, err := s.openCopy(v, device)
			if err != nil {
				return err
			}
			shot.handles = append(shot.handles, h)
			sources[v.Name] = h
		}
	}
	for _, p := range shot.disks {
		m, err := p.layOut(func(volume string) (io.ReaderAt, bool) { from, ok := sources[volume]; return from, ok })
		if err != nil {
			return err
		}
		p.device.View(&image.Image{Map: m, Disk: p.device.Itself()})
	}
	return nil
}

// openCopy opens the shadow copy of a volume. One that is shorter than the volume would leave a hole.
func (s *Snapshotter) openCopy(v drive.Volume, device string) (drive.Handle, error) {
	h, err := drive.OpenWhole(s.System, device)
	if err != nil {
		return nil, unfit("volume "+v.Name, "its shadow copy cannot be opened", "the agent goes on trying", err)
	}
	size, err := drive.Size(h)
	if err != nil || size < v.Places[0].Length {
		return nil, errors.Join(unfit("volume "+v.Name, fmt.Sprintf("its shadow copy has %d bytes, the volume %d", size, v.Places[0].Length), "the agent goes on trying", err), h.Close())
	}
	return h, nil
}

// Instant is when the snapshot was complete, and what the boot clock showed before it began.
func (s *snapshot) Instant() (wall time.Time, boot time.Duration) { return s.set.At, s.boot }

// Note says why it is less than was asked for.
func (s *snapshot) Note() string { return s.set.Note }

// Settled compares what no shadow copy covers with what it was before the snapshot.
func (s *snapshot) Settled(ctx context.Context) (changed *fault.Fault, err error) {
	for _, p := range s.disks {
		now, err := p.digests(ctx)
		if err != nil {
			return nil, err
		}
		for i, piece := range p.raw {
			if now[i] != p.before[i] {
				return &fault.Fault{
					Code: "FS-1054", Kind: fault.Transient, Subject: "disk " + p.device.Path(),
					What:   fmt.Sprintf("of its %d bytes at %d there is no shadow copy, and they changed while they were read", piece.Length, piece.Offset),
					Remedy: "the agent goes on trying; a FAT volume that is written all the time cannot be part of a consistent point: move it to NTFS",
				}, nil
			}
		}
	}
	return nil, nil
}

// Release takes the views off and deletes the shadow copies.
func (s *snapshot) Release(ctx context.Context, complete bool) error {
	var err error
	for _, p := range s.disks {
		p.device.View(nil)
	}
	for _, h := range s.handles {
		err = errors.Join(err, h.Close())
	}
	return errors.Join(err, s.set.Release(ctx, complete))
}
