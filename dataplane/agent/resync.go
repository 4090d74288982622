package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/hashes"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/fault"
)

const (
	// askAgain is the pause behind an answer that there is nothing yet.
	askAgain = 2 * time.Second
	// defaultPatience is how long hashes are waited for before the next piece of a base is copied in full.
	defaultPatience = 30 * time.Second
)

// errAfresh ends a session in which changes were missed: the next one begins behind a sealed end, of which there can be
// hashes. Those of this one would not do: they know nothing of what it has sent.
var errAfresh = errors.New("changes were missed, so the session begins again")

// resync is what a session knows of the hashes that a sink offers for its epoch. A base that the sink was asked for is
// compared with them; docs/adr/0003 says why that is right.
type resync struct {
	key      journal.OfferKey
	compares bool // nothing is owed: the disks are compared with their replica
	asked    map[farshore.DiskID]bool
	from     map[farshore.DiskID]block.Sector // where comparing begins
	heads    map[uint32]head                  // that are believed, by number
	parts    map[farshore.DiskID]*hashes.Part
	headless *hashes.Sealed // a part whose head is not there yet
	want     *session.Want  // under way
	refused  bool           // something was offered that is not to be believed: no more of it
	used     time.Time      // when a part was of use last, or was first needed; patience begins there
	again    time.Time      // nothing is asked for before that
}

// head is an offer that is believed.
type head struct {
	offer   journal.HashOffer
	vault   segment.VaultID
	hashers map[farshore.DiskID]*hashes.Hasher
	secret  hashes.Secret
}

// names reports whether the offer has, or will have, hashes for a part.
func (h head) names(id farshore.DiskID, part uint32) bool {
	for _, d := range h.offer.Disks {
		if d.ID == id {
			return part >= d.From && part < hashes.PartsOf(d.Sectors)
		}
	}
	return false
}

func (h head) hasher(id farshore.DiskID) *hashes.Hasher {
	if h.hashers[id] == nil {
		h.hashers[id] = h.secret.Hasher(id)
	}
	return h.hashers[id]
}

// ask prepares to ask for hashes of what the disks owe. It gives nil if nobody can have any: what is owed of a generation
// that has never been full is copied as it is.
func (p *protection) ask(fresh bool) (*resync, error) {
	r := &resync{asked: map[farshore.DiskID]bool{}, heads: map[uint32]head{}, parts: map[farshore.DiskID]*hashes.Part{}}
	for _, s := range p.sources {
		if !fresh && !s.run.Fresh && !s.base.empty() {
			r.asked[s.id] = true
		}
	}
	if len(r.asked) == 0 && !fresh {
		p.askToCompare(r)
	}
	if len(r.asked) == 0 {
		return nil, nil
	}
	var err error
	r.key, err = journal.NewOfferKey()
	return r, err
}

// request says in the ticket what is asked for.
func (r *resync) request(t *journal.Ticket, sources []*source) {
	if r == nil {
		return
	}
	t.Hashes, t.Compares = r.key.Public(), r.compares
	for i, s := range sources {
		if r.compares && r.asked[s.id] {
			t.Disks[i].Owes, t.Disks[i].From = true, r.from[s.id]
		}
		if run, ok := s.base.next(0); ok && r.asked[s.id] {
			t.Disks[i].Owes, t.Disks[i].From = true, run.Start
		}
	}
}

// withdraw takes back what the ticket asks for. What is owed is copied in full.
func (r *resync) withdraw(t *journal.Ticket) {
	t.Hashes, t.Compares, r.compares = nil, false, false
	for i := range t.Disks {
		t.Disks[i].Owes, t.Disks[i].From = false, 0
	}
	clear(r.asked)
}

// copyRun sends a piece of a base, or of it what differs from what the sink has. It gives how much was read; nothing was
// when it waits for hashes.
func (s *sending) copyRun(ctx context.Context, from *source, run block.Extent) (read int64, err error) {
	part, wait, err := s.offered(ctx, from, run)
	if err != nil || wait {
		return 0, err
	}
	if part != nil {
		err = s.putDiffering(ctx, from, run, part)
	} else {
		err = s.putWhole(ctx, from, run)
	}
	if err != nil {
		return 0, err
	}
	from.at = run.End()
	if !from.run.Fresh {
		s.agent.note(func(o *Observed) { o.Resync.Read += run.Count.Bytes() })
	}
	return run.Count.Bytes(), nil
}

// putWhole sends all of a piece. Zeros of a fresh disk are left out: the replica begins with them.
func (s *sending) putWhole(ctx context.Context, from *source, run block.Extent) error {
	message, err := s.put(ctx, from, run, !from.run.Fresh)
	if err == nil {
		from.sending(sentBase{message: message, extent: run})
	}
	return err
}

// putDiffering reads the chunks of a piece and sends what differs. What is equal leaves the base at once: it was compared
// with what is durable, and what was sent of it since is pending.
func (s *sending) putDiffering(ctx context.Context, from *source, run block.Extent, part *hashes.Part) error {
	room := s.batch.room()
	if room == nil {
		if err := s.flush(ctx); err != nil {
			return err
		}
		room = s.batch.room()
	}
	start := run.Start - run.Start%hashes.ChunkSectors
	all := block.Extent{Start: start, Count: min(roundUp(block.Count(run.End()-start), hashes.ChunkSectors), from.run.Sectors-block.Count(start))}
	read, err := from.read(all, room)
	if err != nil {
		return err
	}
	hasher, equal, kept := s.resync.heads[part.Offer].hasher(from.id), int64(0), false
	for at := all.Start; at < all.End(); at += hashes.ChunkSectors {
		chunk := block.Extent{Start: at, Count: min(hashes.ChunkSectors, block.Count(all.End()-at))}
		content, owed := read[(at-all.Start).Offset():(chunk.End()-all.Start).Offset()], chunk.Intersect(run)
		if sameChunk(part, hasher, chunk, content) || from.sameOwed(part, hasher, chunk, content) {
			from.base.remove(chunk)
			equal += owed.Count.Bytes()
			continue
		}
		before := len(s.batch.records)
		s.batch.records = split(s.batch.records, from.index, owed, content[(owed.Start-at).Offset():(owed.End()-at).Offset()], true)
		for _, r := range s.batch.records[before:] {
			kept = kept || r.Kind == block.Data
		}
		from.sending(sentBase{message: s.last + 1, extent: owed})
	}
	if kept {
		s.batch.used += (len(read) + grain - 1) &^ (grain - 1)
	}
	s.agent.note(func(o *Observed) {
		o.Read += int64(len(read))
		o.Resync.Compared += run.Count.Bytes()
		o.Resync.Equal += equal
	})
	return nil
}

func roundUp(n, to block.Count) block.Count { return (n + to - 1) / to * to }

// sameChunk compares a chunk with the part. One that has another length there, because the disk was resized, differs.
func sameChunk(part *hashes.Part, hasher *hashes.Hasher, chunk block.Extent, content []byte) bool {
	number := uint64(chunk.Start) / hashes.ChunkSectors
	i := int(number - uint64(part.Number)*hashes.PartChunks)
	return i < len(part.Chunks) && part.Extent(i) == chunk && part.Chunks[i] == hasher.Chunk(number, content)
}

// sameOwed compares what is owed of a chunk, with zeros for the rest: the stream has those where it was told that nothing
// uses them. If they fit, what is owed is the same, whatever the rest is.
func (s *source) sameOwed(part *hashes.Part, hasher *hashes.Hasher, chunk block.Extent, content []byte) bool {
	rest := block.SetOf(chunk)
	for at := chunk.Start; ; {
		run, ok := s.base.span(at)
		if !ok || run.Start >= chunk.End() {
			break
		}
		rest.Remove(run)
		at = run.End()
	}
	if rest.Empty() {
		return false
	}
	other := slices.Clone(content)
	for e := range rest.All() {
		clear(other[(e.Start - chunk.Start).Offset():(e.End() - chunk.Start).Offset()])
	}
	return sameChunk(part, hasher, chunk, other)
}

// offered gives the part that a piece of a base shall be compared with. None, and wait, if it may still come; none if the
// piece shall be copied as it is.
func (s *sending) offered(ctx context.Context, from *source, run block.Extent) (part *hashes.Part, wait bool, err error) {
	r := s.resync
	if r == nil || !r.asked[from.id] || r.refused {
		return nil, false, nil
	}
	part, none, err := s.part(ctx, from.id, uint32(run.Start/hashes.PartSectors))
	if err != nil || none {
		return nil, false, err
	}
	if part != nil {
		s.agent.blame(atResync, nil)
		return part, false, nil
	}
	if s.agent.deps.Now().Sub(r.used) < s.agent.patience() {
		return nil, true, nil
	}
	f := &fault.Fault{
		Code: "FS-1026", Kind: fault.Transient, Subject: "disk " + string(from.id),
		What:   fmt.Sprintf("no hashes of its replica have come for %s, so it is copied in full", s.agent.patience()),
		Remedy: "nothing: it only takes longer; hashes are taken when they come. See that the applier runs: farshore node list",
	}
	if s.agent.blame(atResync, f) {
		s.agent.deps.Log.Warn("a resync gets no hashes", "disk", from.id, "err", f)
	}
	return nil, false, nil
}

// part gives a part of the offer, and asks for it when it has not come yet. none says that it never will.
func (s *sending) part(ctx context.Context, id farshore.DiskID, number uint32) (part *hashes.Part, none bool, err error) {
	s.takeOffers()
	r, now := s.resync, s.agent.deps.Now()
	if r.used.IsZero() {
		r.used = now
	}
	if p := r.parts[id]; p != nil && p.Number == number {
		r.used = now
		return p, false, nil
	}
	first, ok := r.heads[1]
	if r.refused || ok && !first.names(id, number) {
		return nil, true, nil
	}
	w := session.Want{Disk: id, Number: number}
	switch {
	case !ok:
		w = session.Want{Number: 1}
	case r.headless != nil:
		w = session.Want{Number: r.headless.Offer}
	}
	if r.want == nil && !now.Before(r.again) {
		r.want = &w
		return nil, false, s.link.Want(ctx, w)
	}
	return nil, false, nil
}

func (a *Agent) patience() time.Duration {
	if a.deps.Patience > 0 {
		return a.deps.Patience
	}
	return defaultPatience
}

// waiting is how long nothing can change for a base that waits for hashes, unless an answer comes.
func (s *sending) waiting() time.Duration {
	r := s.resync
	until := r.used.Add(s.agent.patience())
	if r.want == nil && r.again.Before(until) {
		until = r.again
	}
	return max(until.Sub(s.agent.deps.Now()), time.Millisecond)
}

// takeOffers looks at the answers that have come.
func (s *sending) takeOffers() {
	s.mu.Lock()
	offers := s.offers
	s.offers = nil
	s.mu.Unlock()
	r := s.resync
	for _, o := range offers {
		r.want = nil
		if len(o.Object) == 0 {
			r.again = s.agent.deps.Now().Add(askAgain)
			continue
		}
		if err := s.believe(o); err != nil {
			s.disbelieve(err)
			return
		}
	}
}

// disbelieve ends the comparing for this session: who offers what is not to be believed once shall not be asked again.
func (s *sending) disbelieve(err error) {
	s.resync.refused = true
	f := &fault.Fault{
		Code: "FS-1025", Kind: fault.Corrupt, Subject: "machine " + string(s.agent.deps.Machine),
		What:   "hashes that were offered for its resync are not to be believed, so it copies in full",
		Remedy: "nothing for the data: find out who writes to the vault besides Farshore, and look at the applier's log", Err: err,
	}
	if s.agent.blame(atResync, f) {
		s.agent.deps.Log.Error("hashes for the resync are refused", "err", f)
	}
}

// believe takes a head or a part, or says why not.
func (s *sending) believe(o session.Offer) error {
	r := s.resync
	if o.Disk == "" {
		return s.believeHead(o)
	}
	sealed, err := hashes.Parse(o.Object)
	if err == nil && (sealed.Disk != o.Disk || sealed.Number != o.Number) {
		err = fmt.Errorf("part %d of disk %s came instead of part %d of disk %s", sealed.Number, sealed.Disk, o.Number, o.Disk)
	}
	if err != nil {
		return err
	}
	if _, ok := r.heads[sealed.Offer]; !ok {
		r.headless = sealed // made by an applier that was started later
		return nil
	}
	return s.believePart(sealed)
}

func (s *sending) believeHead(o session.Offer) error {
	r := s.resync
	roots, err := s.agent.deps.Node.Roots()
	if err != nil {
		return err
	}
	want := journal.HashOffer{Machine: s.agent.deps.Machine, Generation: s.opened.Generation, Epoch: s.opened.Epoch, Number: o.Number}
	h := head{hashers: map[farshore.DiskID]*hashes.Hasher{}}
	if h.offer, h.secret, err = journal.ReadOffer(roots, r.key, want, o.Object); err != nil {
		return err
	}
	if h.vault, err = h.offer.VaultID(); err != nil {
		return err
	}
	r.heads[o.Number] = h
	if p := r.headless; p != nil && p.Offer == o.Number {
		r.headless = nil
		return s.believePart(p)
	}
	return nil
}

// believePart takes a part that its head makes believable.
func (s *sending) believePart(sealed *hashes.Sealed) error {
	h := s.resync.heads[sealed.Offer]
	p, err := sealed.Open(h.secret)
	if err != nil {
		return err
	}
	if p.Vault != h.vault || p.Machine != h.offer.Machine || p.Generation != h.offer.Generation || p.Epoch != h.offer.Epoch {
		return fmt.Errorf("a part for epoch %d of generation %d of machine %s came, the head is for epoch %d", p.Epoch, p.Generation, p.Machine, h.offer.Epoch)
	}
	for _, d := range h.offer.Disks {
		if d.ID == p.Disk && d.Sectors == p.Sectors {
			s.resync.parts[p.Disk] = p
			return nil
		}
	}
	return fmt.Errorf("a part of disk %s of %d sectors came, which the offer does not name", p.Disk, p.Sectors)
}

// Resync is what the agent reports of a resync: the last one, or the one under way.
type Resync struct {
	Why      string // "" if there was none
	Owed     int64  // bytes, when it began
	Read     int64  // bytes of what was owed that were read
	Compared int64  // of these, with hashes that were offered
	Equal    int64  // of these, what the sink had already
	Sent     int64  // bytes, of whatever was sent meanwhile
	Done     bool   // everything is durable behind a recovery point
}

// owes begins the report of a resync, or adds a reason to the one under way.
func (a *Agent) owes(why string) {
	a.note(func(o *Observed) {
		if o.Resync.Done || o.Resync.Why == "" {
			o.Resync = Resync{Why: why}
		} else if o.Resync.Why != why {
			o.Resync.Why = why
		}
	})
}

// beginResync says how much is owed, or that this is no resync: a generation that begins is copied from nothing.
func (s *sending) beginResync() {
	owed := int64(0)
	if s.opened.NewGeneration {
		s.resync = nil
	}
	for _, from := range s.sources {
		if !from.run.Fresh {
			owed += from.base.bytes(0)
		}
	}
	s.agent.note(func(o *Observed) {
		switch {
		case s.opened.NewGeneration:
			o.Resync = Resync{}
		case owed > 0 && (o.Resync.Why == "" || o.Resync.Done):
			o.Resync = Resync{Why: "an earlier copy was not finished", Owed: owed}
		case owed > 0 && o.Resync.Owed == 0:
			o.Resync.Owed = owed
		}
	})
}

// sent counts what is sent while a resync is under way.
func (r *Resync) sent(bytes int64) {
	if r.Owed > 0 && !r.Done {
		r.Sent += bytes
	}
}

// endResync tells what it cost, once, when nothing is owed any more.
func (s *sending) endResync() {
	for _, from := range s.sources {
		if !from.base.empty() {
			return
		}
	}
	var r Resync
	s.agent.note(func(o *Observed) {
		if o.Resync.Why != "" && !o.Resync.Done {
			o.Resync.Done = true
			r = o.Resync
		}
	})
	s.agent.blame(atResync, nil)
	if r.Owed > 0 {
		s.agent.deps.Log.Info("resync done", "why", r.Why, "owed_bytes", r.Owed, "read_bytes", r.Read, "compared_bytes", r.Compared,
			"equal_bytes", r.Equal, "sent_bytes", r.Sent)
	}
}
