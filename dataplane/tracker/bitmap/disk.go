package bitmap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
)

// minShift is the finest granularity: 4 KiB.
const minShift = 3

// batchEntries is how many entries of a table are fetched at once: more than share a bucket.
const batchEntries = 1024

// The bounds of looking for an instant at which all counters stand still: for Check, and for Renew, which contents itself with
// less if there is none.
const (
	checkSamples   = 150
	lastingSamples = 50 // for so many a difference must stay the same
	renewSamples   = 100
	roughSamples   = 10000
	betweenSamples = 2 * time.Millisecond
)

// Disk is a disk tracked with a bitmap. It implements [tracker.Disk].
type Disk struct {
	set    *set
	target Target
	tracked
	words []uint64
	count *counters
	// settled holds the flights that ended unseen before a quiet moment, by address and time of issue: their blocks have
	// been given out since they arrived. Given holds what the last call of Outstanding gave out.
	settled, given map[uint64]uint64
	lost           bool // a discard of several ranges ended unseen
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
	left, given := map[uint64]uint64{}, map[uint64]uint64{}
	err := d.eachFlight(func(address uint64, f flight) {
		if d.settled[address] == f.Stamp {
			left[address] = f.Stamp
			return
		}
		start := f.Sector >> d.Shift << d.Shift
		into.Mark(d.extent(start, (f.Sector+uint64(f.Bytes+511)/512+1<<d.Shift-1)>>d.Shift<<d.Shift))
		given[address] = f.Stamp
		// Only what was under way at the call before: a write that came since may have reached the disk behind the moment
		// that was quiet, and behind whatever was read for it.
		if quiet && d.given[address] == f.Stamp {
			left[address] = f.Stamp
			d.lost = d.lost || f.Several != 0
		}
	})
	if err == nil {
		d.settled, d.given = left, given
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
	if gap, err = d.blind(); gap != "" || err != nil {
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

// compare asks the witness: on a quiet disk the kernel has counted exactly what was seen, healed, and is still in the table
// though it has ended. A write is counted here a little before the kernel counts it, so only a difference that stays is one.
func (d *Disk) compare() (gap string, err error) {
	var seen counts
	for lasted, try := 0, 0; try < checkSamples; try++ {
		c, still, err := d.sample()
		if err != nil {
			return "", err
		}
		if !still || c != seen {
			lasted = 0
		}
		seen = c
		switch {
		case still && c.kernelWritten-d.Written == c.written && c.kernelDiscarded-d.Discarded == c.discarded:
			return "", nil
		case lasted >= lastingSamples:
			return fmt.Sprintf("the kernel counted %d sectors written and %d discarded, the tracker saw %d and %d",
				c.kernelWritten-d.Written, c.kernelDiscarded-d.Discarded, c.written, c.discarded), nil
		}
		lasted++
		time.Sleep(betweenSamples)
	}
	return "", tracker.ErrUnsettled
}

// counts are the kernel's counters and ours, in sectors.
type counts struct{ kernelWritten, kernelDiscarded, written, discarded uint64 }

// sample reads both. Still says that they are of one instant at which nothing was under way: ours did not move while the
// kernel's were read, the driver held nothing, and no flight is in the table that was not given out before.
func (d *Disk) sample() (c counts, still bool, err error) {
	written, discarded, _, err := d.ended()
	if err != nil {
		return c, false, err
	}
	s, err := d.target.Device.Stat()
	if err != nil {
		return c, false, err
	}
	c.kernelWritten, c.kernelDiscarded = s.WrittenSectors, s.DiscardedSectors
	var strangers int
	c.written, c.discarded, strangers, err = d.ended()
	still = s.InFlight == 0 && strangers == 0 && c.written == written && c.discarded == discarded
	return c, still, err
}

// seen gives our counters, in sectors.
func (d *Disk) seen() (written, discarded uint64) {
	c := d.count
	written = atomic.LoadUint64(&c.Written) + atomic.LoadUint64(&c.HealedWritten)
	return written, atomic.LoadUint64(&c.Discarded) + atomic.LoadUint64(&c.HealedDiscarded)
}

// ended gives the sectors seen to end, with those whose end was not seen if nothing is under way. Strangers are flights that no
// call of Outstanding has given out yet.
func (d *Disk) ended() (written, discarded uint64, strangers int, err error) {
	written, discarded = d.seen()
	err = d.eachFlight(func(address uint64, f flight) {
		if d.given[address] != f.Stamp && d.settled[address] != f.Stamp {
			strangers++
		}
		left := uint64(f.Bytes-min(f.Done, f.Bytes)) >> 9
		if f.Op == opDiscard {
			discarded += left
		} else {
			written += left
		}
	})
	return written, discarded, strangers, err
}

// Renew begins a new era: what the kernel has counted by now is the new zero. It fails with [tracker.ErrChanged] if the
// disk is another than the one tracked.
func (d *Disk) Renew() error {
	gap, err := d.changed()
	if err != nil {
		return err
	}
	if name := d.set.detached(); gap == "" && name != "" {
		gap = "the program " + name + " is not attached any more"
	}
	if gap != "" {
		return fmt.Errorf("renew the tracking of %s: %s: %w", d.target.ID, gap, tracker.ErrChanged)
	}
	if err := d.enter(); err != nil { // if it was taken out of the table: what is counted from here on must be seen
		return err
	}
	zero, err := d.zero()
	if err != nil {
		return err
	}
	c := d.count
	for _, counter := range []*uint64{&c.Passthrough, &c.Unplaced, &c.Outside, &c.Crowded} {
		atomic.StoreUint64(counter, 0)
	}
	d.lost = false
	d.tracked.Era = newEra()
	d.Written, d.Discarded = zero.kernelWritten-zero.written, zero.kernelDiscarded-zero.discarded
	return d.enter()
}

// enter puts the disk into the table by which the programs know it.
func (d *Disk) enter() error {
	if err := d.set.maps["disks"].Put(deviceNumber(d.target.Device), d.tracked); err != nil {
		return fmt.Errorf("enter %s in the tracker: %w", d.target.ID, err)
	}
	return nil
}

// zero gives the counts of one instant. On a disk that is never still, equal counts in a row must do: the kernel may be between
// our counting and its own, and the zero wrong by a few sectors. Then the next comparison shows a gap that is none, on a quiet
// disk, and is followed by a Renew that is right.
func (d *Disk) zero() (c counts, err error) {
	for range renewSamples {
		before := c
		var still bool
		if c, still, err = d.sample(); err != nil || still && c == before {
			return c, err
		}
		time.Sleep(betweenSamples)
	}
	for range roughSamples {
		before := c
		s, err := d.target.Device.Stat()
		if err != nil {
			return c, err
		}
		c.kernelWritten, c.kernelDiscarded = s.WrittenSectors, s.DiscardedSectors
		if c.written, c.discarded = d.seen(); c == before {
			break
		}
	}
	return c, nil
}
