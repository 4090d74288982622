package rescue

import (
	"fmt"

	"farshore/dataplane/mastertarget"
)

// Progress says in one line what a machine's disks are at, for whoever stands in front of the metal; empty: there is nothing to
// say. While nothing happens it says the same.
func Progress(o mastertarget.MachineObserved) string {
	switch {
	case !o.Open || !o.Finished.IsZero():
		return ""
	case o.Fault != nil:
		return fmt.Sprintf("Machine %s stands still: %s (%s)", o.Machine, o.Fault.What, o.Fault.Code)
	case !o.Finish.IsZero() && o.Proof.Total > 0:
		return fmt.Sprintf("Machine %s: %s of %s read back and compared with %s.", o.Machine, size(o.Proof.Compared), size(o.Proof.Total), o.Finish)
	case o.Finish.IsZero() && o.CaughtUp:
		return fmt.Sprintf("Machine %s: its disks hold all that is in the vault, and follow it until: farshore failback start %s", o.Machine, o.Machine)
	}
	return fmt.Sprintf("Machine %s: %s written, %s was there already.", o.Machine, size(o.Written), size(o.Equal))
}
