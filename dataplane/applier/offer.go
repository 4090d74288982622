package applier

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/hashes"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

const (
	// maxOffers bounds how often an offer to one epoch is begun: each time an applier is started again.
	maxOffers = 1000
	// offerTries is how often an offer that goes wrong is taken up again before the replica goes on without it.
	offerTries = 3
	// hashLanes is how many pieces of a disk are read and hashed at once.
	hashLanes = 4
)

// asks reports whether the epoch behind a seal is the newest and asks for hashes: then a window ends at the seal, so that
// the replica stands exactly there.
func (f *follower) asks(ctx context.Context, at chain.Link) (bool, error) {
	c, err := f.asking(ctx, at)
	if c == nil || err != nil {
		return false, err
	}
	next := chain.ClaimName(f.machine, at.Stream.Generation, at.Position.Epoch+2)
	_, err = f.deps.Store.GetRange(ctx, next, 0, 1)
	if errors.Is(err, vault.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// asking gives the claim of the epoch behind a seal, if it asks for hashes that were not offered yet.
func (f *follower) asking(ctx context.Context, at chain.Link) (*journal.Claimed, error) {
	epoch := at.Position.Epoch + 1
	if f.deps.Signer == nil || !at.Seal || at.Position.Epoch == 0 || f.answered == epoch {
		return nil, nil
	}
	c, err := f.deps.Journal.Claim(ctx, f.machine, at.Stream.Generation, epoch)
	if c == nil || err != nil {
		return nil, err
	}
	if c.Role != journal.Replication || len(c.Ticket.Hashes) == 0 {
		f.answered = epoch
		return nil, nil
	}
	return c, nil
}

// offer offers hashes if the replica stands at a seal behind which somebody asks for them. A replica that holds pages of
// what comes behind cannot. Meanwhile the replica stands still; what goes wrong does not keep it so.
func (f *follower) offer(ctx context.Context) error {
	at := f.replica.start()
	c, err := f.asking(ctx, at)
	if c == nil || err != nil || !f.replica.settled(at.Position) {
		return err
	}
	err = f.offerTo(ctx, at, c)
	if err == nil || ctx.Err() != nil || errors.Is(err, vault.ErrFenced) {
		return err
	}
	if f.failed++; f.failed >= offerTries {
		f.answered, f.failed = c.Epoch, 0
	}
	f.deps.Log.Warn("a resync gets no hashes", "machine", f.machine, "epoch", c.Epoch, "err", &fault.Fault{
		Code: "FS-4008", Kind: fault.Transient, Subject: "machine " + string(f.machine), What: "hashes for its resync could not be offered",
		Remedy: "nothing if it passes; the agent copies in full what it gets no hashes of", Err: err,
	})
	return nil
}

// offering is one offer being made.
type offering struct {
	*follower
	head   journal.HashOffer
	secret hashes.Secret
	tables map[string]bool // parts that are there already, from an offer before
	ahead  ahead
	parts  int
	bytes  int64
}

func (f *follower) offerTo(ctx context.Context, at chain.Link, c *journal.Claimed) error {
	f.offered = true
	o := offering{follower: f, tables: map[string]bool{}, ahead: newAhead(f, at, c)}
	if err := o.begin(ctx, at, c); err != nil {
		return err
	}
	for _, d := range o.head.Disks {
		for part := d.From; part < hashes.PartsOf(d.Sectors); part++ {
			over, err := o.ahead.look(ctx)
			if over || err != nil {
				f.answered = c.Epoch
				return err
			}
			if err := o.part(ctx, d, part); err != nil {
				return err
			}
		}
	}
	f.answered, f.failed = c.Epoch, 0
	f.deps.Log.Info("hashes offered", "machine", f.machine, "position", o.head.At, "offer", o.head.Number, "disks", len(o.head.Disks),
		"parts", o.parts, "bytes", o.bytes)
	return nil
}

// begin drops what was offered to epochs that are over, looks what is there already, and stores the head.
func (o *offering) begin(ctx context.Context, at chain.Link, c *journal.Claimed) (err error) {
	if err := o.dropOffers(ctx, c.Epoch); err != nil {
		return err
	}
	for e, err := range o.deps.Store.List(ctx, hashes.Prefix(c.Machine, c.Generation, c.Epoch), "") {
		if err != nil {
			return err
		}
		o.tables[e.Name] = true
	}
	o.head = journal.HashOffer{
		Vault: at.Stream.Vault.String(), Machine: c.Machine, Generation: c.Generation, Epoch: c.Epoch, At: at.Position.String(), Disks: []journal.OfferedDisk{},
		Time: o.deps.now().UTC(),
	}
	there, err := o.replica.disksAt(ctx, at.Position)
	if err != nil {
		return err
	}
	for _, t := range c.Ticket.Disks {
		d := o.replica.disks[t.ID]
		named := slices.ContainsFunc(there, func(s segment.Disk) bool { return d != nil && s.ID == t.ID && s.Sectors == d.Sectors() })
		if t.Owes && named {
			o.head.Disks = append(o.head.Disks, journal.OfferedDisk{ID: t.ID, Sectors: d.Sectors(), From: uint32(t.From / hashes.PartSectors)})
		}
	}
	if o.secret, err = journal.NewSecret(rand.Reader); err != nil {
		return err
	}
	for o.head.Number = 1; o.head.Number <= maxOffers; o.head.Number++ {
		body, err := journal.SignOffer(o.deps.Signer, o.head, o.secret, c.Ticket.Hashes)
		if err != nil {
			return err
		}
		name := hashes.HeadName(c.Machine, c.Generation, c.Epoch, o.head.Number)
		outcome, err := o.deps.Store.PutIfAbsent(ctx, name, body)
		if err != nil || outcome == vault.Created {
			return err
		}
	}
	return fmt.Errorf("%d offers to epoch %d were begun", maxOffers, c.Epoch)
}

// part offers one part of a disk, unless it is there, or the agent is past it.
func (o *offering) part(ctx context.Context, of journal.OfferedDisk, number uint32) error {
	name := hashes.PartName(o.head.Machine, o.head.Generation, o.head.Epoch, of.ID, number)
	if o.tables[name] || o.ahead.passed(of.ID, number) {
		return nil
	}
	id, err := vault.ParseID(o.head.Vault)
	if err != nil {
		return err
	}
	p := hashes.Part{
		Vault: id, Machine: o.head.Machine, Generation: o.head.Generation, Epoch: o.head.Epoch, Offer: o.head.Number,
		Disk: of.ID, Number: number, Sectors: of.Sectors, Chunks: make([]hashes.Chunk, hashes.ChunksOf(number, of.Sectors)),
	}
	d := o.replica.disks[of.ID]
	if err := o.hash(ctx, d, &p); err != nil {
		return err
	}
	if err := o.replica.store(ctx, d); err != nil { // nobody has taken the disk and moved it while it was read
		return err
	}
	body, err := p.Seal(o.secret)
	if err != nil {
		return err
	}
	_, err = o.deps.Store.PutIfAbsent(ctx, name, body) // Other: another applier was first, as good as we
	o.parts++
	return err
}

// hash reads the part's chunks, several at once.
func (o *offering) hash(ctx context.Context, d *disk, p *hashes.Part) error {
	const perRead = vault.MaxWriteBytes / hashes.ChunkBytes
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(hashLanes)
	for first := 0; first < len(p.Chunks); first += perRead {
		n := min(perRead, len(p.Chunks)-first)
		all := block.Extent{Start: p.Extent(first).Start}
		all.Count = block.Count(p.Extent(first+n-1).End() - all.Start)
		o.bytes += all.Count.Bytes()
		g.Go(func() error {
			buffer := o.buffers.Get().(*[vault.MaxWriteBytes]byte)
			defer o.buffers.Put(buffer)
			read := buffer[:all.Count.Bytes()]
			if err := d.ReadAt(ctx, read, all.Start); err != nil {
				return err
			}
			h := o.secret.Hasher(p.Disk)
			for i := first; i < first+n; i++ {
				e := p.Extent(i)
				p.Chunks[i] = h.Chunk(uint64(e.Start)/hashes.ChunkSectors, read[(e.Start-all.Start).Offset():(e.End()-all.Start).Offset()])
			}
			return nil
		})
	}
	return g.Wait()
}

// dropOffers removes what was offered to the epochs in front of one. Nobody asks for it any more.
func (f *follower) dropOffers(ctx context.Context, before farshore.Epoch) error {
	stream := f.replica.stream
	var names []string
	for e, err := range f.deps.Store.List(ctx, hashes.Root(stream.Machine, stream.Generation), "") {
		if err != nil {
			return err
		}
		if epoch, ok := hashes.EpochOf(stream.Machine, stream.Generation, e.Name); ok && epoch < before {
			names = append(names, e.Name)
		}
	}
	for _, name := range names {
		if err := f.deps.Store.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// finished drops the offers when every disk is clean behind them: nothing is owed any more. Whoever compares its disks wants
// them until its epoch ends.
func (f *follower) finished(ctx context.Context, w window) error {
	if !f.offered || !checkpointable(w.to) || slices.ContainsFunc(w.disks, func(d segment.Disk) bool { return !d.Clean }) {
		return nil
	}
	epoch := w.to.Position.Epoch
	if f.comparing == epoch {
		return nil
	}
	c, err := f.deps.Journal.Claim(ctx, f.machine, w.to.Stream.Generation, epoch)
	if err != nil {
		return err
	}
	if c != nil && c.Ticket.Compares {
		f.comparing = epoch
		return f.dropOffers(ctx, epoch)
	}
	f.offered = false
	return f.dropOffers(ctx, epoch+1)
}
