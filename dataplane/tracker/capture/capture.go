package capture

import (
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/fault"
)

// Write is one write as it was submitted: a whole bio.
type Write struct {
	Disk   int // index into the devices
	Extent block.Extent
	// Kind is Data; Zero for WRITE_ZEROES; Unspecified for discards, and for the agent's own writes to its change log.
	Kind   block.Kind
	Pieces [][]byte      // of Data, in order, together the extent; valid until take returns
	Boot   time.Duration // boot clock when it was submitted
	// Position is the place in the ring right behind the write. Writes are given in ascending order of it.
	Position uint64
}

// Own describes the writes that the agent makes for itself: by this process, beginning with the cookie. They are recorded
// as Unspecified, without data, wherever on the disk they fall.
type Own struct {
	PID    int
	Cookie [16]byte
}

// Config says what to capture.
type Config struct {
	Devices   []*disk.Device
	RingBytes int // rounded up to a power of two
	Own       Own // PID 0: none
}

// Stable says what became of a disk's queue/stable_writes.
type Stable struct {
	Before string // the value found, "" where the kernel has no such attribute
	Now    string // the value it has now
}

func unable(why error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-1014", Kind: fault.Operator, Subject: "write capture", What: "writes cannot be captured in their order on this kernel",
		Remedy: "disks are tracked with bitmaps or scans instead; x86-64, a kernel from 5.17 with BTF, and no lockdown=confidentiality give the better grade",
		Err:    why,
	}
}

func unfit(d *disk.Device, what, remedy string) *fault.Fault {
	return &fault.Fault{Code: "FS-1015", Kind: fault.Operator, Subject: "disk " + d.Path(), What: what, Remedy: remedy}
}
