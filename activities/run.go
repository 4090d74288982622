package activities

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"farshore"
)

// RunKind says what a run is for.
type RunKind string

// The kinds of run.
const (
	TestRun      RunKind = "test-failover"
	FailoverRun  RunKind = "failover"
	ReprotectRun RunKind = "reprotect"
	FailbackRun  RunKind = "failback"
	VerifyRun    RunKind = "verify"
	CompareRun   RunKind = "compare"
)

// Run is one execution of a test failover, a failover, a reprotect, a failback, a verification or a comparison. Everything it makes is found again by it alone.
type Run struct {
	ID      farshore.RunID     `json:"id"`
	Machine farshore.MachineID `json:"machine"`
	Kind    RunKind            `json:"kind"`
}

// NewRun derives a run from the id of the operation that asked for it: the same operation always means the same run, and
// no two machines share one.
func NewRun(kind RunKind, machine farshore.MachineID, operation string) Run {
	sum := sha256.Sum256([]byte(string(kind) + "\x00" + string(machine) + "\x00" + operation))
	name := strings.TrimRight(string(machine[:min(len(machine), 40)]), "-")
	letter := map[RunKind]string{TestRun: "t", FailoverRun: "f", ReprotectRun: "r", FailbackRun: "b", VerifyRun: "v", CompareRun: "c"}[kind]
	return Run{ID: farshore.RunID(letter + "-" + name + "-" + hex.EncodeToString(sum[:5])), Machine: machine, Kind: kind}
}

// WorkflowID is the id of the run's workflow: test-failover/web-01/t-web-01-3fa9c21b04.
func (r Run) WorkflowID() string {
	return string(r.Kind) + "/" + string(r.Machine) + "/" + string(r.ID)
}

// Resource names one cloud resource of the run; part is "vm", "nic", "net", "nsg" or "disk0", "disk1", ... in the order of
// the machine's disks. At most 64 characters.
func (r Run) Resource(part string) string { return string(r.ID) + "-" + part }

// The tags on everything that a run makes in a cloud.
const (
	TagRun     = "farshore-run"
	TagMachine = "farshore-machine"
	TagKind    = "farshore-kind"
	TagNode    = "farshore-node" // the node that a VM carries, or was to carry: a temporary process server
	TagKept    = "farshore-kept" // "true" once the failover is committed: never removed by a cleanup
)

// Tags gives the tags of the run's resources, with those of the target beneath them.
func (r Run) Tags(target farshore.Target) map[string]string {
	tags := make(map[string]string, len(target.Tags)+3)
	for k, v := range target.Tags {
		tags[k] = v
	}
	tags[TagRun], tags[TagMachine], tags[TagKind] = string(r.ID), string(r.Machine), string(r.Kind)
	return tags
}
