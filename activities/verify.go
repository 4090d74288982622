package activities

import (
	"fmt"

	"farshore"
)

// ScrubIn asks for a reading of everything that the vault holds of a machine.
type ScrubIn struct {
	Run Run `json:"run"`
}

// Scrubbed is what was read of a machine, and what of it is not what was written.
type Scrubbed struct {
	Machine     farshore.MachineID `json:"machine"`
	Segments    uint64             `json:"segments"` // read and right
	Bytes       uint64             `json:"bytes"`    // of them, as stored
	Points      int                `json:"points"`   // that can be restored
	At          farshore.Position  `json:"at,omitzero"`
	Total       uint64             `json:"totalBytes"`    // of the replica's disks at that position
	Compared    uint64             `json:"comparedBytes"` // what does not matter is left out
	Different   uint64             `json:"differentBytes"`
	NotCompared string             `json:"notCompared,omitempty"` // why the replica, or a part of it, was not compared
	Findings    []ScrubFinding     `json:"findings"`
	Left        int                `json:"left,omitempty"` // findings that are not told one by one
}

// ScrubFinding is one thing that is not what was written.
type ScrubFinding struct {
	Kind   string              `json:"kind"`             // "journal", "replica", "snapshot", "document"
	Object string              `json:"object,omitempty"` // its name in the vault
	Disk   farshore.DiskID     `json:"disk,omitempty"`   // empty: of no disk, or not known
	Offset uint64              `json:"offset"`           // on the disk
	Bytes  uint64              `json:"bytes"`
	Code   string              `json:"code"`
	What   string              `json:"what"`
	Since  farshore.Position   `json:"since,omitzero"` // replica: the segment that wrote these bytes last
	Lost   []farshore.Position `json:"lost,omitempty"` // journal: recovery points that are lost by it
}

// Found is how much is not what was written.
func (s Scrubbed) Found() int { return len(s.Findings) + s.Left }

// Scrub has the applier of a machine read its journal and compare its replica with it. What is found is no fault.
var Scrub = Step[ScrubIn, Scrubbed]{
	Name: "recovery.Scrub", Limits: bulk,
	Summary: func(in ScrubIn) string {
		return fmt.Sprintf("Read all that the vault holds of %s and compare its replica", in.Run.Machine)
	},
}
