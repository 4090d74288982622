package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"farshore/fault"
)

// computer is a service control manager by script. It notes what is asked of it.
type computer struct {
	services map[string]*installed
	sources  map[string]bool
	calls    []string
	fail     map[string]error // by call
	stopsIn  int              // looks at the state until a stopped service has ended; -1: never
}

type installed struct {
	spec  Spec
	state State
	looks int
}

func newComputer() *computer {
	return &computer{services: map[string]*installed{}, sources: map[string]bool{}, fail: map[string]error{}, stopsIn: 2}
}

func (c *computer) call(name string) error {
	c.calls = append(c.calls, name)
	return c.fail[name]
}

func (c *computer) State(name string) (State, error) {
	s := c.services[name]
	if s == nil {
		return Stopped, ErrNone
	}
	if s.state == StopPending {
		if s.looks++; s.looks > c.stopsIn && c.stopsIn >= 0 {
			s.state = Stopped
		}
	}
	if s.state == StartPending {
		if s.looks++; s.looks > 2 {
			s.state, s.looks = Running, 0
		}
	}
	return s.state, nil
}

func (c *computer) Create(s Spec) error {
	if c.services[s.Name] != nil {
		return errors.New("it exists")
	}
	c.services[s.Name] = &installed{spec: s}
	return c.call("create")
}

func (c *computer) Update(s Spec) error {
	c.services[s.Name].spec = s
	return c.call("update")
}

func (c *computer) Start(name string) error {
	c.services[name].state = Running
	return c.call("start")
}

func (c *computer) Stop(name string) error {
	if c.services[name].state != Running {
		return errors.New("it takes no orders now")
	}
	c.services[name].state = StopPending
	return c.call("stop")
}

func (c *computer) Delete(name string) error {
	if s := c.services[name]; s == nil {
		return ErrNone
	} else if s.state != Stopped {
		return errors.New("it runs")
	}
	delete(c.services, name)
	return c.call("delete")
}

func (c *computer) AddSource(name string) error {
	c.sources[name] = true
	return c.call("source")
}

func (c *computer) RemoveSource(name string) error {
	delete(c.sources, name)
	return c.call("no source")
}

func TestInstallingAgainBringsTheServiceUpToDate(t *testing.T) {
	c := newComputer()
	if err := Install(c, Agent(`C:\old\farshore-agent.exe`, `C:\a.yaml`)); err != nil {
		t.Fatal(err)
	}
	spec := Agent(`C:\Program Files\Farshore\farshore-agent.exe`, `C:\ProgramData\Farshore\agent.yaml`)
	if err := Install(c, spec); err != nil {
		t.Fatal(err)
	}
	if want := []string{"create", "source", "update", "source"}; !slices.Equal(c.calls, want) {
		t.Errorf("calls %v, want %v", c.calls, want)
	}
	if !reflect.DeepEqual(c.services[Name].spec, spec) || len(spec.Restarts) < 3 || !c.sources[Name] {
		t.Errorf("the service: %+v", c.services[Name])
	}
}

func TestUninstallingWaitsForTheEndAndLeavesNothing(t *testing.T) {
	for name, state := range map[string]State{"stopped": Stopped, "running": Running, "starting": StartPending, "stopping": StopPending} {
		synctest.Test(t, func(t *testing.T) {
			c := newComputer()
			if err := Install(c, Agent("p", "c")); err != nil {
				t.Fatal(err)
			}
			c.services[Name].state = state
			if err := Uninstall(t.Context(), c, Name, time.Now, pause); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(c.services) != 0 || len(c.sources) != 0 {
				t.Errorf("%s: left %v, %v", name, c.services, c.sources)
			}
			if err := Uninstall(t.Context(), c, Name, time.Now, pause); err != nil {
				t.Errorf("%s, again: %v", name, err)
			}
		})
	}
}

// pause is what passes between two looks at a service.
func pause(ctx context.Context) error {
	time.Sleep(time.Second)
	return ctx.Err()
}

func TestAServiceThatDoesNotStopIsNotRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newComputer()
		c.stopsIn = -1
		if err := Install(c, Agent("p", "c")); err != nil {
			t.Fatal(err)
		}
		c.services[Name].state = Running
		err := Uninstall(t.Context(), c, Name, time.Now, pause)
		if f, ok := fault.As(err); !ok || f.Code != "FS-1055" || !strings.Contains(fmt.Sprint(err), "does not stop") {
			t.Errorf("Uninstall = %v", err)
		}
		if slices.Contains(c.calls, "delete") {
			t.Error("it was deleted while it ran")
		}
	})
}

func TestWhatWindowsRefusesIsAFault(t *testing.T) {
	denied := errors.New("access is denied")
	for _, call := range []string{"create", "source", "stop", "delete", "no source"} {
		c := newComputer()
		c.fail[call] = denied
		err := Install(c, Agent("p", "c"))
		if err == nil {
			c.services[Name].state = Running
			err = Uninstall(t.Context(), c, Name, time.Now, func(context.Context) error { return nil })
		}
		if f, ok := fault.As(err); !ok || f.Code != "FS-1055" || !errors.Is(err, denied) {
			t.Errorf("%s fails: %v", call, err)
		}
	}
}

// life runs Serve under a script and gives what it reported.
func life(t *testing.T, run func(context.Context) error, script func(controls chan<- Control)) (told []Status, code uint32) {
	t.Helper()
	controls := make(chan Control)
	go script(controls)
	code = Serve(t.Context(), controls, func(s Status) { told = append(told, s) }, run)
	return told, code
}

func TestAServiceStopsWhenItIsToldAndSaysThatItGoesOn(t *testing.T) {
	for _, how := range []Control{Stop, Shutdown} {
		synctest.Test(t, func(t *testing.T) {
			told, code := life(t, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(7 * time.Second) // it drains
				return nil
			}, func(controls chan<- Control) {
				controls <- Interrogate
				controls <- how
				controls <- how // asked twice
				time.Sleep(3 * time.Second)
				controls <- Interrogate
			})
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			if told[0].State != StartPending || told[1] != (Status{State: Running, Accepts: true}) || told[2] != told[1] {
				t.Errorf("the beginning: %+v", told[:3])
			}
			grown := uint32(0)
			for _, s := range told[3:] {
				if s.State != StopPending || s.Accepts || s.WaitHint <= checkEvery || s.CheckPoint < grown {
					t.Errorf("while it ends: %+v", s)
				}
				grown = s.CheckPoint
			}
			if grown < 3 {
				t.Errorf("%d check points in seven seconds", grown)
			}
		})
	}
}

func TestAnEndThatNobodyWantedIsAFailureForWindows(t *testing.T) {
	for name, err := range map[string]error{"with an error": errors.New("no disks"), "without one": nil} {
		synctest.Test(t, func(t *testing.T) {
			told, code := life(t, func(context.Context) error { return err }, func(chan<- Control) {})
			if code == 0 || told[len(told)-1].State != StopPending {
				t.Errorf("%s: code %d, %+v", name, code, told)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // told to stop, it ends badly
		_, code := life(t, func(ctx context.Context) error { <-ctx.Done(); return errors.New("cannot save") }, func(c chan<- Control) { c <- Stop })
		if code == 0 {
			t.Error("an error at the end is not said")
		}
	})
}

// eventLog keeps events.
type eventLog []string

func (l *eventLog) add(kind, text string) error {
	*l = append(*l, kind+" "+text)
	return nil
}

func (l *eventLog) Info(_ uint32, text string) error    { return l.add("info", text) }
func (l *eventLog) Warning(_ uint32, text string) error { return l.add("warning", text) }
func (l *eventLog) Error(_ uint32, text string) error   { return l.add("error", text) }

func TestFactsBecomeEventsOfTheirLevel(t *testing.T) {
	var l eventLog
	log := NewLog(&l)
	log.Info("session open", "server", "hq-1")
	log.With("disk", "serial-1").Warn("a disk is copied again", "bytes", 7)
	log.WithGroup("at").Error("the agent ended", slog.Int("code", 1))
	log.Debug("no event")
	want := eventLog{`info msg="session open" server=hq-1`, `warning msg="a disk is copied again" disk=serial-1 bytes=7`, `error msg="the agent ended" at.code=1`}
	if !slices.Equal(l, want) {
		t.Errorf("events %q, want %q", l, want)
	}
}
