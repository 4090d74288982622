package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"farshore"
	"farshore/dataplane/disk"
)

// image is an agent's folders as an image of its machine holds them, run directory and all.
func image(t *testing.T) Deps {
	t.Helper()
	dir := t.TempDir()
	d := Deps{
		Machine: "web-01", Body: "metal", StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), PinDir: filepath.Join(dir, "pins"),
		Sources: func() ([]disk.Source, error) { return nil, nil }, Log: slog.New(slog.DiscardHandler),
	}
	a := settled(t, d)
	a.state.Session, a.state.CutNumber, a.state.NewGeneration = 17, 5, true
	if _, err := a.state.cookie(); err != nil {
		t.Fatal(err)
	}
	run := runState{Boot: "b", Generation: 2, Disks: map[farshore.DiskID]diskRun{"sda": {Era: "e-17", Sectors: 4096, Joined: true}}}
	if err := errors.Join(a.state.save(), writeJSON(filepath.Join(d.RunDir, runFile), run)); err != nil {
		t.Fatal(err)
	}
	return d
}

func settled(t *testing.T, d Deps) *Agent {
	t.Helper()
	a := New(d)
	if err := a.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := a.lock.Close(); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnotherBodyOfTheMachineKeepsNothingOfItsPredecessor(t *testing.T) {
	d := image(t)
	former := settled(t, d).Observe()
	if former.CutNumber != 5 {
		t.Fatalf("the agent that goes on observes %+v", former)
	}
	forgotten := 0
	d.Moved = func() error { forgotten++; return nil }
	d.Body = "vm"
	heir := settled(t, d)
	o := heir.Observe()
	if o.Instance == former.Instance || o.Instance == "" || o.CutNumber != 0 || heir.state.Session != 0 || heir.state.NewGeneration || len(heir.state.Cookie) > 0 {
		t.Errorf("in another body: %+v, state %+v", o, heir.state)
	}
	if _, err := os.Stat(filepath.Join(d.RunDir, runFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was tracked is still there: %v", err)
	}
	if again := settled(t, d).Observe(); again.Instance != o.Instance || forgotten != 1 {
		t.Errorf("started again it is %s, was %s; moved %d times", again.Instance, o.Instance, forgotten)
	}
}

func TestAnAgentThatCannotForgetItsPredecessorStaysOutOfItsPlace(t *testing.T) {
	d := image(t)
	d.Body, d.Moved = "vm", func() error { return errors.New("no") }
	if err := New(d).Settle(); err == nil {
		t.Error("it settled")
	}
	former := settled(t, Deps{StateDir: d.StateDir, RunDir: d.RunDir, Body: "metal", Log: d.Log})
	if former.state.Session != 17 {
		t.Errorf("the state was given up: %+v", former.state)
	}
}

func TestTheFirstVersionOfTheStateSaysNothingOfTheBody(t *testing.T) {
	d := image(t)
	former := settled(t, d)
	former.state.Version, former.state.Body = 1, ""
	if err := former.state.save(); err != nil {
		t.Fatal(err)
	}
	if a := settled(t, d); a.state.Instance != former.state.Instance || a.state.Body != "metal" || a.state.Version != stateVersion {
		t.Errorf("state %+v", a.state)
	}
}

func TestABodyThatIsNotWantedRestsAndSaysSo(t *testing.T) {
	d := image(t)
	synctest.Test(t, func(t *testing.T) {
		a := New(d)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		synctest.Wait()
		a.Desire(Desired{Instance: "another", Protect: true, Disks: []farshore.DiskID{"sda"}})
		synctest.Wait()
		o := a.Observe()
		if o.Phase != Idle || len(o.Faults) != 1 || o.Faults[0].Code != "FS-1021" {
			t.Errorf("observed %+v", o)
		}
		a.Desire(Desired{Instance: a.state.Instance, Protect: false})
		synctest.Wait()
		if o := a.Observe(); len(o.Faults) != 0 {
			t.Errorf("named, it still says %v", o.Faults)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
