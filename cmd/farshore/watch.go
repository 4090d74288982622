package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// patience is how long a watch goes on while the configuration server does not answer.
const patience = 10 * time.Minute

// The states of a run and of its steps, as the API writes them, and one of ours: a test failover that waits for cleanup.
const (
	running   = "running"
	completed = "completed"
	failed    = "failed"
	cancelled = "cancelled"
	standing  = "standing"
)

// screen shows how far a run is.
type screen interface {
	show(headline string, steps []*farshorev1.Step)
	say(line string)
	close()
}

// watch is one look after the other at a run, until it ends.
type watch struct {
	id        string // of the run or of its workflow
	toEnd     bool   // a test failover that stands is not the end
	cancelled bool   // to be cancelled is what the run is wanted to be
}

// watched is how a run was when it was looked at last.
type watched struct {
	*farshorev1.GetRunResponse
	status string
}

// follow watches a run and shows its progress. It gives the run as it was seen last, and an error unless the run came to a
// good end: the run's own fault, or FS-9004 if the watching was interrupted. The run itself is never touched.
func (t *tool) follow(ctx context.Context, s *server, w watch) (watched, error) {
	screen := t.screen()
	defer screen.close()
	var last watched
	var silentSince time.Time
	for {
		seen, err := s.look(ctx, w)
		switch {
		case ctx.Err() != nil:
			return last, detached(w.id)
		case err == nil:
			last, silentSince = seen, time.Time{}
			screen.show(headline(seen.GetRun()), seen.GetSteps())
		case fault.ExitCode(err) != fault.ExitUnreachable:
			return last, err
		case silentSince.IsZero():
			silentSince = t.now()
			screen.say("no answer; the run goes on, and so does the watching: " + err.Error())
		case t.now().Sub(silentSince) > patience:
			return last, err
		}
		if err == nil && last.status != running {
			return last, w.ending(last)
		}
		t.rest(ctx)
	}
}

// rest waits between two looks.
func (t *tool) rest(ctx context.Context) {
	pause := time.NewTimer(t.lookEvery)
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
}

// look asks how far the run is. A test failover that stands is told apart from one that is on its way.
func (s *server) look(ctx context.Context, w watch) (watched, error) {
	answer, err := ask(ctx, s, s.api.GetRun, &farshorev1.GetRunRequest{Run: w.id})
	if err != nil {
		return watched{}, err
	}
	seen := watched{GetRunResponse: answer, status: answer.GetRun().GetStatus()}
	if w.toEnd || seen.status != running || seen.GetRun().GetOperation() != string(farshore.TestFailover) {
		return seen, nil
	}
	machine, err := s.machine(ctx, seen.GetRun().GetMachine())
	if err != nil {
		return watched{}, err
	}
	for _, d := range machine.GetState().GetDrills() {
		if d.GetPhase() == running && strings.HasSuffix(seen.GetRun().GetWorkflow(), "/"+d.GetRun()) {
			seen.status = standing
		}
	}
	return seen, nil
}

// ending is nil if the run came to the end that was wanted.
func (w watch) ending(last watched) error {
	run := last.GetRun()
	switch last.status {
	case completed, standing:
		return nil
	case cancelled:
		if w.cancelled {
			return nil
		}
	}
	if f := hub.Fault(run.GetFault()); f != nil {
		return f
	}
	if last.status == cancelled {
		return &fault.Fault{
			Code: "FS-7004", Kind: fault.Operator, Subject: "run " + run.GetId(), What: "it was cancelled and taken back", Remedy: "start it again if it is still wanted",
		}
	}
	return &fault.Fault{
		Code: "FS-7002", Kind: fault.Operator, Subject: "run " + run.GetId(), What: fmt.Sprintf("it ended as %q and gave no reason", last.status),
		Remedy: "read workflow " + run.GetWorkflow() + " in the Temporal UI",
	}
}

func detached(id string) error {
	return &fault.Fault{
		Code: "FS-9004", Kind: fault.Transient, Subject: "run " + id, What: "it is no longer watched; it goes on", Remedy: "watch it again: farshore run watch " + id,
	}
}

// headline is a run and what it does now, in one line.
func headline(r *farshorev1.Run) string {
	now, _, _ := strings.Cut(r.GetDetail(), "\n")
	if now = strings.TrimSpace(strings.ReplaceAll(now, "**", "")); now == "" {
		now = r.GetOperation() + " of " + r.GetMachine()
	}
	if r.GetStatus() != running {
		now += " · " + r.GetStatus()
	}
	return now
}

// settle watches a machine until nothing is under way on it.
func (t *tool) settle(ctx context.Context, s *server, name string) (*farshorev1.Machine, error) {
	screen := t.screen()
	defer screen.close()
	for {
		m, err := s.machine(ctx, name)
		if ctx.Err() != nil {
			return nil, errors.New("interrupted; whatever is under way goes on")
		}
		if err != nil {
			return nil, err
		}
		screen.show(machineHeadline(m), copying(m))
		if !underWay(m.GetState()) {
			return m, nil
		}
		t.rest(ctx)
	}
}

// underWay reports whether a machine is in a state that ends by itself.
func underWay(s *farshorev1.MachineState) bool {
	switch farshore.Protection(s.GetProtection()) {
	case farshore.Enabling, farshore.InitialReplication, farshore.Resyncing, farshore.Disabling:
		return true
	case farshore.Unprotected, farshore.Protected, farshore.Paused, farshore.Stalled:
	}
	switch farshore.Location(s.GetLocation()) {
	case farshore.FailingOver, farshore.Cancelling, farshore.Reprotecting, farshore.FailingBack:
		return true
	case farshore.Primary, farshore.CommitPending, farshore.Recovery, farshore.ReverseProtected, farshore.FailbackCommitPending:
	}
	return false
}

func machineHeadline(m *farshorev1.Machine) string {
	return fmt.Sprintf("%s · %s · at %s", m.GetId(), m.GetState().GetProtection(), m.GetState().GetLocation())
}

// copying shows a full copy or a resync as a step.
func copying(m *farshorev1.Machine) []*farshorev1.Step {
	r := m.GetReplication()
	if r.GetCopyTotalBytes() == 0 {
		return nil
	}
	step := &farshorev1.Step{Name: "copy", Summary: "Copy the disks", Status: running, TotalBytes: r.GetCopyTotalBytes(), DoneBytes: r.GetCopyDoneBytes()}
	if step.GetDoneBytes() >= step.GetTotalBytes() {
		step.Status = completed
	}
	return []*farshorev1.Step{step}
}
