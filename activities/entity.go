package activities

import (
	"time"

	"farshore"
)

// A machine's entity workflow is of type Protection. Each operation is an update of it, named as the operation is, with a
// [Request] as its argument and an [Answer] as its result; the update's id is the operation's id.

// Names by which a machine's workflows are asked and told.
const (
	TypeProtection = "Protection"
	QueryStatus    = "status"      // of Protection: a Status
	SignalObserved = "observed"    // to DeltaSync, from the nodes' reports: an Observed
	SignalChanged  = "replication" // to Protection, from DeltaSync: an Observed
	SignalDrill    = "drill"       // to Protection, from a test failover: a farshore.Drill
	SignalCleanup  = "cleanup"     // to a test failover: a note for its record
)

// ProtectionIn is the input of a machine's entity workflow.
type ProtectionIn struct {
	Machine farshore.MachineID `json:"machine"`
	// Status is handed on when the workflow continues as new; nil at the beginning.
	Status *Status `json:"status,omitempty"`
}

// ProtectionID is the id of a machine's entity workflow.
func ProtectionID(m farshore.MachineID) string { return "protection/" + string(m) }

// DeltaSyncID is the id of the workflow that watches a machine's replication.
func DeltaSyncID(m farshore.MachineID) string { return "delta/" + string(m) }

// Observed is what the nodes report of a machine's replication. It is signalled when it changes, not when a point is made.
type Observed struct {
	Protection farshore.Protection    `json:"protection"` // protected, resyncing, paused or stalled
	Late       bool                   `json:"late,omitempty"`
	RPOSeconds int64                  `json:"rpoSeconds"` // age of the newest point when this was reported
	LastPoint  farshore.RecoveryPoint `json:"lastPoint,omitzero"`
	Reason     string                 `json:"reason,omitempty"` // why it is stalled or late
}

// Status is the whole record of a machine: what the entity workflow answers to [QueryStatus] and what it hands on when it
// continues as new.
type Status struct {
	State    farshore.State             `json:"state"`
	Machine  farshore.MachineSpec       `json:"machine"`
	Target   farshore.Target            `json:"target"`
	Policy   farshore.ReplicationPolicy `json:"policy"`
	Disks    []farshore.DiskID          `json:"disks,omitempty"` // as asked for; empty: all
	Observed Observed                   `json:"observed"`
	Problem  string                     `json:"problem,omitempty"` // what went wrong last, until something goes right
	Moving   farshore.Operation         `json:"moving,omitempty"`  // a commit or a cancel that is under way
	// Failover is the failover that runs, waits for its commit or was committed; nil at the primary location.
	Failover *FailoverRecord `json:"failover,omitempty"`
	LastTest *TestRecord     `json:"lastTest,omitempty"`
	// FailbackPolicy says how the machine is replicated home once it was failed over.
	FailbackPolicy farshore.FailbackPolicy `json:"failbackPolicy,omitzero"`
	// Instance is the body of the machine that replicates from home, or did; empty: it was never told.
	Instance string `json:"instance,omitempty"`
	// Former are the bodies of the machine from before it came home last, oldest first. One of them may be there still, at rest.
	Former []string `json:"former,omitempty"`
	// Reprotect is the way home that is being made or stands, Failback the failback that runs or waits for its commit.
	Reprotect *ReprotectRecord `json:"reprotect,omitempty"`
	Failback  *FailbackRecord  `json:"failback,omitempty"`
	// LastFailback is how the machine came home last.
	LastFailback *FailbackRecord `json:"lastFailback,omitempty"`
	// Copies counts the initial replications, to name their workflows.
	Copies int `json:"copies"`
	// Answered holds the newest operations, oldest first, so that a repeated one is not done twice.
	Answered []Answered `json:"answered,omitempty"`
}

// Answered is an operation that was accepted, and its answer.
type Answered struct {
	ID     string `json:"id"`
	Answer Answer `json:"answer"`
}

// FailoverRecord says how a machine came to the recovery site.
type FailoverRecord struct {
	Run      Run                    `json:"run"`
	Workflow string                 `json:"workflow"`
	Planned  bool                   `json:"planned,omitempty"` // the source was brought to rest at its last point
	Point    farshore.RecoveryPoint `json:"point,omitzero"`
	Fence    FenceOut               `json:"fence,omitzero"`
	VMID     string                 `json:"vmId,omitempty"` // empty: no machine of this run stands
	Address  string                 `json:"address,omitempty"`
	Booted   bool                   `json:"booted"` // it was seen to start
	Evidence []string               `json:"evidence,omitempty"`
	Source   string                 `json:"source,omitempty"` // the body of the machine that was failed over; empty: it did not say
	Kept     bool                   `json:"kept,omitempty"`   // a commit was begun: what it made may be marked as kept
	Notes    []string               `json:"notes,omitempty"`  // what was less than hoped for
	Started  time.Time              `json:"started,omitzero"`
	Ended    time.Time              `json:"ended,omitzero"`
}

// TestRecord is the outcome of a test failover.
type TestRecord struct {
	Run      Run                    `json:"run"`
	Workflow string                 `json:"workflow"`
	Point    farshore.RecoveryPoint `json:"point,omitzero"`
	Passed   bool                   `json:"passed"`
	Address  string                 `json:"address,omitempty"`
	Evidence []string               `json:"evidence,omitempty"`
	Problem  string                 `json:"problem,omitempty"`
	Note     string                 `json:"note,omitempty"` // of whoever cleaned it up
	Started  time.Time              `json:"started,omitzero"`
	Running  time.Time              `json:"running,omitzero"` // when the machine had started
	Ended    time.Time              `json:"ended,omitzero"`
	Removed  int                    `json:"removed"` // things removed from the cloud at the end
}

// ReprotectRecord says how a machine at the recovery site is replicated home.
type ReprotectRecord struct {
	Run      Run    `json:"run"`
	Workflow string `json:"workflow"`
	// Made is the run that made what stands at home and at the recovery site: the first one, if the master target was changed.
	Made          Run                   `json:"made"`
	Home          farshore.Home         `json:"home"`
	Instance      string                `json:"instance,omitempty"` // the body of the machine that runs at the recovery site
	MasterTarget  ChooseMasterTargetOut `json:"masterTarget,omitzero"`
	ProcessServer ProcessServerOut      `json:"processServer,omitzero"`
	VM            VSphereVM             `json:"vm,omitzero"` // of a vSphere home
	Sinks         []Sink                `json:"sinks,omitempty"`
	Epoch         farshore.Epoch        `json:"epoch,omitempty"` // the first of the machine as it runs at the recovery site
	Reached       SinksAt               `json:"reached,omitzero"`
	Notes         []string              `json:"notes,omitempty"` // what was less than hoped for
	Started       time.Time             `json:"started,omitzero"`
	Ended         time.Time             `json:"ended,omitzero"`
}

// FailbackRecord says how a machine came home.
type FailbackRecord struct {
	Run      Run                    `json:"run"`
	Workflow string                 `json:"workflow"`
	Planned  bool                   `json:"planned"`
	Point    farshore.RecoveryPoint `json:"point,omitzero"`
	Fence    FenceOut               `json:"fence,omitzero"`
	Finished FinishedSinks          `json:"finished,omitzero"`
	Instance string                 `json:"instance,omitempty"` // the body of the machine that came home; empty: not seen yet
	// Configuration is the guest's own, against that of the source before its failover.
	Configuration GuestConfiguration `json:"configuration,omitzero"`
	Notes         []string           `json:"notes,omitempty"` // what was less than hoped for
	Started       time.Time          `json:"started,omitzero"`
	Ended         time.Time          `json:"ended,omitzero"`
	// Left is the machine that was stopped at the recovery site, once the failback is committed; RemovedBy is the workflow
	// that removes it when its time is over.
	Left      Run    `json:"left,omitzero"`
	RemovedBy string `json:"removedBy,omitempty"`
}
