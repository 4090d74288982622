package chain

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"farshore"
	"farshore/dataplane/segment"
)

// blob is what stands at a position of a pretended vault.
type blob struct {
	header segment.Header
	hash   segment.Hash
}

// shelf is a pretended vault of one generation: create-only.
type shelf struct {
	blobs map[farshore.Position]blob
	n     byte
}

func newShelf() *shelf { return &shelf{blobs: map[farshore.Position]blob{}} }

func (s *shelf) hash() segment.Hash {
	s.n++
	return segment.Hash{s.n, 0xdd}
}

// put is a create-only put of a data segment: true if it is there now as given.
func (s *shelf) put(b blob) bool {
	if old, ok := s.blobs[b.header.Position()]; ok {
		return old.hash == b.hash
	}
	s.blobs[b.header.Position()] = b
	return true
}

// chainOf makes n data segments behind a link, not yet put.
func (s *shelf) chainOf(l Link, n int) []blob {
	var out []blob
	for range n {
		b := blob{headerBehind(l, 3), s.hash()}
		out = append(out, b)
		l = LinkOf(b.header, b.hash)
	}
	return out
}

// answer does what a take-over asks for.
func (s *shelf) answer(t tester, r Request) Answer {
	switch r.Kind {
	case Get:
		if b, ok := s.blobs[r.Position]; ok {
			return Answer{Kind: Present, Header: b.header, Hash: b.hash}
		}
		return Answer{Kind: Absent}
	case PutSeal:
		seal, err := segment.Parse(r.Sealed)
		if err != nil || seal.Hash() != r.Hash || seal.Header().Position() != r.Position {
			t.Fatalf("the seal for %v is %v, %v", r.Position, seal, err)
		}
		if s.put(blob{seal.Header(), seal.Hash()}) {
			return Answer{Kind: Written}
		}
		return Answer{Kind: Unclear}
	case Done:
	}
	t.Fatalf("asked to answer %v", r.Kind)
	return Answer{}
}

type tester interface{ Fatalf(string, ...any) }

// run takes over at once, with nobody else at the vault.
func (s *shelf) run(t tester, own farshore.Epoch, from Link) Link {
	takeover, r := NewTakeover(own, from)
	for r.Kind != Done {
		var err error
		if r, err = takeover.Step(s.answer(t, r)); err != nil {
			t.Fatalf("take over epoch %d: %v", own, err)
		}
	}
	return r.Resume
}

// sealOf finds the seal of an epoch as a reader would.
func (s *shelf) sealOf(e farshore.Epoch) (Link, bool) {
	for _, l := range s.readable() {
		if l.Position.Epoch == e && l.Seal {
			return l, true
		}
	}
	return Link{}, false
}

// readable walks the stream.
func (s *shelf) readable() []Link {
	w := NewWalk(Start(stream))
	var out []Link
	for {
		b, ok := s.blobs[w.Next()]
		if !ok || w.Take(b.header, b.hash) != nil {
			return out
		}
		out = append(out, w.At())
	}
}

func TestTakeOverOfAFreshGenerationAsksForNothing(t *testing.T) {
	_, r := NewTakeover(1, Start(stream))
	if r.Kind != Done || r.Resume.Position != Start(stream).Position {
		t.Errorf("first request = %+v", r)
	}
}

func TestTheSealGoesIntoTheFirstHoleAlthoughLaterSegmentsLanded(t *testing.T) {
	s := newShelf()
	blobs := s.chainOf(Start(stream), 4)
	s.put(blobs[0])
	s.put(blobs[2]) // in flight together with 1, which did not land yet
	s.put(blobs[3])
	resume := s.run(t, 2, Start(stream))
	if want := (farshore.Position{Generation: 2, Epoch: 1, Seq: 2}); resume.Position != want || !resume.Seal {
		t.Fatalf("resume at %v, want the seal %v", resume.Position, want)
	}
	if resume.LastLSN != blobs[0].header.LastLSN || !resume.Clean {
		t.Errorf("resume behind LSN %d, clean %v; want %d, true", resume.LastLSN, resume.Clean, blobs[0].header.LastLSN)
	}
	if s.put(blobs[1]) {
		t.Error("the late segment was taken in the place of the seal")
	}
}

func TestEveryEpochBelowIsSealedAlsoThoseWhoseWriterDiedAtOnce(t *testing.T) {
	s := newShelf()
	for _, b := range s.chainOf(Start(stream), 2) {
		s.put(b)
	}
	s.run(t, 4, Start(stream)) // the claims 2 and 3 wrote nothing and sealed nothing
	for e := farshore.Epoch(1); e <= 3; e++ {
		if _, ok := s.sealOf(e); !ok {
			t.Errorf("epoch %d is not sealed", e)
		}
	}
	if _, ok := s.blobs[farshore.Position{Generation: 2, Epoch: 4, Seq: 1}]; ok {
		t.Error("the take-over wrote into its own epoch")
	}
}

func TestAnUnclearAnswerMeansLookAgainAtTheSamePlace(t *testing.T) {
	s := newShelf()
	blobs := s.chainOf(Start(stream), 2)
	s.put(blobs[0])
	takeover, r := NewTakeover(2, Start(stream))
	step := func(a Answer) {
		var err error
		if r, err = takeover.Step(a); err != nil {
			t.Fatal(err)
		}
	}
	step(s.answer(t, r)) // segment 1 is there
	step(Answer{Kind: Unclear})
	if want := (farshore.Position{Generation: 2, Epoch: 1, Seq: 2}); r.Kind != Get || r.Position != want {
		t.Fatalf("behind a time-out: %+v, want to get %v", r, want)
	}
	step(s.answer(t, r)) // nothing
	if r.Kind != PutSeal {
		t.Fatalf("behind a hole: %+v", r)
	}
	s.put(blobs[1]) // the old writer was faster
	step(s.answer(t, r))
	step(s.answer(t, r))
	if want := (farshore.Position{Generation: 2, Epoch: 1, Seq: 3}); r.Kind != Get || r.Position != want {
		t.Fatalf("behind the old writer's segment: %+v, want to get %v", r, want)
	}
}

func TestASegmentThatDoesNotFollowStopsTheTakeOver(t *testing.T) {
	s := newShelf()
	foreign := s.chainOf(Start(stream), 1)[0]
	foreign.header.Previous = segment.Hash{99}
	s.put(foreign)
	takeover, r := NewTakeover(2, Start(stream))
	_, err := takeover.Step(s.answer(t, r))
	var b *Break
	if !errors.As(err, &b) {
		t.Errorf("err = %v, want a Break", err)
	}
}

// writer is one epoch's: several puts in flight, acknowledged in order only.
type writer struct {
	chain  []blob
	done   []bool
	acked  int
	fenced bool
}

func (w *writer) put(s *shelf, i int) {
	if w.fenced {
		return
	}
	if !s.put(w.chain[i]) {
		w.fenced = true
		return
	}
	w.done[i] = true
	for w.acked < len(w.done) && w.done[w.acked] {
		w.acked++
	}
}

// TestWhatAWriterAcknowledgedIsReadWhateverTheOrder runs several claims whose take-overs and late puts interleave freely.
// Every answer may be lost on the way, and old writers go on for ever.
func TestWhatAWriterAcknowledgedIsReadWhateverTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newShelf()
		var writers []*writer
		type taking struct {
			machine *Takeover
			request Request
			own     farshore.Epoch
		}
		var open []*taking
		claims := farshore.Epoch(0)
		start := func(resume Link) {
			w := &writer{chain: s.chainOf(resume, rapid.IntRange(1, 4).Draw(t, "segments"))}
			w.done = make([]bool, len(w.chain))
			writers = append(writers, w)
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch act := rapid.IntRange(0, 9).Draw(t, "act"); {
			case act == 0 && claims < 6:
				claims++
				machine, r := NewTakeover(claims, Start(stream))
				open = append(open, &taking{machine, r, claims})
			case act < 6 && len(open) > 0:
				o := open[rapid.IntRange(0, len(open)-1).Draw(t, "which")]
				if o.request.Kind == Done {
					continue
				}
				a := s.answer(t, o.request)
				if rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
					a = Answer{Kind: Unclear}
				}
				next, err := o.machine.Step(a)
				if err != nil {
					t.Fatalf("take over epoch %d: %v", o.own, err)
				}
				if o.request = next; next.Kind == Done {
					start(next.Resume)
				}
			case len(writers) > 0:
				w := writers[rapid.IntRange(0, len(writers)-1).Draw(t, "writer")]
				w.put(s, rapid.IntRange(0, len(w.chain)-1).Draw(t, "segment"))
			}
		}
		read := map[segment.Hash]bool{}
		for _, l := range s.readable() {
			read[l.Hash] = true
		}
		for i, w := range writers {
			for _, b := range w.chain[:w.acked] {
				if !read[b.hash] {
					t.Fatalf("writer %d acknowledged %v, which is not in the readable stream", i, b.header.Position())
				}
			}
		}
	})
}
