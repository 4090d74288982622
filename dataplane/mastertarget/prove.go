package mastertarget

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/scrub"
	"farshore/fault"
)

// Proof is what reading the disks back has shown. Bytes whose content does not matter are left out.
type Proof struct {
	Total     int64  `json:"total"` // of all disks
	Compared  int64  `json:"compared"`
	Different int64  `json:"different"`
	Where     string `json:"where,omitempty"` // the first place that differs
}

// prove reads every sector of the disks and compares it with what the journal says at the position to finish at.
func (w *way) prove(ctx context.Context) (Proof, error) {
	var proof Proof
	figures := func(f scrub.Figures) { proof.Total, proof.Compared, proof.Different = f.Total, f.Compared, f.Different }
	last, err := scrub.Comparison{
		Journal: w.deps.Journal, Replicas: w.deps.Replicas, Stream: w.stream, At: w.machine.Finish, Point: true, Base: w.base,
		Disks: slices.Collect(maps.Keys(w.set.Disks())),
		Read: func(_ context.Context, id farshore.DiskID, into []byte, at block.Sector) error {
			return w.set.Reread(id, into, at)
		},
		Progress: func(f scrub.Figures) {
			figures(f)
			w.observe(w.stream.Machine, func(o *MachineObserved) { o.Proof = proof })
		},
		Differs: func(id farshore.DiskID, e block.Extent, _ farshore.Position) {
			if proof.Where == "" {
				proof.Where = fmt.Sprintf("disk %s, byte %d", id, e.Start.Offset())
			}
		},
	}.Run(ctx)
	if err != nil {
		return Proof{}, w.notReached(err)
	}
	figures(last)
	if proof.Different > 0 {
		return Proof{}, &fault.Fault{
			Code: "FS-4114", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s at %v", w.stream.Machine, w.machine.Finish),
			What:   fmt.Sprintf("%d of %d bytes read back are not what the journal says, first at %s", proof.Different, proof.Compared, proof.Where),
			Remedy: "take the disks back, see whether they are sound and whether anybody else writes to them, and give them again",
		}
	}
	return proof, nil
}

// notReached gives a place with nothing to compare with the master target's own fault.
func (w *way) notReached(err error) error {
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-3516" && f.Code != "FS-3517" {
		return err
	}
	return notReached(w.machine, f.What)
}

func notReached(m Machine, what string) error {
	return &fault.Fault{
		Code: "FS-4113", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s at %v", m.Machine, m.Finish), What: what,
		Remedy: "choose a recovery point of the machine: farshore point list " + string(m.Machine),
	}
}
