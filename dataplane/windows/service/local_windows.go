package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

// calmSeconds without an unwanted end begin the count of restarts anew.
const calmSeconds = 24 * 60 * 60

// local is the service control manager of this machine.
type local struct{ *mgr.Mgr }

// Open connects to the service control manager of this machine. It needs an administrator.
func Open() (m Manager, closer func() error, err error) {
	connected, err := mgr.Connect()
	if err != nil {
		return nil, nil, unchanged(Name, "the service control manager cannot be reached", asAdministrator, err)
	}
	return local{connected}, connected.Disconnect, nil
}

// with opens a service for one thing.
func (l local) with(name string, do func(*mgr.Service) error) error {
	s, err := l.OpenService(name)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return ErrNone
	}
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

func (l local) State(name string) (state State, err error) {
	err = l.with(name, func(s *mgr.Service) error {
		status, err := s.Query()
		if err != nil {
			return err
		}
		switch status.State {
		case svc.Stopped:
			state = Stopped
		case svc.StartPending, svc.ContinuePending:
			state = StartPending
		case svc.StopPending:
			state = StopPending
		case svc.Running, svc.Paused, svc.PausePending:
			state = Running
		}
		return nil
	})
	return state, err
}

func (l local) Create(spec Spec) error {
	s, err := l.CreateService(spec.Name, spec.Program, configOf(spec), spec.Arguments...)
	if err != nil {
		return err
	}
	return errors.Join(restarts(s, spec), s.Close())
}

func (l local) Update(spec Spec) error {
	return l.with(spec.Name, func(s *mgr.Service) error {
		c := configOf(spec)
		quoted := []string{windows.EscapeArg(spec.Program)}
		for _, a := range spec.Arguments {
			quoted = append(quoted, windows.EscapeArg(a))
		}
		c.BinaryPathName = strings.Join(quoted, " ")
		return errors.Join(s.UpdateConfig(c), restarts(s, spec))
	})
}

// configOf sets up a process of its own that runs as LocalSystem and starts with the machine, behind what is more urgent.
func configOf(spec Spec) mgr.Config {
	return mgr.Config{
		ServiceType: windows.SERVICE_WIN32_OWN_PROCESS, StartType: mgr.StartAutomatic, ErrorControl: mgr.ErrorNormal,
		DisplayName: spec.Display, Description: spec.Description, DelayedAutoStart: true,
	}
}

func restarts(s *mgr.Service, spec Spec) error {
	var actions []mgr.RecoveryAction
	for _, pause := range spec.Restarts {
		actions = append(actions, mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: pause})
	}
	if err := s.SetRecoveryActions(actions, calmSeconds); err != nil {
		return fmt.Errorf("set the restarts: %w", err)
	}
	if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil {
		return fmt.Errorf("set the restarts: %w", err)
	}
	return nil
}

func (l local) Start(name string) error {
	return l.with(name, func(s *mgr.Service) error { return s.Start() })
}

func (l local) Stop(name string) error {
	return l.with(name, func(s *mgr.Service) error {
		_, err := s.Control(svc.Stop)
		if errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
			return nil
		}
		return err
	})
}

func (l local) Delete(name string) error {
	return l.with(name, func(s *mgr.Service) error { return s.Delete() })
}

const sources = `SYSTEM\CurrentControlSet\Services\EventLog\Application\`

func (l local) AddSource(name string) error {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, sources+name, registry.QUERY_VALUE)
	if err == nil {
		return key.Close()
	}
	return eventlog.InstallAsEventCreate(name, eventlog.Info|eventlog.Warning|eventlog.Error)
}

func (l local) RemoveSource(name string) error {
	err := eventlog.Remove(name)
	if errors.Is(err, registry.ErrNotExist) {
		return nil
	}
	return err
}

// Started reports whether this process was started as a service.
func Started() (bool, error) { return svc.IsWindowsService() }

// Run gives this process to Windows as the service: run is its life, with the event log to write to.
func Run(ctx context.Context, run func(context.Context, *slog.Logger) error) error {
	log, err := eventlog.Open(Name)
	if err != nil {
		return fmt.Errorf("open the event log: %w", err)
	}
	h := &handler{ctx: ctx, log: NewLog(log), run: run}
	return errors.Join(svc.Run(Name, h), log.Close())
}

// handler stands between Windows and Serve.
type handler struct {
	ctx context.Context //nolint:containedctx // the interface has no room for it
	log *slog.Logger
	run func(context.Context, *slog.Logger) error
}

var states = map[State]svc.State{Stopped: svc.Stopped, StartPending: svc.StartPending, Running: svc.Running, StopPending: svc.StopPending}

// Execute is called by Windows; it reports that the service has stopped when it returns.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, changes chan<- svc.Status) (ours bool, code uint32) {
	controls, done := make(chan Control), make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		pass(requests, controls, done)
	}()
	code = Serve(h.ctx, controls, func(s Status) {
		status := svc.Status{State: states[s.State], CheckPoint: s.CheckPoint, WaitHint: uint32(s.WaitHint / time.Millisecond)}
		if s.Accepts {
			status.Accepts = svc.AcceptStop | svc.AcceptShutdown
		}
		changes <- status
	}, func(ctx context.Context) error {
		err := h.run(ctx, h.log)
		if err != nil {
			h.log.Error("the agent ended", "err", err)
		}
		return err
	})
	close(done)
	<-passed
	return true, code
}

// pass translates controls until done.
func pass(requests <-chan svc.ChangeRequest, controls chan<- Control, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case r := <-requests:
			c := Interrogate
			switch r.Cmd {
			case svc.Stop:
				c = Stop
			case svc.Shutdown, svc.PreShutdown:
				c = Shutdown
			}
			select {
			case controls <- c:
			case <-done:
				return
			}
		}
	}
}
