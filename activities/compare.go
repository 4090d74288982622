package activities

import (
	"farshore"
)

// CompareIn asks for a comparison of a machine's disks with its replica.
type CompareIn struct {
	Run Run `json:"run"`
}

// Compared is what a comparison of a machine's disks with its replica has shown. All quantities are bytes.
type Compared struct {
	Machine     farshore.MachineID     `json:"machine"`
	At          farshore.Position      `json:"at,omitzero"` // the end of the stream that the replica stood at
	Total       uint64                 `json:"totalBytes"`  // of the disks
	Equal       uint64                 `json:"equalBytes"`
	Changed     uint64                 `json:"changedBytes"`     // written meanwhile: not compared
	Unspecified uint64                 `json:"unspecifiedBytes"` // equal but for what nobody needs
	Unclear     uint64                 `json:"unclearBytes"`     // not judged, copied again
	Different   uint64                 `json:"differentBytes"`   // though nobody wrote it
	NotCompared []string               `json:"notCompared,omitempty"`
	Differences []SourceDifference     `json:"differences"`
	Left        int                    `json:"left,omitempty"`     // differences that are not told one by one
	Unproven    bool                   `json:"unproven,omitempty"` // that no write was missed could not be proven
	Healed      farshore.RecoveryPoint `json:"healed,omitzero"`    // the first point that holds the source's bytes again
}

// SourceDifference is a range that differs from the replica though nobody wrote it.
type SourceDifference struct {
	Disk   farshore.DiskID `json:"disk"`
	Offset uint64          `json:"offset"`
	Bytes  uint64          `json:"bytes"`
}

// Found is how many ranges differ.
func (c Compared) Found() int { return len(c.Differences) + c.Left }

// CompareSource has a machine's agent compare its disks with the replica, and waits until what differs is copied again. What
// is found is no failure of the step.
var CompareSource = Step[CompareIn, Compared]{
	Name: "nodes.CompareSource", Limits: bulk,
	Summary: func(in CompareIn) string {
		return "Compare the disks of " + string(in.Run.Machine) + " with their replica"
	},
}
