package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/session"
	"farshore/fault"
)

// Deps is what an agent needs from outside.
type Deps struct {
	Machine     farshore.MachineID
	Body        string // what the firmware calls the machine that the agent runs on
	Node        *credential.Node
	Sources     func() ([]disk.Source, error) // the disks of this machine, asked anew whenever protection begins
	StateDir    string                        // on stable storage: who we are, how many sessions there were
	RunDir      string                        // in memory: pending sets, scan tables
	PinDir      string                        // in a bpf file system: the tracker
	Hooks       disk.Hooks
	Watchdog    []string       // command line of the thaw watchdog
	FreezeBound time.Duration  // file systems are never frozen for longer
	WindowBytes int64          // changes that may be read into memory for one point
	Patience    time.Duration  // how long a resync waits for hashes before it copies in full; 0: half a minute
	CopyRate    int64          // bytes of a full copy in a second; 0: as fast as it goes
	Pressure    func() float64 // how starved the machine is, from 0 to 1: a full copy makes way; nil: never
	RingBytes   int            // of the kernel's ring that captures writes, a power of two; 0: writes are not captured
	ChangeLog   ChangeLog
	Limits      session.Limits
	Log         *slog.Logger
	Now         func() time.Time

	Still *host.Stillness // begins and ends with a hold: whoever else writes files for the agent asks it

	// Moved is called when the agent finds itself in another body of the machine, before it keeps anything there: what was
	// wanted of its predecessor is not wanted of it. nil: nothing is to be done.
	Moved func() error

	// Snapshots makes points where file systems cannot be frozen; nil: points are made of proven instants and freezes.
	Snapshots disk.Snapshotter
}

// ChangeLog says where writes are kept in order until they are durable.
type ChangeLog struct {
	MemoryBytes int64
	Path        string // of the file behind the memory; "": none
	FileBytes   int64
}

// Agent is the mobility agent of one machine. Make it with [New].
type Agent struct {
	deps       Deps
	state      *state
	lock       *os.File // nil: not settled yet
	freezer    *disk.Freezer
	standstill *standstill // nil: the machine runs
	copying    *throttle
	walking    *throttle                           // of a comparison
	beforeRead func(farshore.DiskID, block.Extent) // set by tests: what happens between the first look at the tracker and a comparison's read
	comparison *comparison                         // with the replica, under way; it outlives sessions

	interrupted map[farshore.DiskID]string // why a disk had to be opened again
	held        *protection                // of the disks that were wanted last; it outlives a pause and a change of process servers

	mu        sync.Mutex
	desired   Desired
	asked     bool // Desire was called
	changed   chan struct{}
	cancel    context.CancelCauseFunc // of the protection or session that serves the present shape
	still     bool                    // a hold is under way
	elsewhere bool                    // other process servers were named meanwhile: for behind the hold
	observed  Observed
	faults    map[string]*fault.Fault
	joint     *joint       // the round that the machine is in; nil: none
	point     *pointToKeep // of the group; nil: none
}

var (
	errNewShape = errors.New("something else is wanted of the agent")
	errReopen   = errors.New("a disk is not the one that was tracked")
)

// FrozenFile is the file in RunDir that names the mount points held still now: what has to be thawed if the agent and its
// watchdog are both killed.
const FrozenFile = "frozen.json"

// Pauses between tries to reach a process server.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 30 * time.Second
)

// New makes an agent that protects nothing yet.
func New(d Deps) *Agent {
	freezer := disk.NewFreezer(d.Watchdog...)
	freezer.Remember(filepath.Join(d.RunDir, FrozenFile))
	return &Agent{
		deps: d, freezer: freezer, copying: newThrottle(d.CopyRate, d.Pressure), walking: newThrottle(d.CopyRate, d.Pressure), changed: make(chan struct{}),
		observed: Observed{Phase: Idle}, faults: map[string]*fault.Fault{}, interrupted: map[farshore.DiskID]string{},
	}
}

// Run protects what is desired until ctx ends, and then returns nil. Before the first [Agent.Desire] it does nothing. It returns an error, a *fault.Fault, only when the
// agent's own folders cannot be used or another agent uses them.
func (a *Agent) Run(ctx context.Context) (err error) {
	if err := a.Settle(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.letGo(ctx), a.freezer.Close(), a.lock.Close()) }()
	pause := newPause()
	for ctx.Err() == nil {
		wish, changed := a.wish()
		if !a.wanted(wish) {
			if a.told() { // before that, what is pending may be wanted
				a.rest(ctx)
			}
			a.introduce()
			await(ctx, changed, nil)
			continue
		}
		err := a.serve(ctx, wish)
		if errors.Is(err, errReopen) {
			err = errors.Join(err, a.letGo(ctx))
		}
		if errors.Is(err, errNewShape) || errors.Is(err, errReopen) {
			pause.Reset()
			continue
		}
		if ctx.Err() == nil {
			a.blameDisks(err)
			retry := time.NewTimer(pause.NextBackOff())
			await(ctx, changed, retry.C)
			retry.Stop()
		}
	}
	return nil
}

// Settle takes the folders and finds out which instance of the machine this is. [Agent.Run] does it if nobody has done it
// before, to know whom the agent reports for.
func (a *Agent) Settle() error {
	if a.lock != nil {
		return nil
	}
	refuse := func(what string, err error) error {
		return &fault.Fault{
			Code: "FS-1009", Kind: fault.Operator, Subject: "mobility agent", What: what,
			Remedy: "check stateDir and runDir of the configuration, and that no other farshore-agent runs", Err: err,
		}
	}
	for _, dir := range []string{a.deps.StateDir, a.deps.RunDir} {
		if err := host.MakePrivate(dir); err != nil {
			return refuse("its folders cannot be made", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(a.deps.RunDir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return refuse("its run directory cannot be used", err)
	}
	if err := host.Lock(lock); err != nil {
		return errors.Join(refuse("another agent uses the same run directory", err), lock.Close())
	}
	if a.state, err = loadState(a.deps.StateDir, a.deps.Body, a.moved); err != nil {
		return errors.Join(refuse("its state cannot be used", err), lock.Close())
	}
	a.lock = lock
	a.note(func(o *Observed) {
		o.Instance, o.CutNumber, o.CutPoint = a.state.Instance, a.state.CutNumber, a.state.CutPoint
	})
	a.recallDifferences()
	return nil
}

// moved removes what another instance has left: tracking, and what was wanted of it.
func (a *Agent) moved() error {
	a.deps.Log.Warn("this is another body of the machine: it keeps nothing of what was tracked, and owes every disk", "body", a.deps.Body)
	err := forget(a.deps)
	if a.deps.Moved != nil {
		err = errors.Join(err, a.deps.Moved())
	}
	return err
}

// wanted reports whether this instance shall act on a wish, and says so if another one shall.
func (a *Agent) wanted(wish Desired) bool {
	if wish.Instance == "" || wish.Instance == a.state.Instance {
		a.blame(atInstance, nil)
		return wish.Protect
	}
	f := &fault.Fault{
		Code: "FS-1021", Kind: fault.Operator, Subject: "machine " + string(a.deps.Machine),
		What:   fmt.Sprintf("another body of it (%s) is to be replicated; this one (%s) rests: it tracks and sends nothing", wish.Instance, a.state.Instance),
		Remedy: "nothing, if the machine runs elsewhere now: switch this one off, or remove farshore-agent from it; to run it here again, fail the machine back",
	}
	if a.blame(atInstance, f) {
		a.deps.Log.Warn("another body of the machine is wanted", "err", f)
	}
	return false
}

// rest ends tracking: what was tracked is worth nothing once tracking has an end.
func (a *Agent) rest(ctx context.Context) {
	if err := errors.Join(a.letGo(ctx), forget(a.deps)); err != nil {
		a.deps.Log.Warn("what was left of tracking could not be removed", "err", err)
	}
	for _, place := range places {
		if place != atInstance {
			a.blame(place, nil)
		}
	}
}

// introduce tells which disks the machine has, so that somebody can choose among them.
func (a *Agent) introduce() {
	spec, err := a.describe()
	if err != nil {
		a.blameDisks(err)
	}
	a.note(func(o *Observed) {
		*o = Observed{Phase: Idle, Instance: o.Instance, Machine: spec, Sent: o.Sent, Read: o.Read, CutNumber: o.CutNumber, CutPoint: o.CutPoint}
	})
}

// describe takes the inventory of all disks, for whoever chooses among them.
func (a *Agent) describe() (farshore.MachineSpec, error) {
	inventory, err := a.inventory()
	if err != nil {
		return farshore.MachineSpec{ID: a.deps.Machine}, err
	}
	return inventory.Spec, inventory.Close()
}

// serve protects the disks of one wish until something else is wanted, a disk changes, or ctx ends.
func (a *Agent) serve(ctx context.Context, wish Desired) error {
	if err := a.moveOn(ctx); err != nil { // something else is wanted than rest
		return err
	}
	life := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.mu.Lock()
	if !a.desired.sameShape(wish, "") {
		a.mu.Unlock()
		return errNewShape
	}
	a.cancel = cancel
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.cancel = nil
		a.mu.Unlock()
	}()
	p, err := a.hold(life, wish.Disks)
	if err != nil {
		return causeOf(ctx, err)
	}
	a.blame(atDisks, nil)
	if wish.Paused {
		a.note(func(o *Observed) { o.Phase, o.ProcessServer = Paused, "" })
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return causeOf(ctx, p.serve(ctx))
}

// hold gives the protection of the disks: the one that is held, or a new one. Order that is kept goes on through whatever
// else changes.
func (a *Agent) hold(ctx context.Context, disks []farshore.DiskID) (*protection, error) {
	if a.held != nil && slices.Equal(a.held.ids(), disks) {
		return a.held, nil
	}
	if err := a.letGo(ctx); err != nil {
		return nil, err
	}
	p, err := a.protect(ctx, disks)
	if err == nil {
		a.held = p
	}
	return p, err
}

// letGo ends the protection that is held. What is pinned goes on tracking.
func (a *Agent) letGo(ctx context.Context) error {
	err := a.moveOn(ctx)
	if a.held == nil {
		return err
	}
	p := a.held
	a.held = nil
	return errors.Join(err, p.close())
}

// causeOf prefers why ctx ended to what broke because of it.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (a *Agent) blameDisks(err error) {
	f, ok := fault.As(err)
	if !ok {
		f = &fault.Fault{
			Code: "FS-1010", Kind: fault.Operator, Subject: "machine " + string(a.deps.Machine), What: "its disks cannot be protected",
			Remedy: "see: farshore-agent disks; the agent goes on trying", Err: err,
		}
	}
	a.note(func(o *Observed) { o.Phase, o.ProcessServer = Stalled, "" })
	if a.blame(atDisks, f) {
		a.deps.Log.Error("the disks cannot be protected", "err", f)
	}
}

func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, longestPause
	return b
}

// await waits for the first of three things.
func await(ctx context.Context, changed <-chan struct{}, timer <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer:
	}
}
