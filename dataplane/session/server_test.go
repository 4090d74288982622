package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/fault"
)

var (
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	web    = farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}
	limits = Limits{PingAfter: 10 * time.Second, SilentAfter: 30 * time.Second, WindowBytes: 40_000}
)

func hello() *Hello {
	return &Hello{Machine: "web-01", Session: 7, Ticket: []byte("ticket"), Disks: []segment.Disk{{ID: "WD-1", Sectors: 1000}, {ID: "WD-2", Sectors: 50}}}
}

func disks(clean bool) []segment.Disk {
	d := hello().Disks
	d[0].Clean, d[1].Clean = clean, clean
	return d
}

func data(disk uint16, at block.Sector, sectors block.Count) segment.Record {
	return segment.Record{Disk: disk, Extent: block.Extent{Start: at, Count: sectors}, Data: make([]byte, sectors.Bytes())}
}

// log is a batch of n one-sector log records from LSN first.
func log(number uint64, first farshore.LSN, n int) *Batch {
	b := &Batch{Number: number, FirstLSN: first, LastLSN: first + farshore.LSN(n) - 1}
	for i := range n {
		b.Records = append(b.Records, data(0, block.Sector(i), 1))
	}
	return b
}

func jump(b *Batch) *Batch { b.Jump = true; return b }

// tell writes effects in a few words, one for each.
func tell(effects []Effect) string {
	var words []string
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			words = append(words, "send "+tellMessage(e.Message))
		case Deliver:
			words = append(words, "deliver "+tellMessage(e.Message))
		case Append:
			words = append(words, fmt.Sprintf("append %d", e.Batch.Number))
		case End:
			words = append(words, fmt.Sprintf("end %d", e.Cut.Number))
		case Close:
			words = append(words, "close "+e.Fault.Code)
		case Claim:
			words = append(words, "claim")
		case Fetch:
			words = append(words, fmt.Sprintf("fetch number %d of disk %q", e.Want.Number, e.Want.Disk))
		case Store:
			words = append(words, fmt.Sprintf("store %d", len(e.Object)))
		case Room:
			words = append(words, "room")
		}
	}
	return strings.Join(words, ", ")
}

func tellMessage(m Message) string {
	switch m := m.(type) {
	case *Cached:
		return fmt.Sprintf("cached %d", m.Number)
	case *Durable:
		return fmt.Sprintf("durable %v of session %d through %d", m.Position, m.Session, m.Through)
	case *Refused:
		return "refused " + m.Fault.Code
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", m), "*session."))
}

// opened is a server's end that goes on behind LSN 100.
func opened(t *testing.T, tailClean bool) *Server {
	t.Helper()
	s := NewServer(start, web, limits)
	if got := tell(s.Step(start, Received{hello()})); got != "claim" {
		t.Fatalf("hello: %s", got)
	}
	if got := tell(s.Step(start, Claimed{Opened{Generation: 1, Epoch: 3, ResumeLSN: 100, TailClean: tailClean}})); got != "send opened" {
		t.Fatalf("claimed: %s", got)
	}
	return s
}

type step struct {
	event Event
	want  string
}

func run(t *testing.T, s interface {
	Step(time.Time, Event) []Effect
}, steps []step,
) {
	t.Helper()
	for i, st := range steps {
		if got := tell(s.Step(start, st.event)); got != st.want {
			t.Fatalf("step %d, %+v:\n got %s\nwant %s", i, st.event, got, st.want)
		}
	}
}

func durable(seq farshore.Seq, through uint64) Committed {
	return Committed{Durable{Position: farshore.Position{Generation: 1, Epoch: 3, Seq: seq}, Through: through}}
}

func TestServerTakesChangesAndAcknowledgesThemTwice(t *testing.T) {
	run(t, opened(t, true), []step{
		{Received{log(1, 101, 2)}, "append 1"},
		{Received{&Batch{Number: 2, Copy: true, FirstLSN: 103, LastLSN: 102, Records: []segment.Record{data(1, 4, 2)}}}, "append 2"},
		{Received{&Cut{Number: 3, Disks: disks(true)}}, "end 3"},
		{Spooled{3}, "send cached 3"},
		{Spooled{2}, ""},
		{Received{log(4, 103, 1)}, "append 4"},
		{durable(1, 3), "send durable g1.e3.s1 of session 7 through 3"},
		{Spooled{4}, "send cached 4"},
		{durable(2, 4), "send durable g1.e3.s2 of session 7 through 4"},
		{Lost{}, "send fenced, close FS-2009"},
		{Received{log(5, 104, 1)}, ""},
	})
}

func TestServerRefusesWhatBreaksARule(t *testing.T) {
	big := log(1, 101, 1)
	big.Records[0].Extent.Start = 1000
	wrap := log(1, 101, 1)
	wrap.Records[0].Extent = block.Extent{Start: ^block.Sector(0), Count: 1}
	short := log(1, 101, 1)
	short.Records[0].Data = short.Records[0].Data[:511]
	zero := log(1, 101, 1)
	zero.Records[0].Kind = block.Zero
	unknown := log(1, 101, 1)
	unknown.Records[0].Disk = 2
	copies := log(1, 101, 1)
	copies.Copy = true
	missing := &Cut{Number: 1, Disks: disks(true)[:1]}
	swapped := &Cut{Number: 1, Disks: disks(true)}
	swapped.Disks[0], swapped.Disks[1] = swapped.Disks[1], swapped.Disks[0]
	rows := []struct {
		name string
		bad  Message
	}{
		{"a hole in the numbers", log(2, 101, 1)},
		{"a repeated number", log(0, 101, 1)},
		{"a hole in the log", log(1, 102, 1)},
		{"a log that goes back", log(1, 100, 1)},
		{"a jump that goes back", jump(log(1, 100, 1))},
		{"LSNs that are not one for each record", &Batch{Number: 1, FirstLSN: 101, LastLSN: 102, Records: log(1, 101, 1).Records}},
		{"copies that consume LSNs", copies},
		{"a record beyond its disk", big},
		{"a record around the end of numbers", wrap},
		{"a record of another length", short},
		{"zeros with data", zero},
		{"a disk that was not named", unknown},
		{"a cut without all disks", missing},
		{"a cut with the disks in another order", swapped},
		{"a second hello", hello()},
		{"a message of the other end", &Durable{}},
	}
	for _, r := range rows {
		s := opened(t, true)
		if got := tell(s.Step(start, Received{r.bad})); got != "send refused FS-2003, close FS-2003" {
			t.Errorf("%s: %s", r.name, got)
		}
	}
}

func TestServerHearsNoChangesBeforeTheEpochIsClaimed(t *testing.T) {
	run(t, NewServer(start, web, limits), []step{{Received{log(1, 1, 1)}, "send refused FS-2003, close FS-2003"}})
	run(t, NewServer(start, web, limits), []step{
		{Received{hello()}, "claim"},
		{Received{log(1, 1, 1)}, "send refused FS-2003, close FS-2003"},
	})
}

func TestServerTakesTheMachineFromTheCertificateOnly(t *testing.T) {
	for _, peer := range []farshore.Identity{{Role: farshore.RoleAgent, Name: "db-01"}, {Role: farshore.RoleApplier, Name: "web-01"}, {}} {
		run(t, NewServer(start, peer, limits), []step{{Received{hello()}, "send refused FS-2002, close FS-2002"}})
	}
}

func TestServerRefusesAGreetingThatMakesNoSense(t *testing.T) {
	rows := map[string]func(*Hello){
		"no disks":          func(h *Hello) { h.Disks = nil },
		"a disk twice":      func(h *Hello) { h.Disks[1].ID = h.Disks[0].ID },
		"a disk of nothing": func(h *Hello) { h.Disks[1].Sectors = 0 },
		"a bad disk name":   func(h *Hello) { h.Disks[1].ID = "a/b" },
		"no session":        func(h *Hello) { h.Session = 0 },
		"no ticket":         func(h *Hello) { h.Ticket = nil },
		"a huge ticket":     func(h *Hello) { h.Ticket = make([]byte, MaxTicketBytes+1) },
	}
	for name, spoil := range rows {
		h := hello()
		spoil(h)
		s := NewServer(start, web, limits)
		if got := tell(s.Step(start, Received{h})); got != "send refused FS-2003, close FS-2003" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestBehindAnUncleanEndNothingIsCleanBeforeANewCopyBegins(t *testing.T) {
	refused := "send refused FS-2003, close FS-2003"
	run(t, opened(t, false), []step{{Received{log(1, 101, 1)}, refused}})
	run(t, opened(t, false), []step{{Received{&Cut{Number: 1, Disks: disks(true)}}, refused}})
	run(t, opened(t, false), []step{
		{Received{&Cut{Number: 1, Disks: disks(false)}}, "end 1"},
		{Received{&Cut{Number: 2, Disks: disks(true)}}, refused},
	})
	run(t, opened(t, false), []step{
		{Received{jump(log(1, 101, 1))}, "append 1"},
		{Received{&Cut{Number: 2, Disks: disks(true)}}, "end 2"},
	})
}

func TestJumpMayLeaveAHoleInTheLog(t *testing.T) {
	run(t, opened(t, true), []step{
		{Received{jump(log(1, 500, 1))}, "append 1"},
		{Received{log(2, 501, 1)}, "append 2"},
	})
}

func TestWindowBoundsWhatIsUnderWay(t *testing.T) {
	full := log(1, 101, 70) // 256 + 70 × (512 + 48) = 39,456 of 40,000 bytes
	run(t, opened(t, true), []step{{Received{full}, "append 1"}, {Received{log(2, 171, 1)}, "send refused FS-2003, close FS-2003"}})
	run(t, opened(t, true), []step{{Received{full}, "append 1"}, {Spooled{1}, "send cached 1"}, {Received{log(2, 171, 1)}, "append 2"}})
	run(t, opened(t, true), []step{{Received{log(1, 101, 100)}, "append 1"}}) // one message may be larger
}

func TestWhatEndsSegmentsIsChargedForThemAndTheirDisks(t *testing.T) {
	many := make([]segment.Disk, 100)
	rows := map[string]struct {
		m    Message
		want int64
	}{
		"a batch":                     {log(1, 1, 2), 256 + 2*(48+512)},
		"a batch without records":     {&Batch{}, 256},
		"a jump without records":      {&Batch{Jump: true, Copy: true}, 256 + 8192 + 100*128},
		"a cut":                       {&Cut{Disks: many}, 256 + 8192 + 100*128},
		"what never lies in a window": {&Ping{}, 0},
	}
	for name, r := range rows {
		if got := Cost(r.m, len(many)); got != r.want {
			t.Errorf("%s costs %d, want %d", name, got, r.want)
		}
	}
	cuts := []step{}
	for n := range uint64(4) {
		cuts = append(cuts, step{Received{&Cut{Number: n + 1, Disks: disks(true)}}, fmt.Sprintf("end %d", n+1)})
	}
	run(t, opened(t, true), append(cuts, step{Received{&Cut{Number: 5, Disks: disks(true)}}, "send refused FS-2003, close FS-2003"}))
}

func TestACopyThatHoldsNothingMayNotBeginAgain(t *testing.T) {
	empty := func(n uint64) Received {
		return Received{&Batch{Number: n, Copy: true, Jump: true, FirstLSN: 101, LastLSN: 100}}
	}
	run(t, opened(t, true), []step{{empty(1), "append 1"}, {empty(2), "send refused FS-2003, close FS-2003"}})
	run(t, opened(t, true), []step{
		{empty(1), "append 1"},
		{Received{&Cut{Number: 2, Disks: disks(true)}}, "end 2"},
		{empty(3), "append 3"},
	})
}

func TestSizesFollowTheLastCut(t *testing.T) {
	grown := disks(true)
	grown[1].Sectors = 60
	b := log(2, 101, 1)
	b.Records[0] = data(1, 59, 1)
	run(t, opened(t, true), []step{{Received{&Cut{Number: 1, Disks: grown}}, "end 1"}, {Received{b}, "append 2"}})
}

func TestServerPanicsRatherThanAcknowledgeOutOfOrder(t *testing.T) {
	for name, e := range map[string]Committed{
		"a segment is left out":    durable(2, 2),
		"a segment again":          durable(0, 1),
		"what is not cached":       durable(1, 3),
		"another epoch's segments": {Durable{Position: farshore.Position{Generation: 1, Epoch: 2, Seq: 1}, Through: 1}},
	} {
		s := opened(t, true)
		run(t, s, []step{{Received{log(1, 101, 1)}, "append 1"}, {Received{log(2, 102, 1)}, "append 2"}, {Received{log(3, 103, 1)}, "append 3"}, {Spooled{2}, "send cached 2"}})
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: acknowledged", name)
				}
			}()
			s.Step(start, e)
		}()
	}
}

func TestEachEndNoticesWhenTheOtherIsGone(t *testing.T) {
	agent, _ := NewAgent(start, hello(), limits)
	for name, end := range map[string]interface {
		Step(time.Time, Event) []Effect
	}{"server": opened(t, true), "agent": agent} {
		at := func(seconds int) string { return tell(end.Step(start.Add(time.Duration(seconds)*time.Second), Tick{})) }
		if got := []string{at(9), at(10), at(19), at(20), at(29), at(30)}; strings.Join(got, "|") != "|send ping||send ping||close FS-2007" {
			t.Errorf("%s: %q", name, got)
		}
	}
	s := opened(t, true)
	s.Step(start.Add(29*time.Second), Received{&Ping{}})
	if got := tell(s.Step(start.Add(58*time.Second), Tick{})); got != "send ping" {
		t.Errorf("after a ping of the other end: %s", got)
	}
}

func TestStoppedServerSaysWhy(t *testing.T) {
	run(t, opened(t, true), []step{{Stopped{fault.Fault{Code: "FS-2008"}}, "send refused FS-2008, close FS-2008"}, {Tick{}, ""}})
}

func TestNewerSessionReplacesTheOlderAndNeverTheOtherWayRound(t *testing.T) {
	r := NewRoster()
	enter := func(m farshore.MachineID, n, replaced uint64, refused bool) {
		t.Helper()
		got, refusal := r.Enter(m, "here", n)
		if got != replaced || (refusal != nil) != refused {
			t.Errorf("Enter(%s, %d) = %d, %v; want %d, refused %v", m, n, got, refusal, replaced, refused)
		}
	}
	enter("web-01", 5, 0, false)
	enter("web-01", 5, 0, true)
	enter("web-01", 4, 0, true)
	enter("db-01", 1, 0, false)
	enter("web-01", 6, 5, false)
	r.Leave("web-01", "here", 5) // the replaced session's late farewell
	enter("web-01", 6, 0, true)
	r.Leave("web-01", "here", 6)
	enter("web-01", 6, 0, false)
	if got, refusal := r.Enter("web-01", "there", 1); got != 6 || refusal != nil { // another body of it counts its own
		t.Errorf("Enter() of another instance = %d, %v", got, refusal)
	}
	r.Leave("web-01", "here", 6) // late
	if _, refusal := r.Enter("web-01", "there", 1); refusal == nil {
		t.Error("the same session entered twice")
	}
}
