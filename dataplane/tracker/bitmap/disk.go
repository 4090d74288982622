package bitmap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
)

// minShift is the finest granularity: 4 KiB.
const minShift = 3

// batchEntries is how many entries of a table are fetched at once: more than share a bucket.
const batchEntries = 1024

// maxSamples bounds how long Renew looks for an instant at which all counters stand still.
const maxSamples = 20000

// Disk is a disk tracked with a bitmap. It implements [tracker.Disk].
type Disk struct {
	set    *set
	target Target
	tracked
	words []uint64
	count *counters
	// settled holds the flights that ended unseen before a quiet moment, by address and time of issue: their blocks have
	// been given out since they arrived.
	settled map[uint64]uint64
	lost    bool // a discard of several ranges ended unseen
}

var _ tracker.Disk = (*Disk)(nil)

// describe makes the entry of a target, without its place in a set.
func (f *form) describe(target Target) (tracked, error) {
	sectors, err := target.Device.Sectors()
	if err != nil {
		return tracked{}, err
	}
	d := tracked{Sectors: uint64(sectors), Shift: minShift}
	for d.Sectors>>d.Shift >= f.maxBlocks {
		d.Shift++
	}
	d.Blocks = (d.Sectors + 1<<d.Shift - 1) >> d.Shift
	copy(d.ID[:], target.ID)
	copy(d.Sequence[:], target.Device.Sequence())
	return d, nil
}

// words gives how many words of the map dirty a disk has.
func (f *form) words(d tracked) uint64 { return (d.Blocks + f.perWord - 1) / f.perWord }

// deviceNumber is the kernel's dev_t, as the programs compute it.
func deviceNumber(d *disk.Device) uint32 {
	major, minor := d.Number()
	return major<<20 | minor
}

func newDisk(s *set, target Target, entry tracked) *Disk {
	return &Disk{
		set: s, target: target, tracked: entry, words: s.dirty[entry.Base : entry.Base+s.form.words(entry)],
		count: &s.count[entry.Index], settled: map[uint64]uint64{},
	}
}

// Grade is [tracker.Bitmap].
func (d *Disk) Grade() tracker.Grade { return tracker.Bitmap }

// Era names the unbroken time of tracking.
func (d *Disk) Era() string { return "bitmap-" + hex.EncodeToString(d.tracked.Era[:]) }

// Exchange moves the marks of completed writes into the sink. A word is in the sink before it is cleared, and is only
// cleared as it was put there.
func (d *Disk) Exchange(ctx context.Context, into tracker.Sink) error {
	for i := range d.words {
		for word := atomic.LoadUint64(&d.words[i]); word != 0; word = atomic.LoadUint64(&d.words[i]) {
			d.markWord(uint64(i), word, into)
			if atomic.CompareAndSwapUint64(&d.words[i], word, 0) {
				break
			}
		}
	}
	if err := d.exchangeRanges(into); err != nil {
		return err
	}
	return ctx.Err()
}

// markWord gives out the runs of marked blocks of one word.
func (d *Disk) markWord(at, word uint64, into tracker.Sink) {
	per := d.set.form.perWord
	wide, mask := 64/per, ^uint64(0)>>(64-64/per) // of one block
	for block := uint64(0); block < per; {
		if word>>(block*wide)&mask == 0 {
			block++
			continue
		}
		end := block
		for end < per && word>>(end*wide)&mask != 0 {
			end++
		}
		into.Mark(d.extent((at*per+block)<<d.Shift, (at*per+end)<<d.Shift))
		block = end
	}
}

// exchangeRanges moves the ranges that were too long to be marked block by block. One that changes again before it is
// deleted is marked already, and read after the deletion.
func (d *Disk) exchangeRanges(into tracker.Sink) error {
	ranges := d.set.maps["ranges"]
	if ranges == nil {
		return nil
	}
	if spilled := atomic.LoadUint64(&d.count.Spilled); spilled > 0 {
		into.Mark(d.extent(0, d.Sectors))
		atomic.CompareAndSwapUint64(&d.count.Spilled, spilled, 0) // else it is marked once more
	}
	var taken []changed
	err := eachEntry(ranges, func(r changed, _ uint8) {
		if r.Index == d.Index {
			into.Mark(d.extent(r.First<<d.Shift, (r.Last+1)<<d.Shift))
			taken = append(taken, r)
		}
	})
	for _, r := range taken {
		if gone := ranges.Delete(r); gone != nil && !errors.Is(gone, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, gone)
		}
	}
	if err != nil {
		return fmt.Errorf("take the changed ranges: %w", err)
	}
	return nil
}

// extent cuts [start, end) to the disk.
func (d *Disk) extent(start, end uint64) block.Extent {
	end = min(end, d.Sectors)
	if start >= end {
		return block.Extent{}
	}
	return block.Extent{Start: block.Sector(start), Count: block.Count(end - start)}
}

// Sent has nothing to remember: a block that changes again is marked again.
func (d *Disk) Sent(block.Extent, []byte) {}

// Outstanding gives the requests that were issued and not seen to complete.
func (d *Disk) Outstanding(quiet bool, into tracker.Sink) error {
	left := map[uint64]uint64{}
	err := d.eachFlight(func(address uint64, f flight) {
		stale := d.settled[address] == f.Stamp
		if stale {
			left[address] = f.Stamp
			return
		}
		start := f.Sector >> d.Shift << d.Shift
		into.Mark(d.extent(start, (f.Sector+uint64(f.Bytes+511)/512+1<<d.Shift-1)>>d.Shift<<d.Shift))
		if quiet {
			left[address] = f.Stamp
			d.lost = d.lost || f.Several != 0
		}
	})
	if err == nil {
		d.settled = left
	}
	return err
}

func (d *Disk) eachFlight(do func(address uint64, f flight)) error {
	err := eachEntry(d.set.maps["flights"], func(address uint64, f flight) {
		if f.Index == d.Index {
			do(address, f)
		}
	})
	if err != nil {
		return fmt.Errorf("walk the requests in flight: %w", err)
	}
	return nil
}

// eachEntry walks a table bucket by bucket: an entry that is there all the time is met, however many others come and go.
func eachEntry[K, V any](table *ebpf.Map, do func(K, V)) error {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, batchEntries), make([]V, batchEntries)
	for {
		n, err := table.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			do(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Check compares what was seen with what the kernel has counted.
func (d *Disk) Check(quiet bool) (gap string, err error) {
	if gap, err = d.changed(); gap != "" || err != nil {
		return gap, err
	}
	c := d.count
	switch {
	case atomic.LoadUint64(&c.Passthrough) > 0:
		return fmt.Sprintf("%d writes were passed to the driver (SG_IO or NVMe ioctl); their place is unknown", c.Passthrough), nil
	case atomic.LoadUint64(&c.Unplaced) > 0 || d.lost:
		return "the end of a discard of several ranges was not seen", nil
	case atomic.LoadUint64(&c.Outside) > 0:
		return "a write ended behind the end that the disk had when tracking began", nil
	}
	if !quiet {
		return "", nil
	}
	return d.compare()
}

// changed reports whether the disk is another than the one tracked.
func (d *Disk) changed() (gap string, err error) {
	now, err := d.set.form.describe(d.target)
	switch {
	case err != nil:
		return "", err
	case now.Sectors != d.Sectors:
		return fmt.Sprintf("the size changed from %d to %d sectors", d.Sectors, now.Sectors), nil
	case now.Sequence != d.Sequence:
		return "another medium stands behind the same device", nil
	case !d.target.Device.Accounted():
		return "queue/iostats was switched off, so missed writes could not be noticed", nil
	}
	return "", nil
}

// compare asks the witness: on a quiet disk the kernel has counted exactly what was seen, healed, and is still in the
// table though it has ended.
func (d *Disk) compare() (gap string, err error) {
	s, err := d.target.Device.Stat()
	if err != nil {
		return "", err
	}
	written, discarded, err := d.ended()
	if err != nil {
		return "", err
	}
	if s.WrittenSectors-d.Written != written || s.DiscardedSectors-d.Discarded != discarded {
		return fmt.Sprintf("the kernel counted %d sectors written and %d discarded, the tracker saw %d and %d",
			s.WrittenSectors-d.Written, s.DiscardedSectors-d.Discarded, written, discarded), nil
	}
	return "", nil
}

// seen gives our counters, in sectors.
func (d *Disk) seen() (written, discarded uint64) {
	c := d.count
	written = atomic.LoadUint64(&c.Written) + atomic.LoadUint64(&c.HealedWritten)
	return written, atomic.LoadUint64(&c.Discarded) + atomic.LoadUint64(&c.HealedDiscarded)
}

// ended gives, for a disk with nothing under way, the sectors seen to end and those whose end was not seen.
func (d *Disk) ended() (written, discarded uint64, err error) {
	written, discarded = d.seen()
	err = d.eachFlight(func(_ uint64, f flight) {
		left := uint64(f.Bytes-min(f.Done, f.Bytes)) >> 9
		if f.Op == opDiscard {
			discarded += left
		} else {
			written += left
		}
	})
	return written, discarded, err
}

// Renew begins a new era: what the kernel has counted by now is the new zero. It fails with [tracker.ErrChanged] if the
// disk is another than the one tracked.
func (d *Disk) Renew() error {
	gap, err := d.changed()
	if err != nil {
		return err
	}
	if gap != "" {
		return fmt.Errorf("renew the tracking of %s: %s: %w", d.target.ID, gap, tracker.ErrChanged)
	}
	s, written, discarded, err := d.sample()
	if err != nil {
		return err
	}
	c := d.count
	for _, counter := range []*uint64{&c.Passthrough, &c.Unplaced, &c.Outside, &c.Crowded} {
		atomic.StoreUint64(counter, 0)
	}
	d.lost = false
	d.tracked.Era = newEra()
	d.Written, d.Discarded = s.WrittenSectors-written, s.DiscardedSectors-discarded
	if err := d.set.maps["disks"].Put(deviceNumber(d.target.Device), d.tracked); err != nil {
		return fmt.Errorf("begin a new era of %s: %w", d.target.ID, err)
	}
	return nil
}

// sample looks for an instant at which no write is under way and the kernel's counters and ours stand still. On a disk
// that has none, standing still must do: the kernel may be between our counting and its own, and the zero wrong by a few
// sectors. Then the next comparison shows a gap that is none, on a quiet disk, and is followed by a Renew that is right.
func (d *Disk) sample() (s disk.Stat, written, discarded uint64, err error) {
	for try := range maxSamples {
		before := s
		w, g := d.seen()
		if s, err = d.target.Device.Stat(); err != nil {
			return s, 0, 0, err
		}
		still := s.SameWrites(before) && w == written && g == discarded
		written, discarded = w, g
		if still && (s.InFlight+before.InFlight == 0 || try > maxSamples/2) {
			break
		}
	}
	if s.InFlight == 0 { // whatever the table holds has ended, and the kernel has counted it
		written, discarded, err = d.ended()
	}
	return s, written, discarded, err
}
