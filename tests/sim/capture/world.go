package capture

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
)

// The size of a world.
const (
	blocks  = 24 // of the machine, one sector each
	volumes = 2  // disks that they lie on, in one order
	perDisk = blocks / volumes
	writes  = 250 // of the machine
	servers = 3
	calm    = 3500  // when the faults stop, in milliseconds
	end     = 12000 // when everything must have caught up
)

const machine = farshore.MachineID("web-01")

var stream = chain.Stream{Vault: segment.VaultID{5}, Machine: machine, Generation: 1}

// image is the content of the disk: the number of the last write to each block.
type image [blocks]uint32

// world is one run.
type world struct {
	rnd    *rand.Rand
	bug    bug
	now    int64 // milliseconds
	count  uint64
	events events

	store   *store
	servers []*server
	bodies  []*agent // of the machine
	agent   *agent   // the one whose turn it is
	moving  bool
	turns   []turn
	applier *applier
	indexer *indexer

	states []image // what the disk held that was written to, by the number of the write

	acked   map[segment.Hash]farshore.Position
	failure string
	figures figures
}

// figures says what happened in a world.
type figures struct {
	faults, points, acks, claims, fenced, holes, copies, lost, snapshots, collected, indexed, moves, refused int
}

func (f *figures) add(o figures) {
	f.faults += o.faults
	f.points += o.points
	f.acks += o.acks
	f.claims += o.claims
	f.fenced += o.fenced
	f.holes += o.holes
	f.copies += o.copies
	f.lost += o.lost
	f.snapshots += o.snapshots
	f.collected += o.collected
	f.indexed += o.indexed
	f.moves += o.moves
	f.refused += o.refused
}

type event struct {
	at int64
	n  uint64
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

func (w *world) after(milliseconds int64, do func()) {
	w.count++
	heap.Push(&w.events, event{w.now + milliseconds, w.count, do})
}

// chance decides whether a fault happens. None does when the world is calm.
func (w *world) chance(perMille int) bool {
	if w.now >= calm || w.rnd.IntN(1000) >= perMille {
		return false
	}
	w.figures.faults++
	return true
}

// delay is how long a message takes: now and then very long.
func (w *world) delay() int64 {
	if w.now < calm && w.rnd.IntN(50) == 0 {
		return 50 + w.rnd.Int64N(600)
	}
	return 1 + w.rnd.Int64N(15)
}

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("at %d ms: ", w.now) + fmt.Sprintf(format, args...)
	}
}

func (w *world) clock() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(w.now) * time.Millisecond)
}

// run runs one world to its end.
func run(seed uint64, b bug) (w *world) {
	w = &world{rnd: rand.New(rand.NewPCG(seed, 17)), bug: b, acked: map[segment.Hash]farshore.Position{}, states: []image{{}}}
	w.store = &store{world: w, objects: map[farshore.Position]*object{}, seen: map[farshore.Position]*object{}, tombs: map[farshore.Position]int64{}, claims: map[farshore.Epoch]claim{}}
	for i := range servers {
		w.servers = append(w.servers, &server{world: w, name: i, up: true})
	}
	w.agent = newAgent(w)
	w.applier = &applier{world: w, Applied: chain.AppliedAt(chain.Start(stream))}
	w.indexer = newIndexer(w, seed)
	// An invariant of the product's own that panics has caught the bug as well as an oracle has.
	defer func() {
		if p := recover(); p != nil {
			w.fail("panic: %v", p)
		}
	}()
	w.after(1, w.write)
	w.after(2, w.agent.live)
	w.after(40, w.applier.apply)
	w.after(60, w.indexer.pass)
	w.disasters()
	if seed%5 == 0 || slices.Contains(ofBodies, b) {
		for range 1 + w.rnd.IntN(3) {
			w.after(w.rnd.Int64N(calm), w.move)
		}
	}
	for at := int64(500); at < end; at += 1500 {
		w.after(at, w.checkPoints)
	}
	for len(w.events) > 0 && w.now < end && w.failure == "" {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.finish()
	return w
}

// write is one write of the machine.
func (w *world) write() {
	b := w.rnd.IntN(blocks)
	if w.rnd.IntN(3) == 0 {
		b = w.rnd.IntN(3) // some blocks are hot
	}
	w.writer().write(b)
	if len(w.states) <= writes {
		w.after(1+w.rnd.Int64N(16), w.write)
	}
}

// disasters plans what does not happen by chance at each message.
func (w *world) disasters() {
	for range w.rnd.IntN(3) {
		w.after(w.rnd.Int64N(calm), func() { w.agent.crash() })
	}
	for range w.rnd.IntN(9) {
		s := w.servers[w.rnd.IntN(servers)]
		w.after(w.rnd.Int64N(calm), func() { s.crash(w.rnd.IntN(2) == 0) })
	}
	for range w.rnd.IntN(24) {
		w.after(w.rnd.Int64N(calm), func() {
			w.figures.faults++
			w.agent.leave()
		})
	}
	for range w.rnd.IntN(24) {
		w.after(w.rnd.Int64N(calm), func() {
			w.figures.faults++
			w.agent.loseOrder()
		})
	}
	if w.rnd.IntN(2) == 0 {
		for at := int64(300); at < calm; at += 300 {
			w.after(at, w.store.collect)
		}
	}
	w.after(calm, func() {
		for _, s := range w.servers {
			s.restart()
		}
	})
}

// readable walks the stream as every reader must.
func (w *world) readable() []*object {
	walk := chain.NewWalk(chain.Start(stream))
	var found []*object
	for {
		o := w.store.seen[w.reads(walk)]
		if o == nil {
			return found
		}
		if err := walk.Take(o.header, o.hash); err != nil {
			if w.bug != readerIgnoresTheChain {
				w.fail("the stream is broken: %v", err)
				return found
			}
			walk = chain.NewWalk(chain.LinkOf(o.header, o.hash))
		}
		found = append(found, o)
	}
}

// reads is the position that a reader looks at next.
func (w *world) reads(walk *chain.Walk) farshore.Position {
	p := walk.Next()
	if w.bug != readerIgnoresTheChain || w.store.seen[p] != nil {
		return p
	}
	for skip := farshore.Seq(1); skip < 6; skip++ { // planted: over the hole
		q := p
		q.Seq += skip
		if w.store.seen[q] != nil {
			return q
		}
	}
	return p
}

// checkPoints replays the readable stream and compares every point with the prefix that it must be.
func (w *world) checkPoints() {
	var disk image
	newest := uint32(0)
	readable := w.readable()
	w.indexer.check(readable)
	for _, o := range readable {
		o.applyTo(&disk)
		w.judgeBody(o)
		if o.header.Seal || !o.header.Clean() {
			continue
		}
		w.figures.points++
		last := uint32(0)
		for _, n := range disk {
			last = max(last, n)
		}
		if disk != w.states[last] {
			w.fail("point %v is no prefix: its newest write is %d, but block %d differs", o.header.Position(), last, differs(disk, w.states[last]))
			return
		}
		if last < newest {
			w.fail("point %v ends at write %d, one in front of it at %d", o.header.Position(), last, newest)
			return
		}
		newest = last
	}
}

func differs(a, b image) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// finish asks the questions that can only be asked at the end.
func (w *world) finish() {
	if w.failure != "" {
		return
	}
	w.checkPoints()
	w.applier.check()
	objects := w.readable()
	found := map[segment.Hash]bool{}
	for _, o := range objects {
		found[o.hash] = true
	}
	for hash, p := range w.acked {
		if !found[hash] {
			w.fail("%v was acknowledged as durable and is not in the readable stream", p)
			return
		}
	}
	var disk image
	clean := false
	for _, o := range objects {
		o.applyTo(&disk)
		clean = o.header.Clean()
	}
	if len(w.states) <= writes || disk != w.agent.disk || !clean {
		w.fail("stuck: the stream has %d segments, its end is clean: %v, and the disk differs in block %d", len(objects), clean, differs(disk, w.agent.disk))
	}
}

// object is a segment in the vault, or on the way to it.
type object struct {
	header segment.Header
	hash   segment.Hash
	sealed []byte
	writes map[int]uint32 // block to number of write
}

func newObject(sealed []byte) (*object, error) {
	seg, err := segment.Open(sealed, segment.DataKey{})
	if err != nil {
		return nil, err
	}
	o := &object{header: seg.Header(), hash: seg.Hash(), sealed: sealed, writes: map[int]uint32{}}
	for r, err := range seg.Records() {
		if err != nil {
			return nil, err
		}
		for i := range int(r.Extent.Count) {
			o.writes[blockOf(r)+i] = stampOf(r.Data[512*i:])
		}
	}
	return o, nil
}

// blockOf gives the block at which a record begins: those of the second disk are counted behind those of the first.
func blockOf(r segment.Record) int { return int(r.Disk)*perDisk + int(r.Extent.Start) }

func (o *object) applyTo(disk *image) {
	for b, n := range o.writes {
		disk[b] = n
	}
}

// stamp makes the content of a block: its number, in every byte place that is looked at.
func stamp(n uint32) []byte {
	return bytes.Repeat([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, 128)
}

func stampOf(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
