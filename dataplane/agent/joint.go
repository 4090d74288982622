package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/group"
	"farshore/dataplane/journal"
	"farshore/dataplane/session"
	"farshore/fault"
)

// A joint cut is this machine's part in a round of its group: the file systems are frozen, that is said, the stream is cut when the
// leader says MARK, and the part is signed when the marker is durable. Others ask for it (package peers does) while the sending loop
// works; what they ask for is taken by the loop between two of its steps.

// Bounds of a joint cut.
const (
	jointFreeze = 6 * time.Second // file systems are held no longer for it, whatever becomes of the leader
	jointWait   = 4 * time.Second // for MARK
)

// joint is a round that the machine takes part in.
type joint struct {
	group  farshore.GroupID
	round  farshore.Round
	leader farshore.MachineID

	asked group.Kind    // under the agent's lock: not yet taken up by the sending loop; "": nothing
	begun bool          // under the agent's lock: the sending loop has begun to hold the machine
	mark  chan struct{} // closed when the leader has said MARK
	over  chan struct{} // closed when the round has ended

	answers map[group.Kind]chan answered // one of each kind, with room for one
	held    time.Duration
}

// answered is what came of something asked.
type answered struct {
	part []byte
	err  error
}

func newJoint(d group.Do) *joint {
	j := &joint{group: d.Group, round: d.Round, leader: d.Leader, mark: make(chan struct{}), over: make(chan struct{}), answers: map[group.Kind]chan answered{}}
	for _, k := range []group.Kind{group.Ready, group.Frozen, group.Marked, group.Sealed} {
		j.answers[k] = make(chan answered, 1)
	}
	return j
}

// tell answers what was asked, once.
func (j *joint) tell(k group.Kind, part []byte, err error) {
	select {
	case j.answers[k] <- answered{part, err}:
	default:
	}
}

// fail answers whatever is asked, or will be.
func (j *joint) fail(err error) {
	for k := range j.answers {
		j.tell(k, nil, err)
	}
}

// Able says why the machine can have no part in a group's point now; "": it can.
func (a *Agent) Able() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o := a.observed; {
	case a.deps.Snapshots != nil:
		return "its file systems cannot be held still on this system"
	case o.Holding:
		return "it is at rest"
	case o.Phase != Protected:
		return fmt.Sprintf("its replication is in phase %s", o.Phase)
	case a.point != nil:
		return "the point of the round before is not in the vault yet"
	}
	return ""
}

// Do does what a round asks of the machine, and waits until it is done or ctx ends.
func (a *Agent) Do(ctx context.Context, d group.Do) ([]byte, error) {
	j, err := a.ask(d)
	if err != nil {
		return nil, err
	}
	select {
	case got := <-j.answers[d.Kind]:
		return got.part, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask leaves a request for the sending loop.
func (a *Agent) ask(d group.Do) (*joint, error) {
	if d.Kind == group.Ready {
		if why := a.Able(); why != "" {
			return nil, errors.New(why)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case d.Kind == group.Ready:
		a.joint = newJoint(d)
	case a.joint == nil || a.joint.round != d.Round:
		return nil, errors.New("its session with the process server has ended meanwhile")
	}
	switch d.Kind {
	case group.Ready, group.Frozen:
		a.joint.asked = d.Kind
		a.pokeLocked()
	case group.Marked:
		close(a.joint.mark)
	case group.Sealed: // the marker's acknowledgement answers it
	case group.Call, group.Freeze, group.Mark, group.Over, group.Refuse:
		panic(fmt.Sprintf("agent: a round asks for %q", d.Kind))
	}
	return a.joint, nil
}

// Abandon lets go whatever a round holds.
func (a *Agent) Abandon(r farshore.Round) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.joint != nil && a.joint.round == r {
		close(a.joint.over)
		a.joint = nil
		a.pokeLocked()
	}
}

// forsake ends the round that the machine is in: the session that would carry its marker has ended.
func (a *Agent) forsake() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.joint != nil {
		a.joint.fail(errors.New("its session with the process server has ended"))
	}
}

// pokeLocked wakes the sending loop, which waits for changes of what is wanted.
func (a *Agent) pokeLocked() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// joined reports whether a round or a point waits for the sending loop.
func (s *sending) joined() bool {
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.joint != nil && a.joint.asked != "" || a.point != nil && s.given != a.point && s.given == nil
}

// expectsFreeze reports whether the machine is ready for a round and will be asked to hold still, which should find the loop at leisure.
func (s *sending) expectsFreeze() bool {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	return s.agent.joint != nil && !s.agent.joint.begun
}

// expect waits for that, or for something else to happen.
func (s *sending) expect(ctx context.Context) error {
	_, changed := s.agent.wish()
	if s.joined() || !s.expectsFreeze() {
		return nil
	}
	timer := time.NewTimer(reportEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-s.news:
	case <-timer.C:
	}
	return ctx.Err()
}

// together does what a round asks for.
func (s *sending) together(ctx context.Context) error {
	if err := s.give(ctx); err != nil {
		return err
	}
	a := s.agent
	a.mu.Lock()
	j, asked := a.joint, group.Kind("")
	if j != nil {
		asked, j.asked = j.asked, ""
		j.begun = j.begun || asked == group.Frozen
	}
	a.mu.Unlock()
	switch asked {
	case group.Ready:
		return s.ready(ctx, j)
	case group.Frozen:
		return s.cutTogether(ctx, j)
	case "", group.Marked, group.Sealed, group.Call, group.Freeze, group.Mark, group.Over, group.Refuse:
	}
	return nil
}

// ready sends what can be sent before the freeze, so that it is short.
func (s *sending) ready(ctx context.Context, j *joint) error {
	systems, err := disk.FileSystems(s.devices()...)
	if err != nil {
		return err
	}
	if s.ordered {
		err = disk.Flush(systems)
	} else {
		for range maxRounds {
			if err = s.settle(ctx, systems); err != nil || s.todoBytes() <= smallRound {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if !s.complete() || s.baseLeft() {
		j.tell(group.Ready, nil, errors.New("a disk of it is being copied"))
		return nil
	}
	j.tell(group.Ready, nil, nil)
	return nil
}

// cutTogether holds the machine, says so, and cuts its stream at the leader's word.
func (s *sending) cutTogether(ctx context.Context, j *joint) error {
	c := &cut{joint: j, ask: ask{marker: true, consistency: farshore.CrashConsistent, label: fmt.Sprintf("group %s, round %d", j.group, j.round)}}
	var t taken
	var end cutEnd
	why, err := s.stillTogether(ctx, j, func() (err error) {
		if !s.ordered {
			return s.take(ctx, &t)
		}
		end, err = s.takeEnd(ctx, &t)
		return err
	})
	if err != nil {
		j.fail(err)
		return err
	}
	if s.ordered {
		return s.cutLogTogether(ctx, j, why, &t, end, c)
	}
	return s.cutWindowTogether(ctx, j, why, &t, c)
}

// cutLogTogether cuts a stream that follows the change log.
func (s *sending) cutLogTogether(ctx context.Context, j *joint, why string, t *taken, end cutEnd, c *cut) error {
	if t.gap != nil {
		j.fail(errors.New("changes may have been missed"))
		return s.missed(t.gap, t.why)
	}
	if lost := t.why + end.broken; lost != "" {
		j.fail(errors.New(lost))
		return s.fallBack(lost)
	}
	if why != "" {
		j.fail(errors.New(why))
		return nil
	}
	j.tell(group.Marked, nil, nil)
	s.lastTry = s.agent.deps.Now()
	return s.cutLog(ctx, end.number, t, c)
}

// cutWindowTogether cuts a stream of rounds and windows. What was read is sent whatever becomes of the round.
func (s *sending) cutWindowTogether(ctx context.Context, j *joint, why string, t *taken, c *cut) error {
	if t.gap != nil {
		j.fail(errors.New("changes may have been missed"))
		if err := s.missed(t.gap, t.why); err != nil {
			return err
		}
	}
	if why == "" && !t.quiet {
		why = t.why
	}
	if why != "" {
		j.fail(errors.New(why))
		return s.sendTaken(ctx, t)
	}
	j.tell(group.Marked, nil, nil)
	if err := s.sendTaken(ctx, t); err != nil {
		return err
	}
	s.lastTry = s.agent.deps.Now()
	return s.sendCut(ctx, t, c)
}

// stillTogether freezes the file systems, says so, and makes the cut at the leader's word. why says what makes the cut worth nothing:
// there was no word, or the machine was not held from before it said so until behind the cut. Held means that the watchdog has let
// nothing go, and that the kernel has counted no write to any disk: what writes past the file systems is not held by them.
func (s *sending) stillTogether(ctx context.Context, j *joint, cut func() error) (why string, err error) {
	systems, err := disk.FileSystems(s.devices()...)
	if err != nil {
		return "", err
	}
	s.agent.deps.Still.Begin()
	defer s.agent.deps.Still.End()
	begun := time.Now()
	if _, err := s.agent.freezer.Freeze(ctx, systems, min(jointFreeze, s.agent.deps.FreezeBound)); err != nil {
		return err.Error(), nil
	}
	var before, after taken
	if err = s.sample(&before); err == nil {
		j.tell(group.Frozen, nil, nil)
		why = j.await(ctx)
		if why == "" {
			err = errors.Join(cut(), s.sample(&after))
		}
	}
	held, terr := s.agent.freezer.Thaw(context.WithoutCancel(ctx))
	j.held = time.Since(begun)
	switch {
	case err != nil || terr != nil || why != "":
	case !held:
		why = "its file systems were let go before its cut"
	default:
		why = unheld(s.sources, before, after)
	}
	return why, errors.Join(err, terr)
}

// await waits for the leader's word.
func (j *joint) await(ctx context.Context) string {
	timer := time.NewTimer(jointWait)
	defer timer.Stop()
	select {
	case <-j.mark:
		return ""
	case <-j.over:
		return "the round has ended"
	case <-timer.C:
		return "the leader has not said when to cut"
	case <-ctx.Done():
		return "its session with the process server has ended"
	}
}

// unheld says which disk was written to between two samples.
func unheld(sources []*source, before, after taken) string {
	for i, from := range sources {
		if after.before[i].InFlight != 0 || !after.before[i].SameWrites(before.before[i]) {
			return fmt.Sprintf("disk %s was written to while its file systems were held still", from.id)
		}
	}
	return ""
}

// seal signs the machine's part: the marker is durable, and it is what the disks held at the common instant.
func (s *sending) seal(c cut, d session.Durable) {
	j := c.joint
	if !d.Cut || d.Through != c.message {
		j.tell(group.Sealed, nil, errors.New("its marker is not the end of a segment"))
		return
	}
	part, err := journal.SignGroupPart(s.agent.deps.Node, journal.GroupPart{
		Group: j.group, Round: j.round, Leader: j.leader, Machine: s.agent.deps.Machine, Position: d.Position.String(), Hash: d.Hash.String(),
		Method: journal.ByFreeze, Consistency: farshore.CrashConsistent, HeldNanos: int64(j.held), Time: s.agent.deps.Now().UTC(),
	})
	j.tell(group.Sealed, part, err)
}

// pointToKeep is a point of the group on its way to the vault.
type pointToKeep struct {
	body []byte
	done chan error // has room for one
}

// Keep signs a point that the machine has led to, and has the process server put it into the vault: another one, should the session
// end meanwhile.
func (a *Agent) Keep(ctx context.Context, k group.Keep) error {
	var missing []journal.Missing
	for m, why := range k.Missing {
		missing = append(missing, journal.Missing{Machine: m, Why: why})
	}
	body, err := journal.SignGroupPoint(a.deps.Node, k.Group, k.Round, k.Parts, missing, a.deps.Now())
	if err != nil {
		return err
	}
	p := &pointToKeep{body: body, done: make(chan error, 1)}
	a.mu.Lock()
	a.point = p
	a.pokeLocked()
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.point = nil
		a.mu.Unlock()
	}()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// give gives a point that waits to the process server.
func (s *sending) give(ctx context.Context) error {
	s.agent.mu.Lock()
	p := s.agent.point
	s.agent.mu.Unlock()
	if p == nil || s.given != nil {
		return nil
	}
	s.given = p
	return s.link.Keep(ctx, session.Keep{Object: p.body})
}

// takeKept takes the answer.
func (s *sending) takeKept() {
	s.mu.Lock()
	answers := s.kept
	s.kept = nil
	s.mu.Unlock()
	for _, k := range answers {
		var err error
		if k.Why != "" {
			err = errors.New(k.Why)
		}
		s.given.done <- err
		s.given = nil
	}
}

// Outcome is told how a round ended that this machine led: without a point, or with one that does not hold every machine, it says so.
func (a *Agent) Outcome(g farshore.GroupID, e group.Ended) {
	what := ""
	switch {
	case e.Why != "":
		what = "no point of the group was made: " + e.Why
	case len(e.Missing) > 0:
		var all []string
		for _, m := range slices.Sorted(maps.Keys(e.Missing)) {
			all = append(all, fmt.Sprintf("%s (%s)", m, e.Missing[m]))
		}
		what = "machines are missing from its last point: " + strings.Join(all, ", ")
	default:
		a.blame(atGroup, nil)
		return
	}
	f := &fault.Fault{
		Code: "FS-1031", Kind: fault.Transient, Subject: "group " + string(g), What: what,
		Remedy: "nothing if it passes: the group goes on trying, and points of each machine are made meanwhile; see docs/operate/agent.md",
	}
	if a.blame(atGroup, f) {
		a.deps.Log.Warn("the group has no point of all its machines", "err", f)
	}
}
