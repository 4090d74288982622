package nodes

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/host"
	"farshore/dataplane/hub"
)

// Listener is who hears of a machine's replication: its workflows.
type Listener interface {
	// Status is the machine's record.
	Status(ctx context.Context, m farshore.MachineID) (activities.Status, error)
	// Observe tells what the nodes report. heard is false if nobody watches the machine's replication now.
	Observe(ctx context.Context, m farshore.MachineID, o activities.Observed) (heard bool, err error)
}

// Reporter tells the workflows how replication is, whenever that changed.
type Reporter struct {
	Hub      Hub
	Listener Listener
	Log      *slog.Logger
	Now      func() time.Time
	// Every is the pause between two looks; 0 means ten seconds.
	Every time.Duration

	machines map[farshore.MachineID]*watched
}

// watched is what the reporter remembers of one machine.
type watched struct {
	told      bool
	last      activities.Observed
	at        time.Time     // when it was told last
	threshold time.Duration // of its policy
	asked     time.Time     // when the policy was asked for last
}

const (
	defaultReportEvery = 10 * time.Second
	// retellAfter bounds how old the RPO in a workflow's search attributes gets while nothing changes.
	retellAfter = 6 * time.Hour
	// askPolicyAfter bounds for how long a changed policy is not noticed.
	askPolicyAfter = 10 * time.Minute
	// silentAfter is how long an agent may be silent until that counts as a reason for being late.
	silentAfter = 2 * time.Minute
)

// Run reports until ctx is done.
func (r *Reporter) Run(ctx context.Context) error {
	every := r.Every
	if every == 0 {
		every = defaultReportEvery
	}
	r.machines = map[farshore.MachineID]*watched{}
	for {
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("replication was not reported to the workflows", "err", err)
		}
		if host.Pause(ctx, every) != nil {
			return nil
		}
	}
}

// look looks at every protected machine once. One that cannot be told does not hold up the others.
func (r *Reporter) look(ctx context.Context) error {
	agents, err := r.Hub.Enrolled(farshore.RoleAgent)
	if err != nil {
		return err
	}
	var first error
	for _, id := range agents {
		if err := r.lookAt(ctx, farshore.MachineID(id.Name)); err != nil && first == nil {
			first = fmt.Errorf("machine %s: %w", id.Name, err)
		}
	}
	return first
}

func (r *Reporter) lookAt(ctx context.Context, m farshore.MachineID) error {
	doc, ok, err := r.Hub.Desired(agent(m))
	if err != nil {
		return err
	}
	if !ok || !doc.GetAgent().GetProtect() {
		delete(r.machines, m)
		return nil
	}
	w := r.machines[m]
	if w == nil {
		w = &watched{}
		r.machines[m] = w
	}
	if now := r.Now(); w.asked.IsZero() || now.Sub(w.asked) > askPolicyAfter {
		status, err := r.Listener.Status(ctx, m)
		if err != nil {
			return err
		}
		w.threshold, w.asked = status.Policy.RPOThreshold(), now
	}
	report, at, ok := r.Hub.Observed(agent(m))
	if !ok {
		return nil
	}
	next := observe(report.GetAgent(), r.Now().Sub(at), r.Now(), w.threshold)
	if next.Protection == "" || w.told && alike(w.last, next) && r.Now().Sub(w.at) < retellAfter {
		return nil
	}
	w.told, err = r.Listener.Observe(ctx, m, next)
	w.last, w.at = next, r.Now()
	return err
}

func alike(a, b activities.Observed) bool {
	return a.Protection == b.Protection && a.Late == b.Late && a.Reason == b.Reason
}

// observe makes of an agent's report what a workflow needs to know. silence is how long ago the report was made. It gives
// nothing while an initial replication is under way: that has a workflow of its own.
func observe(o *farshorev1.AgentObserved, silence time.Duration, now time.Time, threshold time.Duration) activities.Observed {
	var out activities.Observed
	switch o.GetPhase() {
	case farshorev1.AgentPhase_AGENT_PHASE_PROTECTED:
		out.Protection = farshore.Protected
	case farshorev1.AgentPhase_AGENT_PHASE_RESYNCING:
		out.Protection = farshore.Resyncing
	case farshorev1.AgentPhase_AGENT_PHASE_PAUSED:
		out.Protection = farshore.Paused
	case farshorev1.AgentPhase_AGENT_PHASE_STALLED:
		out.Protection = farshore.Stalled
	case farshorev1.AgentPhase_AGENT_PHASE_UNSPECIFIED, farshorev1.AgentPhase_AGENT_PHASE_IDLE,
		farshorev1.AgentPhase_AGENT_PHASE_INITIAL_REPLICATION:
		return out
	}
	if p := o.GetLastPoint(); p != nil {
		out.LastPoint = hub.Point(p)
		age := max(0, now.Sub(out.LastPoint.Time))
		out.RPOSeconds = int64(age / time.Second)
		out.Late = threshold > 0 && age > threshold
	}
	if f := o.GetFaults(); len(f) > 0 && (out.Late || out.Protection == farshore.Stalled) {
		out.Reason = hub.Fault(f[0]).Code + ": " + f[0].GetWhat()
	}
	if silence > silentAfter && out.Late {
		out.Reason = "the mobility agent is silent"
	}
	return out
}
