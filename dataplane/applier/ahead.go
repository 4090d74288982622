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

// sweepCount is how much of a disk must stand in one segment without a gap to show that the agent copies in full there: 4 MiB.
const sweepCount block.Count = 4 << 20 / block.SectorSize

// ahead looks at what the agent has sent behind the position at which hashes are offered, so that none are made in vain: an
// agent that got none for a while copies each disk in full, from the front to the back. It only ever saves work: the agent
// does not rely on any part being there. A part that is left out by mistake costs more than one that is made in vain, so only
// a long piece counts: what changed meanwhile travels in the same segments and stands anywhere, and what no file system uses
// is stated of the whole disk before anything of it is copied.
type ahead struct {
	*follower
	next  farshore.Position // of the first segment not looked at
	disks []journal.TicketDisk
	copy  farshore.Position       // of the last segment with copies
	read  farshore.Position       // of the last one whose records were looked at
	ends  map[uint16]block.Sector // the agent has copied these disks in full up to here

	compares bool // the agent owes nothing, and wants hashes until the epoch ends
}

func newAhead(f *follower, at chain.Link, c *journal.Claimed) ahead {
	return ahead{follower: f, next: at.Next(), disks: c.Ticket.Disks, compares: c.Ticket.Compares, ends: map[uint16]block.Sector{}}
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
		if h.Copy && !a.compares {
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
	if a.compares {
		return false
	}
	for _, t := range a.disks {
		if t.Owes && !slices.ContainsFunc(h.Disks, func(d segment.Disk) bool { return d.ID == t.ID && d.Clean }) {
			return false
		}
	}
	return true
}

// records finds how far the last segment with copies shows the agent to be.
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
	var of uint16
	var piece block.Extent            // without a gap, of this disk
	long := map[uint16]block.Extent{} // the first long piece of each disk
	for r, err := range seg.Records() {
		switch {
		case err != nil:
			return journal.Damaged(seg.Header(), err)
		case r.Kind == block.Unspecified:
			continue
		case r.Disk == of && r.Extent.Start == piece.End():
			piece.Count += r.Extent.Count
		default:
			of, piece = r.Disk, r.Extent
		}
		if first, ok := long[of]; piece.Count >= sweepCount && (!ok || first.Start == piece.Start) {
			long[of] = piece
		}
	}
	for disk, piece := range long {
		a.ends[disk] = max(a.ends[disk], piece.End())
	}
	return nil
}

// passed reports whether the agent has sent everything of a part.
func (a *ahead) passed(id farshore.DiskID, part uint32) bool {
	i := slices.IndexFunc(a.disks, func(t journal.TicketDisk) bool { return t.ID == id })
	return i >= 0 && a.ends[uint16(i)] >= block.Sector(part+1)*hashes.PartSectors
}
