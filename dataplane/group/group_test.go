package group

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"farshore"
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// tell writes effects in words.
func tell(effects []Effect) string {
	var words []string
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			words = append(words, fmt.Sprintf("%s>%s", e.Message.Kind, e.To))
		case Keep:
			words = append(words, fmt.Sprintf("keep %d without %d", len(e.Parts), len(e.Missing)))
		case Ended:
			words = append(words, fmt.Sprintf("ended %q", e.Why))
		case Do:
			words = append(words, fmt.Sprintf("do %s", e.Kind))
		case Abandon:
			words = append(words, "abandon")
		}
	}
	return strings.Join(words, ", ")
}

// script is steps of a leader of a, b and c in round 7.
type script struct {
	t    *testing.T
	lead *Lead
}

func begin(t *testing.T) script {
	t.Helper()
	s := script{t, NewLead("a", DefaultTimes())}
	s.want(start, Begin{Group: "shop", Round: 7, Members: []farshore.MachineID{"b", "c", "a"}}, "call>a, call>b, call>c")
	return s
}

func (s script) want(at time.Time, e Event, want string) {
	s.t.Helper()
	if got := tell(s.lead.Step(at, e)); got != want {
		s.t.Fatalf("%+v:\n got %s\nwant %s", e, got, want)
	}
}

func (s script) says(m farshore.MachineID, k Kind, want string) {
	s.t.Helper()
	message := Message{Kind: k, Group: "shop", Round: 7}
	if k == Sealed {
		message.Part = []byte(m)
	}
	s.want(start, Received{From: m, Message: message}, want)
}

func TestAPointIsGivenAwayWhenEveryPartOfThisRoundIsThere(t *testing.T) {
	s := begin(t)
	s.says("a", Ready, "")
	s.says("b", Ready, "")
	s.says("b", Frozen, "") // was not asked for yet
	s.want(start, Received{From: "c", Message: Message{Kind: Ready, Group: "shop", Round: 6}}, "")
	s.want(start, Received{From: "c", Message: Message{Kind: Ready, Group: "other", Round: 7}}, "")
	s.want(start, Received{From: "d", Message: Message{Kind: Ready, Group: "shop", Round: 7}}, "")
	s.says("c", Ready, "freeze>a, freeze>b, freeze>c")
	s.says("c", Frozen, "")
	s.says("a", Frozen, "")
	s.says("b", Frozen, "mark>a, mark>b, mark>c")
	s.says("a", Marked, "")
	s.says("a", Sealed, "") // early: the others have not cut yet
	s.says("b", Marked, "")
	s.says("c", Marked, "")
	s.says("b", Sealed, "")
	s.want(start, Received{From: "c", Message: Message{Kind: Sealed, Group: "shop", Round: 6, Part: []byte("old")}}, "")
	s.says("c", Sealed, "keep 3 without 0")
	s.says("c", Refuse, "") // too late
	s.want(start, Kept{Round: 6}, "")
	s.want(start, Kept{Round: 7}, `over>a, over>b, over>c, ended ""`)
	if !s.lead.Idle() {
		t.Error("the round goes on")
	}
}

func TestWhoFailsInAnyPhaseIsMissingAndTheOthersGoOn(t *testing.T) {
	late := start.Add(time.Hour)
	s := begin(t)
	s.says("a", Ready, "")
	s.says("b", Ready, "")
	s.want(late, Tick{}, "over>c, freeze>a, freeze>b")
	s.says("a", Frozen, "")
	s.says("b", Frozen, "mark>a, mark>b")
	s.says("a", Marked, "")
	s.says("b", Marked, "")
	s.says("a", Sealed, "")
	s.says("b", Sealed, "keep 2 without 1")

	s = begin(t)
	s.want(start, Gone{Machine: "c", Why: "it does not answer"}, "over>c")
	s.want(start, Gone{Machine: "b", Why: "neither does it"}, `over>b, over>a, ended "1 of 3 machines could go on; b: neither does it; c: it does not answer"`)

	s = begin(t) // who leads and has no part in the point cannot vouch for it
	s.says("a", Refuse, `over>a, over>b, over>c, ended "2 of 3 machines could go on; a: it gave no reason"`)
}

func TestAMemberLetsGoByItself(t *testing.T) {
	for name, end := range map[string]struct {
		at   time.Duration
		what Event
		want string
	}{
		"the leader is silent":  {DefaultTimes().Hold, Tick{}, "refuse>a, abandon"},
		"the leader is gone":    {0, Gone{Machine: "a"}, "abandon"},
		"the leader says so":    {0, Received{From: "a", Message: Message{Kind: Over, Group: "shop", Round: 7, Why: "c"}}, "abandon"},
		"another one says so":   {0, Received{From: "b", Message: Message{Kind: Over, Group: "shop", Round: 7, Why: "c"}}, ""},
		"another one is gone":   {0, Gone{Machine: "b"}, ""},
		"an old round is over":  {0, Received{From: "a", Message: Message{Kind: Over, Group: "shop", Round: 6, Why: "c"}}, ""},
		"it could not cut":      {0, Did{Round: 7, Kind: Marked, Why: "not held"}, ""}, // it was not asked to yet
		"it is called again":    {0, Received{From: "b", Message: Message{Kind: Call, Group: "shop", Round: 8}}, "refuse>b"},
		"the call was repeated": {0, Received{From: "a", Message: Message{Kind: Call, Group: "shop", Round: 7}}, ""},
	} {
		m := NewMember(DefaultTimes())
		step := func(at time.Duration, e Event) string { return tell(m.Step(start.Add(at), e)) }
		say := func(k Kind) Event { return Received{From: "a", Message: Message{Kind: k, Group: "shop", Round: 7}} }
		for _, s := range []struct {
			e    Event
			want string
		}{
			{say(Call), "do ready"},
			{say(Mark), ""}, // it is not frozen
			{Did{Round: 7, Kind: Ready}, "ready>a"},
			{say(Mark), ""},
			{say(Freeze), "do frozen"},
			{Did{Round: 7, Kind: Frozen}, "frozen>a"},
		} {
			if got := step(0, s.e); got != s.want {
				t.Fatalf("%s: %+v: %s, want %s", name, s.e, got, s.want)
			}
		}
		if got := step(end.at, end.what); got != end.want {
			t.Errorf("%s: %s, want %s", name, got, end.want)
		}
	}
}

func TestAMemberAnswersOnlyRoundsThatAreHigher(t *testing.T) {
	m := NewMember(DefaultTimes())
	call := func(r farshore.Round) string {
		return tell(m.Step(start, Received{From: "a", Message: Message{Kind: Call, Group: "shop", Round: r}}))
	}
	if got := call(7); got != "do ready" {
		t.Fatal(got)
	}
	m.Step(start, Gone{Machine: "a"})
	for r, want := range map[farshore.Round]string{7: "refuse>a", 6: "refuse>a"} {
		if got := call(r); got != want {
			t.Errorf("round %d: %s, want %s", r, got, want)
		}
	}
	if got := call(8); got != "do ready" || m.Highest() != 8 {
		t.Errorf("round 8: %s; the highest is %d", got, m.Highest())
	}
}
