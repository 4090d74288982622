package scan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
)

// ChunkSectors is the size of a chunk, 256 KiB: a table takes 64 MiB for each TiB. What is sent of a scanned disk is read
// in whole chunks.
const ChunkSectors = chunkBytes / block.SectorSize

const (
	chunkBytes = 256 << 10
	readBytes  = 4 * chunkBytes
)

// clockGrain is how close to the sampling a file's time of change may be and still tell later changes apart: the kernel
// stamps files with a clock that moves in steps of up to 10 ms.
const clockGrain = 50 * time.Millisecond

// Disk is a disk whose changes are found by scanning. It implements [tracker.Disk].
type Disk struct {
	device *disk.Device
	want   fileHeader
	table  *table
	sum    hash.Hash
	last   *disk.Stat // sampled before the last complete scan, if it can prove that nothing was written since
	now    func() time.Time
}

var _ tracker.Disk = (*Disk)(nil)

// Open opens the table of the disk in the folder dir, or begins one.
func Open(dir string, id farshore.DiskID, device *disk.Device, now func() time.Time) (*Disk, error) {
	want, err := describe(device)
	if err != nil {
		return nil, err
	}
	t, err := openTable(tablePath(dir, string(id)), want)
	if err != nil {
		return nil, err
	}
	return &Disk{device: device, want: want, table: t, sum: sha256.New(), now: now}, nil
}

func describe(device *disk.Device) (fileHeader, error) {
	sectors, err := device.Sectors()
	if err != nil {
		return fileHeader{}, err
	}
	h := fileHeader{Sectors: uint64(sectors)}
	copy(h.Magic[:], magic)
	copy(h.Sequence[:], device.Sequence())
	h.Boot, err = bootID()
	return h, err
}

// Grade is [tracker.Scan].
func (d *Disk) Grade() tracker.Grade { return tracker.Scan }

// Era names the unbroken time of tracking.
func (d *Disk) Era() string { return "scan-" + hex.EncodeToString(d.table.Era[:]) }

// Exchange reads the disk and puts every chunk into the sink that differs from what was sent of it.
func (d *Disk) Exchange(ctx context.Context, into tracker.Sink) error {
	before, err := d.device.Stat()
	if err != nil {
		return err
	}
	if d.device.Node() && !d.device.Accounted() {
		d.last = nil // equal counters prove nothing any more
	}
	if d.last != nil && d.last.SameWrites(before) && before.InFlight == 0 {
		return nil
	}
	d.last = nil
	buffer, size := disk.Buffer(readBytes), int64(d.want.Sectors)*block.SectorSize
	for at := int64(0); at < size; at += int64(len(buffer)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(buffer)), size-at)
		if m, err := d.device.ReadAt(buffer, at); int64(m) < n {
			return fmt.Errorf("scan: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
		d.compare(buffer[:n], at, into)
	}
	if d.provable(before) {
		d.last = &before
	}
	return nil
}

// compare looks at the chunks of one read.
func (d *Disk) compare(read []byte, at int64, into tracker.Sink) {
	for ; len(read) > 0; at += chunkBytes {
		n := min(chunkBytes, len(read))
		if digest := d.digest(at, read[:n]); !bytes.Equal(d.held(at), digest) {
			into.Mark(block.Extent{Start: block.Sector(at / block.SectorSize), Count: block.Count(n / block.SectorSize)})
		}
		read = read[n:]
	}
}

// digest hashes a chunk at its place in bytes.
func (d *Disk) digest(at int64, chunk []byte) []byte {
	d.sum.Reset()
	d.sum.Write(d.table.Secret[:])
	d.sum.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
	d.sum.Write(chunk)
	return d.sum.Sum(nil)[:hashSize]
}

// held is the table's hash of the chunk at a place in bytes.
func (d *Disk) held(at int64) []byte { return d.table.hashes[at/chunkBytes*hashSize:][:hashSize] }

// Sent enters what was sent. A chunk of which only a part was sent is not known any more.
func (d *Disk) Sent(e block.Extent, data []byte) {
	end := int64(d.want.Sectors) * block.SectorSize
	for at := e.Start.Offset(); at < e.End().Offset(); {
		whole := at - at%chunkBytes
		next := min(whole+chunkBytes, end)
		part := data[at-e.Start.Offset():]
		if at == whole && int64(len(part)) >= next-at {
			copy(d.held(at), d.digest(at, part[:next-at]))
		} else {
			clear(d.held(at))
		}
		at = next
	}
}

// provable reports whether an equal later sample proves that nothing was written in between. What a snapshot shows is older
// than any sample: it proves nothing.
func (d *Disk) provable(before disk.Stat) bool {
	if d.device.Viewed() {
		return false
	}
	if d.device.Node() {
		return d.device.Accounted() && before.InFlight == 0
	}
	return d.now().Sub(time.Unix(0, before.FileChanged)) > clockGrain
}

// Outstanding gives nothing: a scan sees what is on the disk, not what was asked of it.
func (d *Disk) Outstanding(bool, tracker.Sink) error { return nil }

// Check reports a resize or another medium. A scan misses nothing else.
func (d *Disk) Check(bool) (gap string, err error) {
	now, err := describe(d.device)
	switch {
	case err != nil:
		return "", err
	case now.Sectors != d.want.Sectors:
		return fmt.Sprintf("the size changed from %d to %d sectors", d.want.Sectors, now.Sectors), nil
	case now.Sequence != d.want.Sequence:
		return "another medium stands behind the same device", nil
	}
	return "", nil
}

// Renew forgets every hash.
func (d *Disk) Renew() error {
	if gap, err := d.Check(false); err != nil || gap != "" {
		return errors.Join(err, tracker.ErrChanged)
	}
	d.last = nil
	return d.table.renew()
}

// Close lets go of the table.
func (d *Disk) Close() error { return d.table.close() }
