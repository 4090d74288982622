package farshore

import (
	"fmt"
	"slices"

	"farshore/fault"
)

// Protection says how far a machine is protected. It is one region of a machine's [State]; the regions are independent.
type Protection string

// The states of protection.
const (
	Unprotected        Protection = "unprotected"
	Enabling           Protection = "enabling"            // the nodes are being told; nothing has been sent
	InitialReplication Protection = "initial-replication" // the base is being sent; there is no recovery point yet
	Protected          Protection = "protected"           // recovery points are made as the policy asks
	Resyncing          Protection = "resyncing"           // copying again; earlier points stay usable
	Paused             Protection = "paused"              // tracking goes on, nothing is sent
	Stalled            Protection = "stalled"             // no progress, for a reason that the agent names
	Disabling          Protection = "disabling"
)

// Protections lists the states of protection.
func Protections() []Protection {
	return []Protection{Unprotected, Enabling, InitialReplication, Protected, Resyncing, Paused, Stalled, Disabling}
}

// Location says where a machine runs.
type Location string

// The locations.
const (
	Primary       Location = "primary"        // at the source
	FailingOver   Location = "failing-over"   // a failover is under way
	CommitPending Location = "commit-pending" // runs at the recovery site; the failover can still be taken back
	Recovery      Location = "recovery"       // runs at the recovery site, committed
	Cancelling    Location = "cancelling"     // a failover is being taken back

	Reprotecting          Location = "reprotecting"            // runs at the recovery site; the way home is being made
	ReverseProtected      Location = "reverse-protected"       // runs at the recovery site and is replicated home
	FailingBack           Location = "failing-back"            // a failback is under way
	FailbackCommitPending Location = "failback-commit-pending" // runs at home again; the failback can still be taken back
)

// Locations lists the locations.
func Locations() []Location {
	return []Location{
		Primary, FailingOver, CommitPending, Recovery, Cancelling, Reprotecting, ReverseProtected, FailingBack, FailbackCommitPending,
	}
}

// Fence says whether the source can still be acknowledged by the vault.
type Fence string

// The states of the fence.
const (
	FenceOpen   Fence = "open"     // the source replicates
	FenceClosed Fence = "fenced"   // a failover holds the stream: the source's writes are no longer acknowledged
	FenceFailed Fence = "unfenced" // failed over, but the vault could not be written: the source may still be replicating
)

// Fences lists the states of the fence.
func Fences() []Fence { return []Fence{FenceOpen, FenceClosed, FenceFailed} }

// DrillPhase says how far a test failover is.
type DrillPhase string

// The phases of a test failover.
const (
	DrillStarting DrillPhase = "starting"
	DrillRunning  DrillPhase = "running" // the machine is up in the test network and waits for cleanup
	DrillCleaning DrillPhase = "cleaning"
)

// Drill is one test failover of a machine. Any number may stand at a time.
type Drill struct {
	Run   RunID      `json:"run"`
	Phase DrillPhase `json:"phase"`
}

// State is what a replicated machine is in: independent regions, so that a drill never hides a failover.
// What may be done in it is asked of [State.Allows] and of nothing else.
type State struct {
	Machine    MachineID  `json:"machine"`
	Protection Protection `json:"protection"`
	Location   Location   `json:"location"`
	Fence      Fence      `json:"fence"`
	Drills     []Drill    `json:"drills,omitempty"`
	Points     bool       `json:"points"` // there is a recovery point to recover from
}

// NewState is the state of a machine that nobody has protected yet.
func NewState(machine MachineID) State {
	return State{Machine: machine, Protection: Unprotected, Location: Primary, Fence: FenceOpen}
}

// Drill finds a test failover by its run.
func (s State) Drill(run RunID) (Drill, bool) {
	i := slices.IndexFunc(s.Drills, func(d Drill) bool { return d.Run == run })
	if i < 0 {
		return Drill{}, false
	}
	return s.Drills[i], true
}

// known reports the first region that holds a word this version does not know.
func (s State) known() (word string, ok bool) {
	switch {
	case !slices.Contains(Protections(), s.Protection):
		return string(s.Protection), false
	case !slices.Contains(Locations(), s.Location):
		return string(s.Location), false
	case !slices.Contains(Fences(), s.Fence):
		return string(s.Fence), false
	}
	return "", true
}

// Allows says whether an operation may be done now. The error is a *fault.Fault (FS-7001) whose remedy names the way out.
func (s State) Allows(op Operation) error {
	word, ok := s.known()
	if !ok {
		return s.refuse(op, fmt.Sprintf("its state %q is not known to this version", word), "upgrade the configuration server")
	}
	for _, r := range refusals {
		if r.operation == op && r.when.holds(s) {
			return s.refuse(op, r.what, fmt.Sprintf(r.remedy, s.Machine))
		}
	}
	if !slices.Contains(Operations(), op) {
		return s.refuse(op, "there is no such operation", fmt.Sprintf("see: farshore machine can %s", s.Machine))
	}
	return nil
}

func (s State) refuse(op Operation, what, remedy string) error {
	return &fault.Fault{
		Code: "FS-7001", Kind: fault.Refused,
		Subject: "machine " + string(s.Machine), What: fmt.Sprintf("%s is not possible: %s", op, what), Remedy: remedy,
	}
}

// Permission says of one operation whether it may be done now and, if not, why.
type Permission struct {
	Operation Operation
	Refusal   *fault.Fault // nil: allowed
}

// Can lists every operation with its permission, in the order of [Operations].
func (s State) Can() []Permission {
	can := make([]Permission, 0, len(Operations()))
	for _, op := range Operations() {
		f, _ := fault.As(s.Allows(op))
		can = append(can, Permission{Operation: op, Refusal: f})
	}
	return can
}
