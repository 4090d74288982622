package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/fault"
)

// maxDifferences is how many differences are told one by one; the others are counted.
const maxDifferences = 256

// Comparison is a comparison of the disks with their replica: the last one, or the one under way. All quantities are bytes.
type Comparison struct {
	Number      uint64    `json:"number"` // of the request
	Done        bool      `json:"done,omitempty"`
	Waiting     string    `json:"waiting,omitempty"` // what it waits for
	Why         []string  `json:"why,omitempty"`     // why something was left out that nobody wrote
	At          string    `json:"at,omitempty"`      // the end of the stream at which the replica's hashes were made; of several sessions the last
	Total       int64     `json:"total"`
	Read        int64     `json:"read"`        // so far, of the total: looked at
	Equal       int64     `json:"equal"`       // to the replica
	Changed     int64     `json:"changed"`     // written meanwhile, or not yet durable when it began: not compared
	Unspecified int64     `json:"unspecified"` // of chunks that are equal but for what the stream leaves unspecified
	Unclear     int64     `json:"unclear"`     // of chunks that hold a block of which a part is unspecified: copied again, not judged
	Different   int64     `json:"different"`   // though nobody wrote it
	Rate        int64     `json:"-"`           // in a second, of late
	End         time.Time `json:"-"`           // when it will be done at that rate; zero if that cannot be told

	Differences []Difference           `json:"differences,omitempty"`
	Left        int                    `json:"left,omitempty"`     // differences that are not told one by one
	Unproven    bool                   `json:"unproven,omitempty"` // the kernel's own counts could not be asked whether a write was missed
	Healed      farshore.RecoveryPoint `json:"healed,omitzero"`    // the first point that holds the source's bytes again
}

// Difference is a range of a disk that differs from its replica though nobody wrote it: as long as the chunks that were
// compared.
type Difference struct {
	Disk   farshore.DiskID `json:"disk"`
	Offset int64           `json:"offset"` // bytes
	Bytes  int64           `json:"bytes"`
}

// unhealed counts the differences that no durable point has healed yet.
func (c *Comparison) unhealed() int {
	if !c.Healed.Position.IsZero() {
		return 0
	}
	return len(c.Differences) + c.Left
}

func (c *Comparison) copy() Comparison {
	o := *c
	o.Why, o.Differences = slices.Clone(c.Why), slices.Clone(c.Differences)
	return o
}

// leave notes why something is not compared.
func (c *Comparison) leave(why string) {
	const most = 16
	if len(c.Why) < most && !slices.Contains(c.Why, why) {
		c.Why = append(c.Why, why)
	}
}

// differ adds a range that differs.
func (c *Comparison) differ(id farshore.DiskID, e block.Extent, proven bool) {
	c.Different += e.Count.Bytes()
	c.Unproven = c.Unproven || !proven
	c.Healed = farshore.RecoveryPoint{}
	d := Difference{Disk: id, Offset: e.Start.Offset(), Bytes: e.Count.Bytes()}
	if n := len(c.Differences); n > 0 {
		if last := &c.Differences[n-1]; last.Disk == id && last.Offset+last.Bytes == d.Offset {
			last.Bytes += d.Bytes
			return
		}
		if n >= maxDifferences {
			c.Left++
			return
		}
	}
	c.Differences = append(c.Differences, d)
}

// differing is how many bytes differ and are not healed yet: of the comparison under way, or else of the last one.
func (a *Agent) differing() int64 {
	c := a.state.Comparison
	if a.comparison != nil {
		c = &a.comparison.Comparison
	}
	if c == nil || c.unhealed() == 0 {
		return 0
	}
	return c.Different
}

// tellDifferences keeps what was found and makes a fault of it.
func (a *Agent) tellDifferences(c *Comparison) error {
	if c.unhealed() == 0 {
		return nil
	}
	kept := c.copy()
	a.state.Comparison = &kept
	a.blameDifferences(c)
	return a.keep()
}

// recallDifferences tells what an earlier process found and nothing has healed yet.
func (a *Agent) recallDifferences() {
	c := a.state.Comparison
	if c == nil {
		return
	}
	a.note(func(o *Observed) { o.Comparison = c.copy() })
	a.blameDifferences(c)
}

// blameDifferences enters what is not healed as a fault, or takes it out.
func (a *Agent) blameDifferences(c *Comparison) {
	n := c.unhealed()
	if n == 0 {
		a.blame(atSource, nil)
		return
	}
	first := c.Differences[0]
	var others string
	if n > 1 {
		others = fmt.Sprintf(", and %d more places", n-1)
	}
	generation, _, _ := strings.Cut(strings.TrimPrefix(c.At, "g"), ".")
	f := &fault.Fault{
		Code: "FS-1027", Kind: fault.Corrupt, Subject: "machine " + string(a.deps.Machine),
		What: fmt.Sprintf("%d bytes of it are not what its replica holds at %s, though nobody wrote them: disk %s, %d bytes from byte %d on%s",
			c.Different, c.At, first.Disk, first.Bytes, first.Offset, others),
		Remedy: "nothing for the points to come: the source's bytes are sent again. Do not trust points of generation " + generation +
			" made before for these ranges; look for the cause: the disk and its cables (kernel log, SMART), memory, the process server, who writes to the vault",
	}
	if c.Unproven {
		f.What += "; that no write was missed could not be proven, the disk was never quiet"
	}
	if a.blame(atSource, f) {
		a.deps.Log.Error("the source differs from its replica", "err", f)
	}
}

// doubtDifferences has what is not healed copied in this session, whatever became of it in the last one.
func (s *sending) doubtDifferences() {
	c := s.agent.state.Comparison
	if c == nil || c.unhealed() == 0 {
		return
	}
	for _, d := range c.Differences {
		for _, from := range s.sources {
			e := block.Extent{Start: block.Sector(d.Offset / block.SectorSize), Count: block.Count(d.Bytes / block.SectorSize)}
			if from.id == d.Disk && uint64(e.End()) <= uint64(from.run.Sectors) {
				from.doubt.Mark(e)
			}
		}
	}
}

// mended takes a durable point in front of which so many bytes that differed were copied. When more were found since, it is not
// the one.
func (a *Agent) mended(copied int64, p farshore.RecoveryPoint) error {
	if copied == 0 || copied != a.differing() {
		return nil
	}
	c := a.state.Comparison
	if a.comparison != nil {
		a.comparison.Healed, a.comparison.unsent = p, 0
		kept := a.comparison.copy()
		c = &kept
	} else {
		c.Healed = p
	}
	a.state.Comparison = c
	a.blame(atSource, nil)
	a.note(func(o *Observed) { o.Comparison = c.copy() })
	a.deps.Log.Info("what differed from the replica was copied again", "point", p.Position, "bytes", c.Different)
	return a.keep()
}

// compared ends a comparison when whatever it found is healed.
func (a *Agent) compared(c *comparison) error {
	if c.unhealed() > 0 {
		if c.Waiting == "" {
			c.Waiting = "a recovery point that holds the source's bytes where they differed"
			a.note(func(o *Observed) { o.Comparison = c.copy() })
		}
		return nil
	}
	c.Done, c.Waiting = true, ""
	kept := c.copy()
	a.state.Comparison, a.comparison = &kept, nil
	a.note(func(o *Observed) { o.Comparison = kept.copy() })
	a.deps.Log.Info("compared with the replica", "position", c.At, "bytes", c.Total, "equal_bytes", c.Equal, "changed_bytes", c.Changed,
		"unspecified_bytes", c.Unspecified, "different_bytes", c.Different)
	return a.keep()
}
