package chain

import (
	"fmt"

	"farshore"
	"farshore/dataplane/segment"
)

// MaxInFlight bounds how far a writer may put segments ahead of its last durable one. It is part of the format: because
// of it, nothing stands MaxInFlight places or more behind the first hole or the seal of an epoch. So the end of an epoch
// lies within MaxInFlight of the end of what stands without a gap, and an epoch need not be walked from its start.
const MaxInFlight = 64

// RequestKind says what a Takeover wants.
type RequestKind uint8

// The requests of a Takeover.
const (
	Get     RequestKind = iota + 1 // look at Position
	PutSeal                        // put Sealed at Position, create-only
	Done                           // every epoch below is sealed; Resume says where to go on
)

// Request is what a [Takeover] wants next.
type Request struct {
	Kind     RequestKind
	Position farshore.Position
	Sealed   []byte       // of PutSeal
	Hash     segment.Hash // of PutSeal
	Resume   Link         // of Done: the seal of the epoch below, or Start
}

// AnswerKind says what came of a request.
type AnswerKind uint8

// The answers to a Takeover.
const (
	Absent  AnswerKind = iota + 1 // Get: nothing is there
	Present                       // Get: a segment with this Header and Hash
	Written                       // PutSeal: the seal is durable (created, or there already with our hash)
	Unclear                       // either: taken by something else, timed out, unreachable; the machine looks again
)

// Answer is what came of a request.
type Answer struct {
	Kind   AnswerKind
	Header segment.Header // of Present
	Hash   segment.Hash   // of Present
}

// Takeover makes sure that every epoch below a claimed one is sealed, in ascending order, before its writer writes
// anything. In each epoch it walks from the last known segment: a seal ends the epoch, a chained segment is passed, at
// the first hole it sets the seal, and after any other answer it looks at the same place again. So the seal stands in
// the first hole and nowhere else: a writer that still has puts in flight behind the hole can never acknowledge them,
// because it acknowledges in order and its put for the hole is refused.
type Takeover struct {
	own  farshore.Epoch
	at   Link
	last Request
	seal segment.Header // of the PutSeal under way
}

// NewTakeover begins a take-over for the writer of epoch own. from is a link known to be in the readable stream: Start,
// or any later one. The request is the first.
func NewTakeover(own farshore.Epoch, from Link) (*Takeover, Request) {
	t := &Takeover{own: own, at: from}
	return t, t.look()
}

// Step takes the answer to the last request and gives the next one. An error, a *[Break], means that the stream cannot
// be continued: something stands in the next place that no writer of ours wrote. Only a new generation helps then.
func (t *Takeover) Step(a Answer) (Request, error) {
	if t.last.Kind == Done {
		panic(fmt.Sprintf("chain: take-over of epoch %d was stepped after its end", t.own))
	}
	switch a.Kind {
	case Present:
		if err := t.at.Accept(a.Header); err != nil {
			return Request{}, err
		}
		t.at = LinkOf(a.Header, a.Hash)
		return t.look(), nil
	case Written:
		t.at = LinkOf(t.seal, t.last.Hash)
		return t.look(), nil
	case Absent:
		return t.setSeal()
	case Unclear:
		return t.look(), nil
	}
	panic(fmt.Sprintf("chain: answer of unknown kind %d", a.Kind))
}

// look asks for the place behind the last known segment, or ends when the epoch below our own is sealed.
func (t *Takeover) look() Request {
	p := t.at.Next()
	if p.Epoch >= t.own {
		t.last = Request{Kind: Done, Resume: t.at}
		return t.last
	}
	t.last = Request{Kind: Get, Position: p}
	return t.last
}

func (t *Takeover) setSeal() (Request, error) {
	t.seal = t.at.SealHeader()
	sealed, hash, err := segment.SealMarker(t.seal)
	if err != nil {
		return Request{}, fmt.Errorf("seal epoch %d: %w", t.at.Next().Epoch, err)
	}
	t.last = Request{Kind: PutSeal, Position: t.seal.Position(), Sealed: sealed, Hash: hash}
	return t.last, nil
}
