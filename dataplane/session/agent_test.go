package session

import (
	"testing"

	"pgregory.net/rapid"

	"farshore"
)

func openAgent(t *testing.T) *Agent {
	t.Helper()
	a, effects := NewAgent(start, hello(), limits)
	if got := tell(effects); got != "send hello" {
		t.Fatalf("begin: %s", got)
	}
	run(t, a, []step{{Received{&Opened{Session: 7, Generation: 1, Epoch: 3, ResumeLSN: 100, WindowBytes: 40_000}}, "deliver opened"}})
	return a
}

func confirm(seq farshore.Seq, session, through uint64) Received {
	return Received{&Durable{Session: session, Position: farshore.Position{Generation: 1, Epoch: 3, Seq: seq}, Through: through}}
}

func TestAgentNumbersWhatItSends(t *testing.T) {
	a := openAgent(t)
	first, copies, cut, second := log(0, 0, 2), log(0, 0, 3), &Cut{Disks: disks(true)}, log(0, 0, 1)
	copies.Copy = true
	run(t, a, []step{
		{Outgoing{first}, "send batch"}, {Outgoing{copies}, "send batch"}, {Outgoing{cut}, "send cut"}, {Outgoing{second}, "send batch"},
	})
	if first.Number != 1 || first.FirstLSN != 101 || first.LastLSN != 102 {
		t.Errorf("the first batch is %+v", first)
	}
	if copies.Number != 2 || copies.FirstLSN != 103 || copies.LastLSN != 102 {
		t.Errorf("the copies are %+v", copies)
	}
	if cut.Number != 3 || second.Number != 4 || second.FirstLSN != 103 || second.LastLSN != 103 {
		t.Errorf("cut %d, second batch %+v", cut.Number, second)
	}
}

func TestAgentBelievesOnlyTheNextAcknowledgementOfItsOwnSession(t *testing.T) {
	rows := []struct {
		name string
		bad  Event
	}{
		{"another session", confirm(1, 6, 1)},
		{"a segment left out", confirm(2, 7, 1)},
		{"the segment before", confirm(0, 7, 1)},
		{"another epoch", Received{&Durable{Session: 7, Position: farshore.Position{Generation: 1, Epoch: 2, Seq: 1}, Through: 1}}},
		{"what is not even cached", confirm(1, 7, 2)},
		{"cached before it was sent", Received{&Cached{Number: 3}}},
		{"cached again", Received{&Cached{Number: 1}}},
		{"opened again", Received{&Opened{Session: 7, Generation: 1, Epoch: 3, WindowBytes: 1}}},
		{"a message of the other end", Received{hello()}},
	}
	for _, r := range rows {
		a := openAgent(t)
		run(t, a, []step{
			{Outgoing{log(0, 0, 1)}, "send batch"},
			{Outgoing{log(0, 0, 1)}, "send batch"},
			{Received{&Cached{Number: 1}}, "room"},
			{r.bad, "close FS-2003"},
		})
		if !a.Over() {
			t.Errorf("%s: the session goes on", r.name)
		}
	}
	run(t, openAgent(t), []step{
		{Outgoing{log(0, 0, 1)}, "send batch"},
		{Received{&Cached{Number: 1}}, "room"},
		{confirm(1, 7, 1), "deliver durable g1.e3.s1 of session 7 through 1"},
	})
}

func TestAgentRefusesAnAnswerToAnotherSession(t *testing.T) {
	a, _ := NewAgent(start, hello(), limits)
	run(t, a, []step{{Received{&Opened{Session: 6, Generation: 1, Epoch: 1, WindowBytes: 1}}, "close FS-2003"}})
}

func TestAgentHearsWhyItIsRefused(t *testing.T) {
	a, _ := NewAgent(start, hello(), limits)
	f := *Replaced("web-01", 7, 8)
	run(t, a, []step{{Received{&Refused{Fault: f}}, "deliver refused FS-2006, close FS-2006"}})
	run(t, openAgent(t), []step{{Received{&Fenced{Session: 7}}, "deliver fenced, close FS-2009"}})
}

func TestAgentStaysInsideTheWindow(t *testing.T) {
	a := openAgent(t)
	if !a.Room(log(0, 0, 1000)) {
		t.Error("there is no room for a first message larger than the window")
	}
	run(t, a, []step{{Outgoing{log(0, 0, 70)}, "send batch"}})
	if a.Room(log(0, 0, 1)) {
		t.Error("there is room beyond the window")
	}
	run(t, a, []step{{Received{&Cached{Number: 1}}, "room"}})
	if !a.Room(log(0, 0, 1)) {
		t.Error("the window did not open")
	}
}

// TestTwoRightEndsNeverQuarrel lets both ends talk at random: whatever a right agent sends within its window, a right
// server takes, and every acknowledgement of the server is believed.
func TestTwoRightEndsNeverQuarrel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tailClean := rapid.Bool().Draw(rt, "tailClean")
		s := NewServer(start, web, limits)
		a, effects := NewAgent(start, hello(), limits)
		w := &pair{rt: rt, agent: a, server: s, jumped: tailClean}
		w.toServer(effects)
		w.toAgent(s.Step(start, Claimed{Opened{Generation: 1, Epoch: 1, ResumeLSN: 9, TailClean: tailClean}}))
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			w.act()
		}
	})
}

type pair struct {
	rt     *rapid.T
	agent  *Agent
	server *Server
	jumped bool
	taken  uint64 // last message that the server took
	cached uint64
	ended  []uint64 // cuts taken and not yet committed
	seq    farshore.Seq
}

func (w *pair) act() {
	switch rapid.SampledFrom([]string{"batch", "copy", "cut", "spool", "commit"}).Draw(w.rt, "act") {
	case "batch":
		b := log(0, 0, rapid.IntRange(1, 9).Draw(w.rt, "records"))
		b.Jump = !w.jumped || rapid.Bool().Draw(w.rt, "jump")
		w.offer(b)
	case "copy":
		b := log(0, 0, rapid.IntRange(0, 9).Draw(w.rt, "records"))
		b.Copy, b.Jump = true, !w.jumped
		w.offer(b)
	case "cut":
		w.offer(&Cut{Disks: disks(w.jumped)})
	case "spool":
		if w.taken > w.cached {
			w.cached = rapid.Uint64Range(w.cached+1, w.taken).Draw(w.rt, "number")
			w.toAgent(w.server.Step(start, Spooled{w.cached}))
		}
	case "commit":
		if len(w.ended) > 0 && w.ended[0] <= w.cached {
			w.seq++
			d := Durable{Position: farshore.Position{Generation: 1, Epoch: 1, Seq: w.seq}, Through: w.ended[0], Cut: true}
			w.ended = w.ended[1:]
			w.toAgent(w.server.Step(start, Committed{d}))
		}
	}
}

func (w *pair) offer(m Message) {
	if !w.agent.Room(m) {
		return
	}
	if b, ok := m.(*Batch); ok && b.Jump {
		w.jumped = true
	}
	w.toServer(w.agent.Step(start, Outgoing{m}))
}

func (w *pair) toServer(effects []Effect) {
	for _, e := range effects {
		send, ok := e.(Send)
		if !ok {
			w.rt.Fatalf("the agent's end: %s", tell(effects))
		}
		for _, e := range w.server.Step(start, Received(send)) {
			switch e := e.(type) {
			case Claim:
			case Append:
				w.taken = e.Batch.Number
			case End:
				w.taken = e.Cut.Number
				w.ended = append(w.ended, e.Cut.Number)
			default:
				w.rt.Fatalf("the server's end: %s", tell([]Effect{e}))
			}
		}
	}
}

func (w *pair) toAgent(effects []Effect) {
	for _, e := range effects {
		for _, back := range w.agent.Step(start, Received{e.(Send).Message}) {
			if _, closed := back.(Close); closed {
				w.rt.Fatalf("the agent's end: %s", tell([]Effect{back}))
			}
		}
	}
}

// TestNeitherEndFallsOverWhateverItReceives feeds both ends messages in any order.
func TestNeitherEndFallsOverWhateverItReceives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.Uint64Range(0, 4)
		s := NewServer(start, web, limits)
		a, _ := NewAgent(start, hello(), limits)
		for range rapid.IntRange(1, 20).Draw(rt, "messages") {
			b := log(n.Draw(rt, "number"), farshore.LSN(n.Draw(rt, "lsn")), int(n.Draw(rt, "records")))
			m := rapid.SampledFrom([]Message{
				hello(), b, &Batch{}, &Cut{Number: n.Draw(rt, "number"), Disks: disks(true)}, &Cut{}, &Hello{},
				&Opened{Session: 7, Generation: 1, Epoch: 3, WindowBytes: 9}, &Cached{Number: n.Draw(rt, "number")},
				&Durable{Session: 7, Through: n.Draw(rt, "number")}, &Fenced{}, &Refused{}, &Ping{}, &Pong{},
			}).Draw(rt, "message")
			for _, e := range s.Step(start, Received{m}) {
				if _, claim := e.(Claim); claim {
					s.Step(start, Claimed{Opened{Generation: 1, Epoch: 1}})
				}
			}
			a.Step(start, Received{m})
		}
	})
}
