package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Pin keeps a recovery point: whatever retention says, what it needs stays until the pin is taken away. It is not signed:
// the worst that a false one does is to keep something.
type Pin struct {
	Version  int                `json:"version"`
	Machine  farshore.MachineID `json:"machine"`
	Position string             `json:"position"`
	Holder   string             `json:"holder"` // [HolderOf] a run for as long as it reads, operator-NAME for a person
	Why      string             `json:"why,omitempty"`
	Time     time.Time          `json:"time"`
}

// HolderOf names the pins of a run.
func HolderOf(run farshore.RunID) string { return "run-" + string(run) }

// Place is the position of the pin; zero if it cannot be read.
func (p Pin) Place() farshore.Position {
	at, _ := farshore.ParsePosition(p.Position)
	return at
}

// Hold writes a pin and then looks whether it came in time: if a cut that is published lets go of something that the point
// needs, the pin is taken away again and refused (FS-3532).
func (r Reader) Hold(ctx context.Context, p Pin) error {
	p.Version = Version
	at, err := farshore.ParsePosition(p.Position)
	if err != nil {
		return err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write a pin: %w", err)
	}
	if _, err := put(ctx, r.Store, chain.PinName(p.Machine, p.Holder, at), append(body, '\n')); err != nil { // Other: the holder has pinned it before
		return fmt.Errorf("pin %v of machine %s: %w", at, p.Machine, err)
	}
	cut, err := r.Cut(ctx, p.Machine, at.Generation)
	if err != nil {
		return err
	}
	gone, err := r.claims().gone(ctx, chain.Stream{Vault: r.Vault, Machine: p.Machine, Generation: at.Generation})
	if err != nil {
		return err
	}
	if !gone && (cut == nil || cut.Holds(at)) {
		return nil
	}
	if err := r.Unpin(ctx, p.Machine, p.Holder, at); err != nil {
		return err
	}
	return &fault.Fault{
		Code: "FS-3532", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s, point %v", p.Machine, at),
		What: "retention is about to remove what it needs", Remedy: "choose another recovery point: farshore point list " + string(p.Machine),
	}
}

// LetGo takes all pins of a holder on a machine's points away.
func (r Reader) LetGo(ctx context.Context, m farshore.MachineID, holder string) error {
	prefix := chain.PinPrefix(m) + holder + "-"
	entries, err := list(ctx, r.Store, prefix)
	if err != nil {
		return fmt.Errorf("list the pins of machine %s: %w", m, err)
	}
	for _, e := range entries {
		p, err := farshore.ParsePosition(strings.TrimSuffix(strings.TrimPrefix(e.Name, prefix), ".json"))
		if err != nil {
			continue // of another holder, whose name begins like this one's
		}
		if err := r.Unpin(ctx, m, holder, p); err != nil {
			return err
		}
	}
	return nil
}

// Unpin takes one pin of a holder away; it is no error if there is none.
func (r Reader) Unpin(ctx context.Context, m farshore.MachineID, holder string, p farshore.Position) error {
	_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, r.Store.Delete(ctx, chain.PinName(m, holder, p)) })
	if err != nil {
		return fmt.Errorf("take the pin on %v of machine %s away: %w", p, m, err)
	}
	return nil
}

// Pins lists the pins on a machine's points. One that cannot be read is a fault (FS-3533): nothing may be removed while
// nobody knows what it holds.
func (r Reader) Pins(ctx context.Context, m farshore.MachineID) ([]Pin, error) {
	entries, err := list(ctx, r.Store, chain.PinPrefix(m))
	if err != nil {
		return nil, fmt.Errorf("list the pins of machine %s: %w", m, err)
	}
	var pins []Pin
	for _, e := range entries {
		body, found, err := get(ctx, r.Store, e.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name, err)
		}
		if !found {
			continue
		}
		p, err := readPin(m, e, body)
		if err != nil {
			return nil, err
		}
		pins = append(pins, p)
	}
	return pins, nil
}

func readPin(m farshore.MachineID, e vault.Entry, body []byte) (Pin, error) {
	var p Pin
	err := decodeStrict(body, &p)
	if err == nil && (p.Version != Version || p.Machine != m || p.Place().IsZero() || chain.PinName(m, p.Holder, p.Place()) != e.Name) {
		err = fmt.Errorf("version %d, made for %s of machine %s", p.Version, p.Position, p.Machine)
	}
	if err != nil {
		return Pin{}, &fault.Fault{
			Code: "FS-3533", Kind: fault.Operator, Subject: e.Name, What: "the pin cannot be read, so nothing of the machine is removed",
			Remedy: "look at the object; remove it if nobody needs it", Err: err,
		}
	}
	return p, nil
}
