package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/readiness"
)

// watching is a watch over findings that a test changes.
type watching struct {
	*readinessWatch
	found   []readiness.Finding
	err     error
	looks   int
	changes int
}

func watchOver(t *testing.T, dir string) *watching {
	t.Helper()
	w := &watching{}
	w.readinessWatch = &readinessWatch{
		dir: dir, now: time.Now, log: slog.New(slog.DiscardHandler), changed: func() { w.changes++ },
		look: func() (examined, error) { w.looks++; return examined{findings: w.found}, w.err },
	}
	return w
}

func (w *watching) reported() *farshorev1.AgentObserved {
	o := &farshorev1.AgentObserved{}
	w.put(o)
	return o
}

// run runs the watch until the end of the test's bubble.
func (w *watching) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

var (
	noFallback = readiness.Finding{Code: readiness.EFIFallback, Severity: readiness.Blocks, Targets: []readiness.Target{readiness.Azure, readiness.KVM}, Subject: "/boot/efi"}
	byName     = readiness.Finding{Code: readiness.FstabDeviceName, Severity: readiness.Blocks, Targets: readiness.Targets(), Subject: "/etc/fstab:1", Fixable: true}
)

func TestFindingsAreLookedForEveryHourAndKeepTheirAge(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := watchOver(t, dir)
		if w.reported().ReadinessUnix != 0 {
			t.Error("something was reported before the first look")
		}
		w.found = []readiness.Finding{noFallback}
		begin := time.Now().Unix()
		stop := w.run(t)
		if o := w.reported(); len(o.Readiness) != 1 || o.Readiness[0].SinceUnix != begin || o.Readiness[0].Targets[1] != "kvm" || w.changes != 1 {
			t.Errorf("after the first look: %v, %d changes", o, w.changes)
		}
		w.found = []readiness.Finding{noFallback, byName}
		time.Sleep(time.Hour)
		synctest.Wait()
		o := w.reported()
		if w.looks != 2 || w.changes != 2 || len(o.Readiness) != 2 || o.Readiness[0].SinceUnix != begin || o.Readiness[1].SinceUnix != begin+3600 {
			t.Errorf("after an hour: %v, %d looks, %d changes", o, w.looks, w.changes)
		}
		about, err := os.Stat(dir + "/" + sinceFile)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		again, err := os.Stat(dir + "/" + sinceFile)
		if err != nil || !os.SameFile(about, again) || w.changes != 2 {
			t.Errorf("nothing changed, and it was written or told all the same: %v, %d changes", err, w.changes)
		}
		stop()

		restarted := watchOver(t, dir)
		restarted.found = []readiness.Finding{byName}
		defer restarted.run(t)()
		if o := restarted.reported(); len(o.Readiness) != 1 || o.Readiness[0].SinceUnix != begin+3600 || restarted.changes != 1 {
			t.Errorf("after a restart: %v", o)
		}
	})
}

func TestALookThatFailsLeavesWhatWasFoundBefore(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := watchOver(t, dir)
		w.found = []readiness.Finding{noFallback}
		defer w.run(t)()
		first := w.reported().ReadinessUnix
		w.err = errors.New("no root")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if o := w.reported(); len(o.Readiness) != 1 || o.ReadinessUnix != first || w.looks != 3 {
			t.Errorf("reported %v after %d looks", o, w.looks)
		}
	})
}

func TestASystemThatCannotBeLookedAtReportsNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := watchOver(t, dir)
		w.err = errNoExamination
		if err := w.Run(t.Context()); err != nil || w.reported().ReadinessUnix != 0 {
			t.Errorf("%v, %v", err, w.reported())
		}
	})
}

func TestAgesThatCannotBeReadBeginAnew(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+sinceFile, []byte(`{"version":9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := watchOver(t, dir)
		w.found = []readiness.Finding{noFallback}
		defer w.run(t)()
		if o := w.reported(); len(o.Readiness) != 1 || o.Readiness[0].SinceUnix != time.Now().Unix() {
			t.Errorf("reported %v", o)
		}
	})
}
