package operator

import (
	"context"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/journal"
	"farshore/fault"
)

// pinBoard is pins in memory.
type pinBoard []journal.Pin

func (b *pinBoard) Pins(context.Context, farshore.MachineID) ([]journal.Pin, error) { return *b, nil }

func (b *pinBoard) Hold(_ context.Context, p journal.Pin) error {
	*b = append(*b, p)
	return nil
}

func (b *pinBoard) Unpin(_ context.Context, m farshore.MachineID, holder string, at farshore.Position) error {
	*b = slices.DeleteFunc(*b, func(p journal.Pin) bool { return p.Machine == m && p.Holder == holder && p.Place() == at })
	return nil
}

func at(seq farshore.Seq) farshore.Position {
	return farshore.Position{Generation: 1, Epoch: 1, Seq: seq}
}

func TestAPinCarriesItsReasonAndWhoSetItAndOnlyThatIsTakenAway(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	board := &pinBoard{{Machine: "web-01", Position: at(1).String(), Holder: "run-t-1", Time: noon}}
	s := &Service{Pins: board, Now: func() time.Time { return noon }, Points: func(context.Context, farshore.MachineID) ([]farshore.RecoveryPoint, error) {
		return []farshore.RecoveryPoint{{Machine: "web-01", Position: at(1), Time: noon}, {Machine: "web-01", Position: at(2), Time: noon.Add(time.Second)}}, nil
	}}
	as := func(name string) context.Context {
		return context.WithValue(t.Context(), callerKey{}, farshore.Identity{Role: farshore.RoleOperator, Name: name})
	}
	pin := func(who, point, why string) error {
		_, err := s.PinPoint(as(who), connect.NewRequest(&farshorev1.PinPointRequest{Machine: "web-01", Point: point, Why: why}))
		return err
	}
	if err := pin("alice", "", "before the migration"); err != nil {
		t.Fatal(err)
	}
	if p := (*board)[1]; p.Place() != at(2) || p.Holder != "operator-alice" || p.Why != "before the migration" || !p.Time.Equal(noon) {
		t.Errorf("pin %+v", p)
	}
	if err := pin("bob", "g1.e1.s1", "audit"); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"no reason": pin("alice", "", ""), "no such point": pin("alice", "g1.e1.s9", "x"), "no point at all": pin("alice", "soon", "x"),
	} {
		if f, ok := fault.As(err); !ok || f.Code != "FS-6014" {
			t.Errorf("%s: %v", what, err)
		}
	}
	listed, err := s.ListPoints(as("bob"), connect.NewRequest(&farshorev1.ListPointsRequest{Machine: "web-01"}))
	if err != nil || len(listed.Msg.GetPins()) != 3 || listed.Msg.GetPins()[1].GetWhy() != "before the migration" || listed.Msg.GetPins()[1].GetUnix() != noon.Unix() {
		t.Errorf("listed %v, %v", listed, err)
	}
	unpin := func(who, point, of string) (int, error) {
		a, err := s.UnpinPoint(as(who), connect.NewRequest(&farshorev1.UnpinPointRequest{Machine: "web-01", Point: point, Operator: of}))
		if err != nil {
			return 0, err
		}
		return len(a.Msg.GetPins()), nil
	}
	if _, err := unpin("carol", "", ""); err == nil {
		t.Error("somebody without pins has taken some away")
	}
	if _, err := unpin("bob", "g1.e1.s2", ""); err == nil {
		t.Error("a point that somebody else has pinned was unpinned")
	}
	if n, err := unpin("bob", "", "alice"); n != 1 || err != nil {
		t.Errorf("%d pins of alice, %v", n, err)
	}
	if n, err := unpin("bob", "g1.e1.s1", ""); n != 1 || err != nil {
		t.Errorf("%d pins of bob, %v", n, err)
	}
	if len(*board) != 1 || (*board)[0].Holder != "run-t-1" {
		t.Errorf("left %+v; a run's pin stays", *board)
	}
}
