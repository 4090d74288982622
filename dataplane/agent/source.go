package agent

import (
	"errors"
	"fmt"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker"
)

// source is one protected disk with everything that is owed of it.
type source struct {
	index  uint16
	id     farshore.DiskID
	device *disk.Device
	track  tracker.Disk
	run    diskRun

	base *bitset                    // owed of the full copy
	free *bitset                    // left out of it, and not yet durably stated as unspecified
	seen *bitset                    // of a scanned disk: read in this session; in memory only
	todo *bitset                    // to be sent in this session; in memory only, for a new session makes it anew
	kept [session.Intervals]*bitset // pending, by interval
	when session.Pending            // which of them changes go into, and when one is forgotten
	sent []sentBase                 // base extents on their way, oldest first
	at   block.Sector               // how far the base was sent in this session

	stated bool // free was stated in this session

	since       *bitset // changed since the session began, or owed then; in memory only, and only where disks are compared
	unspecified *bitset // the stream leaves some of the block unspecified

	doubt   *bitset // captured, and which of several writes the disk kept is not knowable
	healing *bitset // of these, copied again, and the clean end behind the copies is not yet durable
}

type sentBase struct {
	message uint64
	extent  block.Extent
	free    bool // stated as unspecified, not copied
}

// Mark takes a change: it is pending, and to be sent. A scan finds everything that was never read to be a change; what the
// base will read in this session is none.
func (s *source) Mark(e block.Extent) {
	if s.seen != nil && e.Start >= s.at && s.base.holds(e) && !s.seen.meets(e) {
		return
	}
	s.kept[s.when.Open()].Mark(e)
	s.touch(e)
	s.todo.Mark(e)
	s.free.unmark(e)
}

// openSource maps the bitmaps of a disk. One whose tracking did not go on owes its whole content.
func openSource(runDir string, s *source) (why string, err error) {
	sectors, err := s.device.Sectors()
	if err != nil {
		return "", err
	}
	for name, b := range s.files() {
		if *b, err = openBitset(s.path(runDir, name), sectors); err != nil {
			return "", err
		}
	}
	if s.todo, err = openBitset("", sectors); err != nil {
		return "", err
	}
	if s.track.Grade() == tracker.Scan {
		if s.seen, err = openBitset("", sectors); err != nil {
			return "", err
		}
	}
	switch {
	case s.run.Era == "":
		why = "nothing is known of it here"
	case s.run.Sectors != sectors:
		why = fmt.Sprintf("its size changed from %d to %d sectors", s.run.Sectors, sectors)
	case s.run.Era != s.track.Era():
		why = "its tracking was interrupted"
	}
	if why != "" {
		s.owe()
		s.run.Fresh = false
	}
	s.run.Era, s.run.Sectors = s.track.Era(), sectors
	return why, nil
}

func (s *source) close() error {
	var err error
	for _, b := range append(s.kept[:], s.base, s.free, s.seen, s.todo, s.since, s.unspecified, s.doubt, s.healing) {
		if b != nil {
			err = errors.Join(err, b.close())
		}
	}
	return err
}

// begin readies the disk for a session: everything pending is one interval again, and to be sent.
func (s *source) begin() {
	for _, b := range s.kept[1:] {
		s.kept[0].union(b) // before the reset: no instant at which a block is in neither
		b.reset()
	}
	s.when, s.sent, s.at, s.stated = session.Pending{}, nil, 0, false
	s.todo.reset()
	s.todo.union(s.kept[0])
	if s.seen != nil {
		s.seen.reset()
	}
	s.doubt.union(s.healing)
	s.healing.reset()
}

// settleDoubt makes the blocks in doubt pending ones: a copy of all that is pending settles them too.
func (s *source) settleDoubt() {
	for _, b := range []*bitset{s.doubt, s.healing} {
		s.kept[s.when.Open()].union(b)
		s.todo.union(b)
		b.reset()
	}
}

// heal has the blocks in doubt copied again.
func (s *source) heal() {
	s.healing.union(s.doubt)
	s.doubt.reset()
	s.todo.union(s.healing)
}

// owe makes the whole disk the base. What was free may be in use.
func (s *source) owe() {
	s.free.reset()
	s.base.fill()
	s.at, s.sent, s.stated = 0, nil, false
	s.run.Spared, s.run.Owed = false, 0
	s.unspecified.reset() // what is sent from here on says it anew
	s.run.Told = true
}

// baseLeft reports whether some of the base was not sent in this session.
func (s *source) baseLeft() bool {
	_, ok := s.base.next(s.at)
	return ok
}

// shutInterval ends the open interval: the cut is the clean end behind everything sent of it.
func (s *source) shutInterval(cut uint64) {
	if from, to, joined := s.when.Shut(cut); joined {
		s.kept[to].union(s.kept[from])
		s.kept[from].reset()
	}
}

// durable forgets base extents that were sent, and free ones that were stated, up to a message.
func (s *source) durable(through uint64) {
	for len(s.sent) > 0 && s.sent[0].message <= through {
		if first := s.sent[0]; first.free {
			s.free.remove(first.extent)
		} else {
			s.base.remove(first.extent)
		}
		s.sent = s.sent[1:]
	}
}

// clean forgets the intervals up to a clean end.
func (s *source) clean(cut uint64) {
	for _, i := range s.when.Durable(cut) {
		s.kept[i].reset()
	}
}

// pending is the size of what is owed, in bytes. Blocks that changed in several intervals count once for each.
func (s *source) pending() int64 {
	n := s.base.bytes(0) + s.doubt.bytes(0) + s.healing.bytes(0)
	for _, b := range s.kept {
		n += b.bytes(0)
	}
	return n
}
