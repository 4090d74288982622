package journal

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Reader reads the streams of a vault. Without Keys it can list and check, but not read records.
type Reader struct {
	Store  vault.Store
	Vault  segment.VaultID
	Roots  *credential.Roots
	Keys   KeyOpener
	Report func(BadClaim) // told of each claim that is not believed; may be nil
	Damage func(error)    // told of the faults that Points leaves points out for; may be nil
}

// readers of headers at once, when points are listed.
const headerLanes = 16

func (r Reader) claims() claimReader {
	return claimReader{store: r.Store, vault: r.Vault, roots: r.Roots, report: r.Report}
}

// Machines lists the machines that have a stream or a spec, in ascending order.
func (r Reader) Machines(ctx context.Context) ([]farshore.MachineID, error) {
	entries, err := list(ctx, r.Store, chain.PointsRoot) // claims and specs only: few for each machine
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	var found []farshore.MachineID
	for _, e := range entries {
		if m, ok := chain.MachineOf(e.Name); ok && (len(found) == 0 || found[len(found)-1] != m) {
			found = append(found, m)
		}
	}
	return found, nil
}

// Generations lists the generations of a machine's stream, in ascending order. A machine without any is a fault FS-3512.
func (r Reader) Generations(ctx context.Context, m farshore.MachineID) ([]farshore.Generation, error) {
	s, err := r.claims().survey(ctx, m)
	if err != nil {
		return nil, err
	}
	if len(s.generations) == 0 {
		return nil, noMachine(m)
	}
	return s.generations, nil
}

// Fenced gives the claim that fences the machine for a failover, if its newest one is that.
func (r Reader) Fenced(ctx context.Context, m farshore.MachineID) (Claimed, bool, error) {
	s, err := r.claims().survey(ctx, m)
	if err != nil || s.last == nil || s.last.Role != Failover || s.last.Generation != s.newest() {
		return Claimed{}, false, err
	}
	return *s.last, true, nil
}

// Start is the cursor in front of a generation.
func (r Reader) Start(m farshore.MachineID, g farshore.Generation) chain.Link {
	return chain.Start(chain.Stream{Vault: r.Vault, Machine: m, Generation: g})
}

// Follow gives the segments behind a cursor, which lies at or behind the horizon of the generation's newest cut, decrypted and checked, seals among them, up to the end there is now. The
// cursor for the next call is chain.LinkOf of the last segment's header and hash. After an error nothing more is given:
// FS-3510 damaged, FS-3505 does not follow, FS-3513 and FS-3008 no key opens it.
func (r Reader) Follow(ctx context.Context, from chain.Link) iter.Seq2[*segment.Segment, error] {
	return func(yield func(*segment.Segment, error) bool) {
		walk := chain.NewWalk(from)
		keys := epochKeys{reader: r, stream: from.Stream}
		for {
			seg, err := r.next(ctx, walk, &keys)
			if err != nil {
				yield(nil, err)
				return
			}
			if seg == nil || !yield(seg, nil) {
				return
			}
		}
	}
}

// next gives the segment at the cursor and moves it, or nothing at the end.
func (r Reader) next(ctx context.Context, walk *chain.Walk, keys *epochKeys) (*segment.Segment, error) {
	p := walk.Next()
	stream := walk.At().Stream
	name := chain.NameOf(stream.Machine, p)
	body, found, err := get(ctx, r.Store, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !found {
		return nil, nil
	}
	seg, err := segment.Parse(body)
	if err != nil {
		return nil, damaged(name, err)
	}
	if err := walk.Take(seg.Header(), seg.Hash()); err != nil {
		return nil, brokenStream(stream, err)
	}
	if seg.Header().Seal {
		return seg, nil
	}
	key, err := keys.of(ctx, p.Epoch)
	if err != nil {
		return nil, err
	}
	if err := seg.Unlock(key); err != nil {
		return nil, damaged(name, err)
	}
	return seg, nil
}

// writer gives the believed claim under which an epoch's segments were written; without one they are nobody's of ours:
// FS-3514.
func (r Reader) writer(ctx context.Context, m farshore.MachineID, g farshore.Generation, e farshore.Epoch) (*Claimed, error) {
	c, err := r.claims().read(ctx, m, g, e)
	if err != nil {
		return nil, err
	}
	if c == nil || c.Role != Replication {
		return nil, &fault.Fault{
			Code: "FS-3514", Kind: fault.Corrupt, Subject: chain.ClaimName(m, g, e), What: "segments of its epoch exist, but it is no claim that may have any",
			Remedy: "find out who writes to the vault besides Farshore; points in front are good",
		}
	}
	return c, nil
}

// DataKey opens the data key of an epoch, if its claim is believed.
func (r Reader) DataKey(ctx context.Context, stream chain.Stream, e farshore.Epoch) (segment.DataKey, error) {
	keys := epochKeys{reader: r, stream: stream}
	return keys.of(ctx, e)
}

// epochKeys opens the data key of an epoch once.
type epochKeys struct {
	reader Reader
	stream chain.Stream
	epoch  farshore.Epoch
	key    segment.DataKey
}

func (k *epochKeys) of(ctx context.Context, e farshore.Epoch) (segment.DataKey, error) {
	if k.epoch == e {
		return k.key, nil
	}
	name := chain.ClaimName(k.stream.Machine, k.stream.Generation, e)
	c, err := k.reader.writer(ctx, k.stream.Machine, k.stream.Generation, e)
	if err != nil {
		return segment.DataKey{}, err
	}
	if k.reader.Keys == nil {
		return segment.DataKey{}, &fault.Fault{
			Code: "FS-3513", Kind: fault.Operator, Subject: name, What: "no private key was given to open its data key with",
			Remedy: "give the vault key or the recovery key of this vault",
		}
	}
	key, err := k.reader.openDataKey(ctx, c)
	if err != nil {
		return segment.DataKey{}, fmt.Errorf("open the data key of %s: %w", name, err)
	}
	k.epoch, k.key = e, key
	return key, nil
}

// Points lists the recovery points of a machine, all generations, in stream order: those that retention has left. Only
// claims, cuts, manifests and headers are read, the latter in several lanes; what stands in the frames is checked by whoever
// reads it. A generation that is damaged, or has segments under no believed claim, gives its points in front of that, which
// is told to Damage: on the day when points are needed, those that are good must be offered, and nobody can read on behind.
func (r Reader) Points(ctx context.Context, m farshore.MachineID) ([]farshore.RecoveryPoint, error) {
	h, err := r.History(ctx, m)
	if err != nil {
		return nil, err
	}
	var points []farshore.RecoveryPoint
	for _, p := range h.Points {
		points = append(points, p.RecoveryPoint)
	}
	return points, nil
}

// tell tells Damage of a fault that only leaves points out and gives any other error back.
func (r Reader) tell(err error) error {
	if f, ok := fault.As(err); !ok || f.Kind != fault.Corrupt {
		return err
	}
	if r.Damage != nil {
		r.Damage(err)
	}
	return nil
}

// claimed gives the headers in front of the first epoch with segments that nobody of ours wrote, and says which that is.
func (r Reader) claimed(ctx context.Context, headers []segment.Header) ([]segment.Header, error) {
	var believed farshore.Epoch
	for i, h := range headers {
		if h.Seal || h.Epoch == believed {
			continue
		}
		if _, err := r.writer(ctx, h.Machine, h.Generation, h.Epoch); err != nil {
			return headers[:i], err
		}
		believed = h.Epoch
	}
	return headers, nil
}

// PointOf gives the recovery point at the end of a segment, if there is one.
func PointOf(h segment.Header) (farshore.RecoveryPoint, bool) {
	if h.Seal || !h.Clean() {
		return farshore.RecoveryPoint{}, false
	}
	p := farshore.RecoveryPoint{
		Machine: h.Machine, Position: h.Position(), LSN: h.LastLSN, Time: h.UTC, Suspect: h.Suspect, Consistency: h.Consistency,
	}
	if p.Consistency == "" {
		p.Consistency = farshore.CrashConsistent
	}
	for _, d := range h.Disks {
		if d.Joining {
			p.Note = "disk " + string(d.ID) + " is not part of it yet"
		}
	}
	if h.Label != "" && p.Note == "" {
		p.Note = h.Label
	}
	return p, true
}

// headers gives the headers of what can be read behind a link, seals among them, in order, up to a position or, if that is
// zero, to the end. The order, the LSNs and the hashes that segments name of each other are checked; that a segment has the
// hash which the next one names is not. With an error, the headers in front of it are given. What an index holds is not read
// again; that it is there, the names say.
func (r Reader) headers(ctx context.Context, entries []vault.Entry, at chain.Link, to farshore.Position) ([]segment.Header, error) {
	known, err := r.indexed(ctx, entries, at)
	if err != nil {
		return nil, err
	}
	var headers []segment.Header
	for h, err := range r.stored(ctx, entries, at, to, known) {
		if err != nil {
			return headers, err
		}
		headers = append(headers, h.Header)
	}
	return headers, nil
}

// storedHeader is a header, and its bytes as they are stored, with what stands behind them.
type storedHeader struct {
	segment.Header
	prefix []byte
}

// stored reads what [Reader.headers] gives: from an index, or else from the segments.
func (r Reader) stored(ctx context.Context, entries []vault.Entry, at chain.Link, to farshore.Position, known index) iter.Seq2[storedHeader, error] {
	return func(yield func(storedHeader, error) bool) {
		m, begun := at.Stream.Machine, false
		for to.IsZero() || at.Position.Compare(to) < 0 {
			run := nextRun(entries, m, at.Next())
			if len(run) == 0 {
				return
			}
			prefixes, err := r.fetchHeaders(ctx, run, known)
			if err != nil {
				yield(storedHeader{}, err)
				return
			}
			for i, prefix := range prefixes {
				h, err := segment.ParseHeader(prefix)
				if err != nil {
					yield(storedHeader{}, damaged(run[i].Name, err))
					return
				}
				if begun {
					at.Hash = h.Previous // headers do not carry their own hash
				}
				if err := at.Accept(h); err != nil {
					yield(storedHeader{}, brokenStream(at.Stream, err))
					return
				}
				if begun = true; !yield(storedHeader{h, prefix}, nil) {
					return
				}
				if at = chain.LinkOf(h, segment.Hash{}); at.Seal || at.Position == to {
					break
				}
			}
		}
	}
}

// Behind gives the headers of all that can be read of a generation behind the horizon of its newest cut, and the horizon:
// the generation's start if there is no cut. See headers.
func (r Reader) Behind(ctx context.Context, m farshore.MachineID, g farshore.Generation) (chain.Link, []segment.Header, error) {
	entries, err := list(ctx, r.Store, chain.JournalPrefix(m, g))
	if err != nil {
		return chain.Link{}, nil, fmt.Errorf("list the segments of machine %s: %w", m, err)
	}
	horizon, err := r.claims().horizon(ctx, r.Start(m, g).Stream)
	if err != nil {
		return chain.Link{}, nil, err
	}
	headers, err := r.headers(ctx, entries, horizon, farshore.Position{})
	return horizon, headers, err
}

// nextRun gives the entries of an epoch that stand without a gap from a position on, a few at a time. A seal among them
// may still end it early.
func nextRun(entries []vault.Entry, m farshore.MachineID, p farshore.Position) []vault.Entry {
	first := chain.NameOf(m, p)
	i, found := slices.BinarySearchFunc(entries, first, func(e vault.Entry, name string) int { return strings.Compare(e.Name, name) })
	if !found {
		return nil
	}
	n := 1
	for i+n < len(entries) && n < headerLanes*4 && entries[i+n].Name == chain.SegmentName(m, p.Generation, p.Epoch, p.Seq+farshore.Seq(n)) {
		n++
	}
	return entries[i : i+n]
}

// fetchHeaders reads the beginnings of objects, in several lanes, as far as they are not known.
func (r Reader) fetchHeaders(ctx context.Context, entries []vault.Entry, known index) ([][]byte, error) {
	prefixes := make([][]byte, len(entries))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(headerLanes)
	for i, e := range entries {
		if prefixes[i] = known[e.Name]; prefixes[i] != nil {
			continue
		}
		g.Go(func() error {
			var err error
			prefixes[i], err = retry(ctx, func() ([]byte, error) { return r.Store.GetRange(ctx, e.Name, 0, segment.MaxHeaderBytes) })
			if err != nil {
				return fmt.Errorf("read the header of %s: %w", e.Name, err)
			}
			return nil
		})
	}
	return prefixes, g.Wait()
}

// Tail finds the end of the newest generation's readable part without walking all of it. FS-3514: it lies in an epoch
// without a believed claim.
func (r Reader) Tail(ctx context.Context, m farshore.MachineID) (chain.Link, error) {
	s, err := r.claims().survey(ctx, m)
	if err != nil {
		return chain.Link{}, err
	}
	g := s.newest()
	if g == 0 {
		return chain.Link{}, noMachine(m)
	}
	stream := chain.Stream{Vault: r.Vault, Machine: m, Generation: g}
	horizon, err := r.claims().horizon(ctx, stream)
	if err != nil {
		return chain.Link{}, err
	}
	from, err := startNear(ctx, r.Store, horizon, s.epochs[g]+1)
	if err != nil {
		return chain.Link{}, err
	}
	walk := chain.NewWalk(from)
	for {
		name := chain.NameOf(m, walk.Next())
		body, found, err := get(ctx, r.Store, name)
		if err != nil {
			return chain.Link{}, fmt.Errorf("read %s: %w", name, err)
		}
		if !found {
			return r.believed(ctx, walk.At())
		}
		seg, err := segment.Parse(body)
		if err != nil {
			return chain.Link{}, damaged(name, err)
		}
		if err := walk.Take(seg.Header(), seg.Hash()); err != nil {
			return chain.Link{}, brokenStream(stream, err)
		}
	}
}

// believed gives a link back if its segment is one of ours: a seal, or under a believed claim.
func (r Reader) believed(ctx context.Context, l chain.Link) (chain.Link, error) {
	if l.Seal { // whoever set it, it says nothing but that the epoch ends; Start is one too
		return l, nil
	}
	if _, err := r.writer(ctx, l.Stream.Machine, l.Stream.Generation, l.Position.Epoch); err != nil {
		return chain.Link{}, err
	}
	return l, nil
}
