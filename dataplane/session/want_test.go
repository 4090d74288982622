package session

import (
	"testing"
)

func TestOneThingIsWantedAtATime(t *testing.T) {
	head, part := Want{Number: 1}, Want{Disk: "WD-2", Number: 0}
	run(t, opened(t, true), []step{
		{Received{&head}, "fetch number 1 of disk \"\""},
		{Received{log(1, 101, 1)}, "append 1"}, // the stream goes on meanwhile
		{Fetched{Offer{Want: head, Object: []byte("x")}}, "send offer"},
		{Received{&part}, "fetch number 0 of disk \"WD-2\""},
		{Received{&head}, "send refused FS-2003, close FS-2003"},
		{Fetched{Offer{Want: part}}, ""}, // too late
	})
	a := openAgent(t)
	run(t, a, []step{
		{Outgoing{&part}, "send want"},
		{Outgoing{log(0, 0, 1)}, "send batch"},
		{Received{&Offer{Want: part}}, "deliver offer"},
		{Outgoing{&part}, "send want"},
		{Received{&Offer{Want: part, Object: []byte("x")}}, "deliver offer"},
		{Received{&Offer{Want: part}}, "close FS-2003"},
	})
}

func TestWhatWasNotAskedForIsNotTaken(t *testing.T) {
	for name, o := range map[string]Offer{
		"another disk":   {Want: Want{Disk: "WD-1", Number: 3}},
		"another number": {Want: Want{Disk: "WD-2", Number: 4}},
		"a head":         {Want: Want{Number: 3}},
	} {
		a := openAgent(t)
		run(t, a, []step{{Outgoing{&Want{Disk: "WD-2", Number: 3}}, "send want"}, {Received{&o}, "close FS-2003"}})
		if !a.Over() {
			t.Errorf("%s: the session goes on", name)
		}
	}
	run(t, openAgent(t), []step{{Received{&Offer{}}, "close FS-2003"}})
	run(t, openAgent(t), []step{{Received{&Want{}}, "close FS-2003"}})
}

func TestServerRefusesWantsThatMakeNoSense(t *testing.T) {
	refused := "send refused FS-2003, close FS-2003"
	for name, w := range map[string]Want{"offer 0": {}, "a name that is a path": {Disk: "../x"}} {
		s := opened(t, true)
		if got := tell(s.Step(start, Received{&w})); got != refused {
			t.Errorf("%s: %s", name, got)
		}
	}
	run(t, NewServer(start, web, limits), []step{{Received{&Want{Number: 1}}, refused}})
	run(t, opened(t, true), []step{{Received{&Offer{}}, refused}})
}
