package activities

import (
	"fmt"
	"time"

	"farshore"
)

// The steps on the vault and its appliers. They are implemented by activities/recovery.

// ChoosePointIn asks for one recovery point.
type ChoosePointIn struct {
	Machine farshore.MachineID `json:"machine"`
	Point   string             `json:"point"` // see farshore.ParseSelector
}

// RunIn names the run that a step is for.
type RunIn struct {
	Run Run `json:"run"`
}

// FenceOut says whether the source is fenced. A vault that cannot be written is no fault of this step: the failover goes
// on from what can be read, and says so.
type FenceOut struct {
	Fenced bool              `json:"fenced"`
	Sealed farshore.Position `json:"sealed,omitzero"` // nothing behind it is part of the stream
	Why    string            `json:"why,omitempty"`   // why the source is not fenced
}

// PinPointIn names the point that a run reads.
type PinPointIn struct {
	Run      Run               `json:"run"`
	Position farshore.Position `json:"position"`
}

// PrepareDisksIn asks for disks that hold exactly one recovery point.
type PrepareDisksIn struct {
	Run   Run                    `json:"run"`
	Point farshore.RecoveryPoint `json:"point"`
}

// PrepareDisksOut is the prepared disks, boot disk first.
type PrepareDisksOut struct {
	Disks []PreparedDisk `json:"disks"`
}

// PreparedDisk is a page blob that holds a disk at a recovery point and ends with a fixed VHD footer.
type PreparedDisk struct {
	Disk      farshore.DiskID `json:"disk"`
	URL       string          `json:"url"`       // a path with the file vault
	SizeBytes uint64          `json:"sizeBytes"` // without the footer
	Boot      bool            `json:"boot,omitempty"`
}

// The steps of activities/recovery.
var (
	// ChoosePoint finds the recovery point that a person meant, in the vault.
	ChoosePoint = Step[ChoosePointIn, farshore.RecoveryPoint]{
		Name: "recovery.ChoosePoint", Limits: quick,
		Summary: func(in ChoosePointIn) string {
			return fmt.Sprintf("Find recovery point %q of %s", in.Point, in.Machine)
		},
	}
	// Fence claims the stream for the failover and seals it: the source is never acknowledged again.
	Fence = Step[RunIn, FenceOut]{
		Name: "recovery.Fence", Limits: Limits{Attempt: 2 * time.Minute, All: 5 * time.Minute},
		Summary: func(in RunIn) string { return "Fence the source of " + string(in.Run.Machine) },
	}
	// Unfence lets the source claim its stream again, after a failover that was taken back.
	Unfence = Step[RunIn, None]{
		Name: "recovery.Unfence", Limits: Limits{Attempt: time.Minute, All: time.Hour},
		Summary: func(in RunIn) string { return "Let the source of " + string(in.Run.Machine) + " replicate again" },
	}
	// PinPoint keeps what a point needs, whatever retention says, for as long as the run reads it. It does not wait for long: a
	// vault that cannot be written stops no failback.
	PinPoint = Step[PinPointIn, None]{
		Name: "recovery.PinPoint", Limits: Limits{Attempt: time.Minute, All: 2 * time.Minute},
		Summary: func(in PinPointIn) string {
			return fmt.Sprintf("Keep recovery point %s of %s", in.Position, in.Run.Machine)
		},
	}
	// UnpinPoint leaves the points that the run has pinned to retention again.
	UnpinPoint = Step[RunIn, None]{
		Name: "recovery.UnpinPoint", Limits: quick,
		Summary: func(in RunIn) string { return "Keep the recovery point of run " + string(in.Run.ID) + " no longer" },
	}
	// PrepareDisks has an applier make the disks of the point.
	PrepareDisks = Step[PrepareDisksIn, PrepareDisksOut]{
		Name: "recovery.PrepareDisks", Limits: bulk,
		Summary: func(in PrepareDisksIn) string {
			return fmt.Sprintf("Make the disks of %s as they were at %s", in.Run.Machine, in.Point.Time.UTC().Format(time.RFC3339))
		},
	}
	// DiscardDisks removes the prepared disks of a run. The managed disks made of them do not need them.
	DiscardDisks = Step[RunIn, None]{
		Name: "recovery.DiscardDisks", Limits: Limits{Attempt: time.Hour, Heartbeat: time.Minute, All: 24 * time.Hour},
		Summary: func(in RunIn) string { return "Remove the prepared disks of run " + string(in.Run.ID) },
	}
)
