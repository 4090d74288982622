package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/fault"
)

// taken is one open sink.
type taken struct {
	sink   Sink
	dir    string // of what is stored of it
	medium medium
	blank  bool // it was made just now

	mu     sync.RWMutex // held shared by writes, alone by whatever changes what the sink is
	writer uint64       // the newest handle that fenced it
	record record

	stirring sync.Mutex // one write marks it as being written
	stirred  bool
	meeting  sync.Mutex // one write meets granules that are not known
	known    *known

	written, equal atomic.Int64
}

// openDisk takes a sink: one that was taken before if it is the same disk, else one that holds nothing or may be overwritten.
func openDisk(ctx context.Context, dir string, m farshore.MachineID, s Sink) (_ *taken, err error) {
	if err := errors.Join(os.MkdirAll(dir, 0o700), syncFolder(filepath.Dir(dir))); err != nil {
		return nil, operator("FS-4111", s, "its state cannot be stored in "+dir, "see that the folder can be written", err)
	}
	o, err := openSoon(ctx, s)
	if err != nil {
		return nil, err
	}
	d := &taken{sink: s, dir: dir, medium: o.medium, blank: o.blank}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.medium.Close())
		}
	}()
	ours, err := d.load()
	if err != nil {
		return nil, err
	}
	if ours && d.record.Machine == m && d.record.Disk == s.Disk && d.record.Kind == s.Kind && d.record.Path == s.Path {
		return d, d.resume(o.identity)
	}
	d.record = record{Version: recordVersion, Machine: m, Disk: s.Disk, Kind: s.Kind, Path: s.Path, Identity: o.identity, Sectors: s.Sectors}
	if err := d.vacant(); err != nil {
		return nil, err
	}
	if err := d.medium.Fit(s.Sectors.Bytes()); err != nil {
		return nil, d.trouble("it cannot be made as large as the machine's disk", err)
	}
	return d, d.save()
}

// letGo is how long a disk may still be held by what a former process has left behind: a child of it that has not begun yet
// holds its files.
const (
	letGo     = time.Second
	letGoLook = 20 * time.Millisecond
)

func openSoon(ctx context.Context, s Sink) (opened, error) {
	for limit := time.Now().Add(letGo); ; {
		o, err := openMedium(ctx, s)
		if f, ok := fault.As(err); !ok || f.Code != "FS-4104" || time.Now().After(limit) || ctx.Err() != nil {
			return o, err
		}
		time.Sleep(letGoLook)
	}
}

// vacant makes sure that nothing is lost by writing: the disk holds nothing, or a person has confirmed that it may go.
func (d *taken) vacant() error {
	if d.blank || d.sink.Overwrite {
		return nil
	}
	size, err := d.medium.Size()
	if err != nil {
		return d.trouble("its size cannot be told", err)
	}
	what, err := disk.Contents(d.medium, size)
	if err != nil {
		return d.trouble("it cannot be read", err)
	}
	if what != "" {
		return refused("FS-4107", d.sink, "it holds "+what, "if that may be lost, confirm the mapping of disks; else give another disk")
	}
	return nil
}

// resume goes on with a sink that was taken before, if it is still the same disk with the same content.
func (d *taken) resume(identity string) (err error) {
	another := func(what string) error {
		return refused("FS-4108", d.sink, what, "put the disk back that was there, or take this one from the master target and give it anew")
	}
	if identity != d.record.Identity {
		return another(fmt.Sprintf("it is %s now, and was %s", identity, d.record.Identity))
	}
	d.written.Store(d.record.Written)
	d.equal.Store(d.record.Equal)
	if d.record.Name == "" {
		return nil
	}
	if d.known, err = loadKnown(d.knownPath(), d.record.Sectors); err != nil {
		return operator("FS-4111", d.sink, "what is known of it cannot be read in "+d.dir,
			"take the disk back and give it again: what it holds is compared then, and only what differs is written", err)
	}
	if d.stirred = d.record.Signature == ""; d.stirred {
		return nil
	}
	signature, err := d.signature()
	if err != nil {
		return err
	}
	if signature != d.record.Signature {
		return another("its content is not what was left there")
	}
	return nil
}

// begin makes the sink a replica disk of zeros, of which nothing is known but what was made here just now.
func (d *taken) begin(name string, sectors block.Count) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.record.Name == name {
		return fmt.Errorf("begin sink %s: %w", name, errExists)
	}
	if err := d.clear(); err != nil {
		return err
	}
	if err := d.medium.Fit(sectors.Bytes()); err != nil {
		return d.trouble("it cannot be made as large as the machine's disk", err)
	}
	d.known = newKnown(sectors)
	if d.blank {
		for g := range granulesOf(sectors) {
			d.known.add(g)
		}
		d.blank = false
	}
	if err := d.saveKnown(); err != nil {
		return err
	}
	d.written.Store(0)
	d.equal.Store(0)
	d.stirred = true
	d.record.Name, d.record.Sectors = name, sectors
	return d.save()
}

func (d *taken) saveKnown() error {
	if err := d.known.save(d.knownPath()); err != nil {
		return operator("FS-4111", d.sink, "what is known of it cannot be stored in "+d.dir, "free space there, and see that the folder can be written", err)
	}
	return nil
}

// clear ends what the sink was: first of all nobody may go on with it.
func (d *taken) clear() error {
	if d.record.Name == "" {
		return nil
	}
	d.record.Name, d.record.State, d.record.Signature, d.record.Written, d.record.Equal = "", nil, "", 0, 0
	return d.save()
}

func (d *taken) forget() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writer++ // nobody's
	d.blank = false
	return d.clear()
}

// trouble makes a fault of what a medium said.
func (d *taken) trouble(what string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return noSpace(d.sink, err)
	}
	if f, ok := fault.As(err); ok {
		return f
	}
	return operator("FS-4103", d.sink, what, "see the kernel's log, and replace the disk if it is broken", err)
}

// stir marks the sink as being written, before the first write behind a state.
func (d *taken) stir() error {
	d.stirring.Lock()
	defer d.stirring.Unlock()
	if d.stirred {
		return nil
	}
	d.record.Signature = ""
	if err := d.save(); err != nil {
		return err
	}
	d.stirred = true
	return nil
}

// extent is a granule's place on the disk.
func (d *taken) extent(g int) block.Extent {
	e := block.Extent{Start: block.Sector(g) * block.Sector(granule), Count: granule}
	return e.Intersect(block.Extent{Count: d.record.Sectors})
}

// put writes content to an extent, or zeros if there is none.
func (d *taken) put(e block.Extent, content []byte) error {
	if err := d.stir(); err != nil {
		return err
	}
	if d.known.covers(e) {
		return d.write(e, content)
	}
	d.meeting.Lock()
	defer d.meeting.Unlock()
	for g := int(e.Start) / int(granule); g <= int(e.End()-1)/int(granule); g++ {
		whole := d.extent(g)
		part := whole.Intersect(e)
		var in []byte
		if content != nil {
			in = content[(part.Start - e.Start).Offset():(part.End() - e.Start).Offset()]
		}
		if d.known.has(g) {
			if err := d.write(part, in); err != nil {
				return err
			}
			continue
		}
		if err := d.meet(whole, part, in); err != nil {
			return err
		}
		d.known.add(g)
	}
	return nil
}

// meet gets to know a granule: it shall hold content in a part of it and zeros elsewhere. Only what differs is written.
func (d *taken) meet(whole, part block.Extent, content []byte) error {
	have, want := alignedBuffer(int(whole.Count.Bytes())), alignedBuffer(int(whole.Count.Bytes()))
	if content != nil {
		copy(want[(part.Start-whole.Start).Offset():], content)
	}
	if _, err := d.medium.ReadAt(have, whole.Start.Offset()); err != nil {
		return d.trouble("it cannot be read", err)
	}
	for at := 0; at < len(want); {
		run := 0
		for at+run < len(want) {
			end := min(at+run+pieceBytes, len(want))
			if bytes.Equal(have[at+run:end], want[at+run:end]) {
				break
			}
			run = end - at
		}
		if run > 0 {
			e := block.Extent{Start: whole.Start + block.Sector(at/block.SectorSize), Count: block.Count(run / block.SectorSize)}
			if err := d.write(e, want[at:at+run]); err != nil {
				return err
			}
			at += run
			continue
		}
		end := min(at+pieceBytes, len(want))
		d.equal.Add(int64(end - at))
		at = end
	}
	return nil
}

// write writes to the medium whatever is there.
func (d *taken) write(e block.Extent, content []byte) error {
	var err error
	if content == nil {
		err = d.medium.Zero(e.Start.Offset(), e.Count.Bytes())
	} else {
		_, err = d.medium.WriteAt(content, e.Start.Offset())
		d.written.Add(int64(len(content)))
	}
	if err != nil {
		return d.trouble("it cannot be written", err)
	}
	return nil
}

func (d *taken) flush() error {
	if err := d.medium.Flush(); err != nil {
		return d.trouble("what was written cannot be flushed", err)
	}
	return nil
}

// complete gets to know every granule, and flushes.
func (d *taken) complete(ctx context.Context) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.record.Name == "" {
		return fmt.Errorf("complete the sink of disk %s: %w", d.sink.Disk, errNotBegun)
	}
	for g := range granulesOf(d.record.Sectors) {
		if d.known.has(g) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.put(d.extent(g), nil); err != nil {
			return err
		}
	}
	if err := d.flush(); err != nil {
		return err
	}
	if err := d.medium.Uncache(); err != nil {
		return d.trouble("what is cached of it cannot be dropped", err)
	}
	return d.saveKnown()
}

func (d *taken) reread(p []byte, at block.Sector) error {
	if _, err := d.medium.ReadAt(p, at.Offset()); err != nil {
		return d.trouble("it cannot be read back", err)
	}
	return nil
}
