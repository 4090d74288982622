package operator

import (
	"cmp"
	"context"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/fault"
)

// Pins keeps recovery points, whatever retention says. A journal.Reader is it.
type Pins interface {
	Pins(context.Context, farshore.MachineID) ([]journal.Pin, error)
	Hold(context.Context, journal.Pin) error
	Unpin(context.Context, farshore.MachineID, string, farshore.Position) error
}

// holderOf names the pins of an operator, as farshore-restore does.
func holderOf(operator string) string { return "operator-" + operator }

// PinPoint keeps a recovery point in the name of the operator who asks.
func (s *Service) PinPoint(ctx context.Context, q *connect.Request[farshorev1.PinPointRequest]) (*connect.Response[farshorev1.PinPointResponse], error) {
	id, err := farshore.ParseMachineID(q.Msg.GetMachine())
	if err != nil {
		return nil, err
	}
	selector, err := farshore.ParseSelector(cmp.Or(q.Msg.GetPoint(), "latest"))
	if err != nil {
		return nil, badPin(id, err.Error(), "see: farshore point list "+string(id))
	}
	if q.Msg.GetWhy() == "" {
		return nil, badPin(id, "a pin says why it is there", "give the reason")
	}
	points, err := s.Points(ctx, id)
	if err != nil {
		return nil, err
	}
	point, ok := selector.Choose(points)
	if !ok {
		return nil, badPin(id, "it has no such recovery point", "see: farshore point list "+string(id))
	}
	pin := journal.Pin{
		Machine: id, Position: point.Position.String(), Holder: holderOf(caller(ctx).Name), Why: q.Msg.GetWhy(), Time: s.Now().UTC(),
	}
	if err := s.Pins.Hold(ctx, pin); err != nil {
		return nil, err
	}
	return connect.NewResponse(&farshorev1.PinPointResponse{Pin: pinMessage(pin)}), nil
}

// UnpinPoint leaves points to retention again: those that an operator has pinned, never those of runs.
func (s *Service) UnpinPoint(ctx context.Context, q *connect.Request[farshorev1.UnpinPointRequest]) (*connect.Response[farshorev1.UnpinPointResponse], error) {
	id, err := farshore.ParseMachineID(q.Msg.GetMachine())
	if err != nil {
		return nil, err
	}
	var only farshore.Position
	if q.Msg.GetPoint() != "" {
		if only, err = farshore.ParsePosition(q.Msg.GetPoint()); err != nil {
			return nil, badPin(id, err.Error(), "see: farshore point list "+string(id))
		}
	}
	pins, err := s.Pins.Pins(ctx, id)
	if err != nil {
		return nil, err
	}
	holder := holderOf(cmp.Or(q.Msg.GetOperator(), caller(ctx).Name))
	answer := &farshorev1.UnpinPointResponse{}
	for _, p := range pins {
		if p.Holder != holder || !only.IsZero() && p.Place() != only {
			continue
		}
		if err := s.Pins.Unpin(ctx, id, holder, p.Place()); err != nil {
			return nil, err
		}
		answer.Pins = append(answer.Pins, pinMessage(p))
	}
	if len(answer.GetPins()) == 0 {
		return nil, badPin(id, "there is no such pin of "+holder, "see: farshore point list "+string(id))
	}
	return connect.NewResponse(answer), nil
}

func badPin(id farshore.MachineID, what, remedy string) error {
	return &fault.Fault{Code: "FS-6014", Kind: fault.Refused, Subject: "machine " + string(id), What: what, Remedy: remedy}
}

func pinMessage(p journal.Pin) *farshorev1.Pin {
	return &farshorev1.Pin{Position: hub.PositionMessage(p.Place()), Holder: p.Holder, Why: p.Why, Unix: unix(p.Time)}
}
