package rescue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"farshore"
	"farshore/dataplane/mastertarget"
	"farshore/dataplane/sink"
	"farshore/fault"
)

// Attendant answers for the metal: what may be written, and what happens when all was.
type Attendant struct {
	Machine farshore.MachineID // the only one that may come home here
	Console Asker
	Spec    func(context.Context, farshore.MachineID) (farshore.MachineSpec, error)
	Disks   func() ([]Disk, error)
	Started farshore.Firmware // how this metal is started
	Log     *slog.Logger

	mu       sync.Mutex
	answered map[farshore.RunID]answer
}

// Asker is a console.
type Asker interface {
	Say(format string, args ...any)
	Ask(ctx context.Context, question string) (string, error)
}

// answer is what a person said about a mapping.
type answer struct {
	agreed bool
	sinks  []sink.Sink // that were shown
}

// Consent is what package mastertarget asks before it opens disks. It gives the disks to open: a person who has seen what they
// hold has confirmed that it may go. The error is a *fault.Fault: FS-4122 if that person did not agree, FS-4123 for firmware of
// another kind. waits is told while nobody has answered yet.
func (a *Attendant) Consent(ctx context.Context, m mastertarget.Machine, waits func(*fault.Fault)) ([]sink.Sink, error) {
	if m.Machine != a.Machine {
		return nil, a.not(m, fmt.Sprintf("this rescue image was made for machine %s", a.Machine), "build an image for it: farshore-dataplane rescue build")
	}
	spec, err := a.Spec(ctx, m.Machine)
	if err != nil {
		return nil, err
	}
	if spec.Firmware != a.Started {
		return nil, &fault.Fault{
			Code: "FS-4123", Kind: fault.Refused, Subject: "machine " + string(m.Machine),
			What:   fmt.Sprintf("it starts by %s, and this metal was started by %s: the restored disk would not start; nothing was written", name(spec.Firmware), name(a.Started)),
			Remedy: "start the rescue image by " + name(spec.Firmware) + " (see the setup of the firmware), or bring the machine home to other metal",
		}
	}
	if !slices.ContainsFunc(m.Sinks, func(s sink.Sink) bool { return !s.Overwrite }) { // confirmed at the desk
		return m.Sinks, nil
	}
	return a.ask(ctx, m, waits)
}

func name(f farshore.Firmware) string { return strings.ToUpper(string(f)) }

func (a *Attendant) not(m mastertarget.Machine, what, remedy string) error {
	return &fault.Fault{Code: "FS-4122", Kind: fault.Refused, Subject: "machine " + string(m.Machine), What: what, Remedy: remedy}
}

// ask asks once for each run and mapping.
func (a *Attendant) ask(ctx context.Context, m mastertarget.Machine, waits func(*fault.Fault)) ([]sink.Sink, error) {
	a.mu.Lock()
	before, known := a.answered[m.Run]
	a.mu.Unlock()
	if !known || !slices.Equal(before.sinks, m.Sinks) {
		disks, err := a.Disks()
		if err != nil {
			return nil, err
		}
		waits(&fault.Fault{
			Code: "FS-4121", Kind: fault.Transient, Subject: "machine " + string(m.Machine), What: "the mapping of its disks is shown on the console of the metal and waits for a person",
			Remedy: "answer there; or confirm it here: cancel, and start again with overwrite: true in the home file",
		})
		a.Console.Say("\n%s", mapping(m.Machine, m.Sinks, disks))
		word, err := a.Console.Ask(ctx, fmt.Sprintf("What these disks hold is LOST. Type the machine's name, %s, to write them; anything else refuses:", m.Machine))
		if err != nil {
			return nil, err
		}
		before = answer{agreed: word == string(m.Machine), sinks: m.Sinks}
		a.mu.Lock()
		if a.answered == nil {
			a.answered = map[farshore.RunID]answer{}
		}
		a.answered[m.Run] = before
		a.mu.Unlock()
		a.Log.Info("the mapping of disks was answered", "machine", m.Machine, "run", m.Run, "agreed", before.agreed)
	}
	if !before.agreed {
		return nil, a.not(m, "the mapping of its disks was refused at the console of the metal; nothing was written",
			"correct the home file and start again: farshore reprotect start "+string(m.Machine))
	}
	confirmed := slices.Clone(m.Sinks)
	for i := range confirmed {
		confirmed[i].Overwrite = true
	}
	return confirmed, nil
}
