package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"farshore/fault"
)

// Name is what Windows calls the service, and the source of its events.
const Name = "farshore-agent"

// Spec is how the service is set up.
type Spec struct {
	Name, Display, Description string
	Program                    string
	Arguments                  []string
	// Restarts are the pauses before it is started again after its first, second and every further unwanted end. A day
	// without one begins the count anew.
	Restarts []time.Duration
}

// Agent is the service of the mobility agent. It runs as LocalSystem: it opens whole drives and makes shadow copies.
func Agent(program, config string) Spec {
	return Spec{
		Name: Name, Display: "Farshore mobility agent", Description: "Replicates the disks of this machine.",
		Program: program, Arguments: []string{"run", "--config", config},
		Restarts: []time.Duration{5 * time.Second, 30 * time.Second, time.Minute},
	}
}

// State is what a service is about.
type State int

// The states.
const (
	Stopped State = iota
	StartPending
	Running
	StopPending
)

// ErrNone means that there is no such service.
var ErrNone = errors.New("there is no such service")

// Manager is the service control manager of Windows, with the event log's list of sources.
type Manager interface {
	State(name string) (State, error) // or ErrNone
	Create(Spec) error
	Update(Spec) error // of one that exists
	Start(name string) error
	Stop(name string) error // asks; it does not wait
	Delete(name string) error
	AddSource(name string) error // one that is there is no error
	RemoveSource(name string) error
}

// stopWithin is how long a service may take to end.
const stopWithin = 2 * time.Minute

func unchanged(name, what, remedy string, err error) error {
	return &fault.Fault{Code: "FS-1055", Kind: fault.Operator, Subject: "service " + name, What: what, Remedy: remedy, Err: err}
}

const asAdministrator = "run it as an administrator; see: sc query " + Name

// Install sets the service up, or brings one that is there up to date, without starting it. The error is a *fault.Fault
// (FS-1055).
func Install(m Manager, s Spec) error {
	_, err := m.State(s.Name)
	switch {
	case errors.Is(err, ErrNone):
		err = m.Create(s)
	case err == nil:
		err = m.Update(s)
	}
	if err != nil {
		return unchanged(s.Name, "it cannot be set up", asAdministrator, err)
	}
	if err := m.AddSource(s.Name); err != nil {
		return unchanged(s.Name, "it is set up, but the event log does not take its events", asAdministrator, err)
	}
	return nil
}

// Uninstall stops the service, waits for its end, and removes it. Look is called between two looks at it. The error is a
// *fault.Fault (FS-1055).
func Uninstall(ctx context.Context, m Manager, name string, now func() time.Time, look func(context.Context) error) error {
	if err := stop(ctx, m, name, now, look); err != nil && !errors.Is(err, ErrNone) {
		return unchanged(name, "it does not stop, so it was not removed", "end it by hand, then try again; see: sc query "+name, err)
	}
	if err := m.Delete(name); err != nil && !errors.Is(err, ErrNone) {
		return unchanged(name, "it cannot be removed", asAdministrator, err)
	}
	if err := m.RemoveSource(name); err != nil {
		return unchanged(name, "it is removed; its entry in the list of event sources is left", asAdministrator, err)
	}
	return nil
}

func stop(ctx context.Context, m Manager, name string, now func() time.Time, look func(context.Context) error) error {
	for end, asked := now().Add(stopWithin), false; ; {
		state, err := m.State(name)
		if err != nil || state == Stopped {
			return err
		}
		if !asked && state == Running { // one that is starting takes no orders yet
			if err := m.Stop(name); err != nil {
				return err
			}
			asked = true
		}
		if !now().Before(end) {
			return fmt.Errorf("it was asked to stop and has not within %v", stopWithin)
		}
		if err := look(ctx); err != nil {
			return err
		}
	}
}
