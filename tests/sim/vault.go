package sim

import (
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
)

// record is one block of a segment, and what it shows.
type record struct{ block, value int }

// object is a segment in the vault.
type object struct {
	header  segment.Header
	hash    segment.Hash
	records []record
}

type outcome uint8

const (
	created outcome = iota + 1
	same
	other
	unanswered
)

const requestTimeout = 150 * time.Millisecond

// vault is a create-only store: it loses requests and replies, and repeats requests late.
type vault struct {
	*world
	objects map[farshore.Position]*object
	claims  map[farshore.Epoch]claim
	asked   map[farshore.Epoch]bool  // the claim asks for hashes
	offers  map[farshore.Epoch]image // what the sink offered
	acked   map[farshore.Position]segment.Hash
	order   []farshore.Position // of acknowledgements
}

func newVault(w *world) *vault {
	v := &vault{asked: map[farshore.Epoch]bool{}, offers: map[farshore.Epoch]image{}, world: w, objects: map[farshore.Position]*object{}, claims: map[farshore.Epoch]claim{}, acked: map[farshore.Position]segment.Hash{}}
	w.every(3*time.Second, v.judge)
	return v
}

func (v *vault) create(o *object) outcome {
	there, ok := v.objects[o.header.Position()]
	switch {
	case !ok:
		v.objects[o.header.Position()] = o
		return created
	case there.hash == o.hash:
		return same
	}
	return other
}

// put asks for an object to be created and answers once.
func (v *vault) put(o *object, reply func(outcome)) {
	answered := false
	answer := func(out outcome) {
		if !answered {
			answered = true
			reply(out)
		}
	}
	v.after(requestTimeout, func() { answer(unanswered) })
	if v.fault(80) { // the request is lost
		return
	}
	v.after(v.delay(), func() {
		out := v.create(o)
		if !v.fault(80) { // else the reply is lost
			v.after(v.delay(), func() { answer(out) })
		}
	})
	if v.fault(60) { // the network repeats it, late
		v.after(v.delay()+time.Second, func() { v.create(o) })
	}
}

// get asks for an object and answers once; nil, false means that it was not answered.
func (v *vault) get(p farshore.Position, reply func(o *object, answered bool)) {
	lost := v.fault(40)
	v.after(v.delay(), func() { reply(v.objects[p], !lost) })
}

// walk reads the stream as a reader must, and calls at for every segment. It returns where the stream ends.
func (v *vault) walk(at func(*object)) chain.Link {
	cursor := chain.NewWalk(chain.Start(stream))
	for {
		o := v.objects[cursor.Next()]
		if o == nil && v.bug == ReaderSkipsHole {
			o = v.skip(cursor)
		}
		if o == nil {
			return cursor.At()
		}
		if err := cursor.Take(o.header, o.hash); err != nil {
			if v.bug != ReaderSkipsHole {
				v.violate("the readable stream breaks: %v", err)
				return cursor.At()
			}
			cursor = chain.NewWalk(chain.LinkOf(o.header, o.hash))
		}
		at(o)
	}
}

// skip is what a careless reader does at a hole: it takes the next segment there is.
func (v *vault) skip(cursor *chain.Walk) *object {
	p := cursor.Next()
	for range maxInFlight {
		p.Seq++
		if o := v.objects[p]; o != nil {
			return o
		}
	}
	return nil
}

// judge compares every clean end with the truth and every checkpoint with the stream, and looks for everything that was
// acknowledged.
func (v *vault) judge() {
	var disk image
	checkpoints := v.applier.checkpoints
	readable := map[farshore.Position]segment.Hash{}
	v.walk(func(o *object) {
		readable[o.header.Position()] = o.hash
		v.judgeBody(o)
		for _, r := range o.records {
			disk[r.block] = r.value
		}
		for ; len(checkpoints) > 0 && checkpoints[0].at == o.header.Position(); checkpoints = checkpoints[1:] {
			if v.Checkpoints++; checkpoints[0].pages != disk {
				v.violate("the checkpoint at %v holds %v, the stream says %v", checkpoints[0].at, checkpoints[0].pages, disk)
			}
		}
		if !o.header.Clean() || o.header.Seal {
			return
		}
		v.Points++
		if truth, ok := v.truth[o.header.Label]; !ok || truth != disk {
			v.violate("point %v (%s) restores to %v, the disk held %v", o.header.Position(), o.header.Label, disk, truth)
		}
	})
	v.applier.checkpoints = checkpoints
	for _, p := range v.order {
		v.Acks++
		if readable[p] != v.acked[p] {
			v.violate("%v was acknowledged as durable and is not in the stream", p)
		}
	}
}

// acknowledge notes what the agent was told to be durable.
func (v *vault) acknowledge(p farshore.Position, hash segment.Hash) {
	v.acked[p] = hash
	v.order = append(v.order, p)
}

// highest is the highest segment of an epoch that exists, wherever the holes are.
func (v *vault) highest(e farshore.Epoch) farshore.Seq {
	var top farshore.Seq
	for p := range v.objects { // a maximum: order does not matter
		if p.Epoch == e {
			top = max(top, p.Seq)
		}
	}
	return top
}

// fakeHash is a hash that nothing else has.
func fakeHash(parts ...any) segment.Hash {
	var h segment.Hash
	copy(h[:], fmt.Append(nil, parts...))
	return h
}

// sorted gives the members of a set of blocks in order.
func sorted(set map[int]bool) []int {
	var list []int
	for b, in := range set {
		if in {
			list = append(list, b)
		}
	}
	slices.Sort(list)
	return list
}
