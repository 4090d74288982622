package agent

import (
	"slices"
	"time"

	"farshore"
	"farshore/fault"
)

// Desired is what is wanted of the agent.
type Desired struct {
	Instance       string // the body of the machine that shall act on it; any other one rests. "": whoever is told
	Protect        bool
	Paused         bool
	Disks          []farshore.DiskID
	ProcessServers []string      // host:port, in order of preference
	CrashEvery     time.Duration // between crash-consistent points; 0: five minutes
	AppEvery       time.Duration // between application-consistent points; 0: none
	Cut            CutRequest
	Compare        CompareRequest
	NewGeneration  bool // begin a new full copy; acted on once each time it becomes true
}

// CutRequest asks for one recovery point. A number is acted on once; 0 asks for nothing.
type CutRequest struct {
	Number      uint64
	Consistency farshore.Consistency
	Label       string
	Hold        time.Duration // the machine stays at rest behind it; 0: it goes on
}

// CompareRequest asks for a comparison of the disks with what the vault has of them. A number is acted on once; 0 asks for
// nothing.
type CompareRequest struct {
	Number uint64
	Stop   bool // it is taken back
}

// defaultCrashEvery serves a desired document without a frequency.
const defaultCrashEvery = 5 * time.Minute

func (d Desired) crashEvery() time.Duration {
	if d.CrashEvery <= 0 {
		return defaultCrashEvery
	}
	return d.CrashEvery
}

// sameShape reports whether a session that serves o can go on serving d: for the process servers it must be with the one
// that is preferred now. Other servers behind that one are tried when they are needed.
func (d Desired) sameShape(o Desired, using string) bool {
	preferred := len(d.ProcessServers) > 0 && d.ProcessServers[0] == using
	return d.Instance == o.Instance && d.Protect == o.Protect && d.Paused == o.Paused && d.NewGeneration == o.NewGeneration &&
		slices.Equal(d.Disks, o.Disks) && (preferred || slices.Equal(d.ProcessServers, o.ProcessServers))
}

// differsInServers reports whether nothing but the process servers tells the shapes apart.
func (d Desired) differsInServers(o Desired) bool {
	o.ProcessServers = d.ProcessServers
	return d.sameShape(o, "")
}

// Phase is what the agent is about.
type Phase string

// The phases.
const (
	Idle               Phase = "idle"
	InitialReplication Phase = "initial-replication"
	Protected          Phase = "protected"
	Resyncing          Phase = "resyncing"
	Paused             Phase = "paused"
	Stalled            Phase = "stalled" // nothing can be sent; changes are tracked
)

// Observed is the state of the agent.
type Observed struct {
	Instance      string // this body of the machine
	Machine       farshore.MachineSpec
	Phase         Phase
	Grade         string // the weakest of the protected disks, as it is now
	GradeWhy      string // why write order is not kept, where it could be
	Upgrades      int64  // how often write order was gained since the agent started
	Downgrades    int64  // and lost
	CopyTotal     int64  // bytes of the full copy under way, without what is free
	CopyDone      int64
	CopyRate      int64      // bytes of it in a second, of late
	CopyEnd       time.Time  // when it will be done at that rate; zero if that cannot be told
	Copies        int64      // full copies of a disk begun since the agent started
	CopyWhy       string     // why the last one was
	Spared        int64      // bytes left out of full copies because nothing used them, since the agent started
	Sent          int64      // bytes since the agent started
	Read          int64      // bytes, from the protected disks, since the agent started
	Pending       int64      // bytes changed and not yet durable behind a clean end
	Resync        Resync     // the last one, or the one under way
	Comparison    Comparison // with the replica: the last one, or the one under way
	LastPoint     farshore.RecoveryPoint
	CutNumber     uint64 // the last request answered
	CutPoint      farshore.RecoveryPoint
	Holding       bool // the machine is at rest: nothing was written behind CutPoint
	Faults        []*fault.Fault
	ProcessServer string // in use
	Checked       time.Time
}

// The places of faults in the observed state: a newer fault of the same place replaces the older.
const (
	atDisks    = "disks"
	atSession  = "session"
	atTracker  = "tracker"
	atPoint    = "point"
	atHooks    = "hooks"
	atResync   = "resync"
	atLog      = "change log"
	atInstance = "instance"
	atHold     = "hold"
	atSource   = "comparison"
	atGroup    = "group"
)

// places are all of them, in the order in which they are told.
var places = []string{atInstance, atDisks, atSession, atTracker, atPoint, atSource, atHold, atHooks, atResync, atLog, atGroup}

// Desire tells the agent what is wanted of it from now on. It may be called at any time.
func (a *Agent) Desire(d Desired) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.cancel == nil || d.sameShape(a.desired, a.observed.ProcessServer):
	case a.still && d.differsInServers(a.desired): // where to send is no reason to let a machine run on that was promised to be at rest
		a.elsewhere = true
	default:
		a.cancel(errNewShape)
	}
	a.desired, a.asked = d, true
	a.pokeLocked()
}

// wish gives what is wanted, and a channel that is closed when that changes.
func (a *Agent) wish() (Desired, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.desired, a.changed
}

// told reports whether anybody has said what is wanted.
func (a *Agent) told() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// Observe gives the state of the agent.
func (a *Agent) Observe() Observed {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.observed
	for _, place := range places {
		if f := a.faults[place]; f != nil {
			o.Faults = append(o.Faults, f)
		}
	}
	return o
}

func (a *Agent) note(change func(*Observed)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.observed)
}

// blame enters a fault in the observed state, or with nil takes it out. It reports whether that is news.
func (a *Agent) blame(place string, f *fault.Fault) (news bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.faults[place]
	a.faults[place] = f
	return f != nil && (old == nil || old.Error() != f.Error())
}
