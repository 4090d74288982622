package activities

import (
	"encoding/json"
	"fmt"
	"time"

	"farshore"
)

// Request is the input of every operation on a machine, as an update of its entity workflow and as the input of the plain
// workflow of the same verb. Every field but the machine is optional; each operation reads those that it names.
type Request struct {
	Machine farshore.MachineID `json:"machine"`
	// Point is for failover, test-failover, change-recovery-point and an unplanned failback: "latest" (the default), "latest-app", an RFC 3339
	// time or a position.
	Point string `json:"point,omitempty"`
	// Run is for cleanup-test; empty means every test failover of the machine.
	Run farshore.RunID `json:"run,omitempty"`
	// KeepMinutes is for test-failover: how long the test stands if nobody cleans it up. 0 means 60.
	KeepMinutes int `json:"keepMinutes,omitempty"`
	// Target, Policy and Disks are for enable. Target is needed; the others default to the default policy and all disks.
	Target *farshore.Target            `json:"target,omitempty"`
	Policy *farshore.ReplicationPolicy `json:"policy,omitempty"`
	Disks  []farshore.DiskID           `json:"disks,omitempty"`
	// Home is for reprotect: where the machine comes home to. It may name the master target.
	Home *farshore.Home `json:"home,omitempty"`
	// FailbackPolicy is for enable, reprotect and set-failback-policy; empty: the default at first, then as it is.
	FailbackPolicy *farshore.FailbackPolicy `json:"failbackPolicy,omitempty"`
	// Planned is for failover: the source runs and replicates. It is brought to rest first, and nothing is lost.
	Planned bool `json:"planned,omitempty"`
	// Unplanned is for failback: the machine at the recovery site is lost. It is not brought to rest first, and Point counts.
	Unplanned bool `json:"unplanned,omitempty"`
	// Note is kept with the operation for whoever reads its record.
	Note string `json:"note,omitempty"`
}

// Answer is what an operation gives at once. A long one goes on as the workflow it names.
type Answer struct {
	Run      farshore.RunID `json:"run,omitempty"`
	Workflow string         `json:"workflow,omitempty"`
}

// OperateIn asks a machine's entity workflow for an operation.
type OperateIn struct {
	Operation farshore.Operation `json:"operation"`
	ID        string             `json:"id"` // of the operation: repeated, it is not done again
	Request   Request            `json:"request"`
}

// AwaitWorkflowIn asks for the result of a workflow.
type AwaitWorkflowIn struct {
	Workflow string `json:"workflow"`
}

// The steps of activities/machine, by which a workflow asks a machine's entity workflow; Temporal lets no workflow send an
// update.
var (
	// Operate sends the operation as an update.
	Operate = Step[OperateIn, Answer]{
		Name: "machine.Operate", Limits: Limits{Attempt: 20 * time.Minute, All: time.Hour},
		Summary: func(in OperateIn) string { return fmt.Sprintf("Ask for %s of %s", in.Operation, in.Request.Machine) },
	}
	// AwaitWorkflow waits for another workflow to end.
	AwaitWorkflow = Step[AwaitWorkflowIn, json.RawMessage]{
		Name: "machine.AwaitWorkflow", Limits: bulk,
		Summary: func(in AwaitWorkflowIn) string { return "Wait for " + in.Workflow },
	}
)
