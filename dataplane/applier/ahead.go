package applier

import (
	"context"
	"errors"
	"slices"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/hashes"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// ahead looks at what the agent has sent behind the position at which hashes are offered, so that none are made in vain: an
// agent that got none for a while copies in full, disk by disk, from the front to the back. It only ever saves work: the
// agent does not rely on any part being there.
type ahead struct {
	*follower
	next  farshore.Position // of the first segment not looked at
	disks []journal.TicketDisk
	copy  farshore.Position // of the last segment with copies
	read  farshore.Position // of the last one whose records were looked at
	disk  int               // the agent is on this disk
	end   block.Sector      // and has sent copies up to here
}

func newAhead(f *follower, at chain.Link, c *journal.Claimed) ahead {
	return ahead{follower: f, next: at.Next(), disks: c.Ticket.Disks}
}

// look reads the headers that have come since the last look. over: the epoch has ended, or every disk that owed a base is
// clean, so nobody waits for hashes.
func (a *ahead) look(ctx context.Context) (over bool, err error) {
	for {
		prefix, err := a.deps.Store.GetRange(ctx, chain.NameOf(a.machine, a.next), 0, segment.MaxHeaderBytes)
		if errors.Is(err, vault.ErrNotFound) {
			break
		}
		if err != nil {
			return false, err
		}
		h, err := segment.ParseHeader(prefix)
		if err != nil || h.Seal || a.clean(h) {
			return true, nil //nolint:nilerr // who follows the stream finds the damage and says it
		}
		if h.Copy {
			a.copy = a.next
		}
		a.next.Seq++
	}
	if a.copy == a.read {
		return false, nil
	}
	a.read = a.copy
	return false, a.records(ctx)
}

func (a *ahead) clean(h segment.Header) bool {
	for _, t := range a.disks {
		if t.Owes && !slices.ContainsFunc(h.Disks, func(d segment.Disk) bool { return d.ID == t.ID && d.Clean }) {
			return false
		}
	}
	return true
}

// records finds the farthest place that the last segment with copies holds.
func (a *ahead) records(ctx context.Context) error {
	body, err := a.deps.Store.Get(ctx, chain.NameOf(a.machine, a.read))
	if err != nil {
		return err
	}
	key, err := a.deps.Journal.DataKey(ctx, a.replica.stream, a.read.Epoch)
	if err != nil {
		return err
	}
	seg, err := segment.Open(body, key)
	if err != nil {
		return journal.Damaged(segment.Header{Machine: a.machine, Generation: a.read.Generation, Epoch: a.read.Epoch, Seq: a.read.Seq}, err)
	}
	for r, err := range seg.Records() {
		if err != nil {
			return journal.Damaged(seg.Header(), err)
		}
		switch {
		case int(r.Disk) > a.disk:
			a.disk, a.end = int(r.Disk), r.Extent.End()
		case int(r.Disk) == a.disk:
			a.end = max(a.end, r.Extent.End())
		}
	}
	return nil
}

// passed reports whether the agent has sent everything of a part.
func (a *ahead) passed(id farshore.DiskID, part uint32) bool {
	i := slices.IndexFunc(a.disks, func(t journal.TicketDisk) bool { return t.ID == id })
	return i < a.disk || i == a.disk && a.end >= block.Sector(part+1)*hashes.PartSectors
}
