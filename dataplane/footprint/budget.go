package footprint

import (
	"fmt"
	"math/bits"

	"farshore/fault"
)

// The budgets. A machine gives the agent a share of its memory, and a cgroup can only make it less.
const (
	machineShare = 16       // one part in so many of the machine's memory
	leastBytes   = 96 << 20 // a machine gives at least this: below it the smallest budgets are used all the same
	mostBytes    = 2 << 30  // more is of no use
	runtimeBytes = 40 << 20 // code, stacks, connections, garbage
	perTiB       = 32 << 20 // kernel memory of the dirty bitmaps for each TiB protected
	windowShare  = 4        // one part in so many of what is left
	ringShare    = 3        // of what is left then; the change log has the rest
	windowLeast  = 32 << 20 // with less, a machine that is written to gets few points without capture
	windowMost   = 256 << 20
	ringLeast    = 4 << 20   // powers of two, as the kernel wants it
	ringMost     = 256 << 20 // about half a second of the fastest writing that was measured
	logLeast     = 8 << 20   // changelog.MinMemoryBytes
	logMost      = 1 << 30
)

// Limits is what the machine, and the groups that the agent runs in, allow.
type Limits struct {
	MachineBytes   int64   // memory of the machine; 0: not known
	GroupBytes     int64   // memory of the tightest cgroup above or at the agent; 0: no limit
	CPUs           float64 // what the tightest cgroup allows, or the processors of the machine
	ProtectedBytes int64   // size of the disks that are tracked
}

// Budgets is the memory that the agent's parts may use.
type Budgets struct {
	RingBytes    int64 `json:"ringBytes"`   // of the ring of captured writes, in the kernel; a power of two
	LogBytes     int64 `json:"logBytes"`    // of the change log
	WindowBytes  int64 `json:"windowBytes"` // for the changes that are read at one instant
	TrackerBytes int64 `json:"trackerBytes"`
	RuntimeBytes int64 `json:"runtimeBytes"` // for everything else
	AllowedBytes int64 `json:"allowedBytes"` // what all together should not exceed; 0: not known
}

// Wish is what the configuration says; zeros leave it to [Budget].
type Wish struct{ RingBytes, LogBytes, WindowBytes int64 }

// Budget divides what the limits allow.
func Budget(l Limits) Budgets {
	b := Budgets{AllowedBytes: allowed(l), RuntimeBytes: runtimeBytes, TrackerBytes: l.ProtectedBytes / (1 << 40 / perTiB)}
	left := b.AllowedBytes - b.RuntimeBytes - b.TrackerBytes
	b.WindowBytes = within(left/windowShare, windowLeast, windowMost)
	left -= b.WindowBytes
	b.RingBytes = floorPower(within(left/ringShare, ringLeast, ringMost))
	b.LogBytes = within(left-b.RingBytes, logLeast, logMost)
	return b
}

// allowed is how much memory the agent may use for everything.
func allowed(l Limits) int64 {
	machine := within(l.MachineBytes/machineShare, leastBytes, mostBytes)
	switch {
	case l.GroupBytes == 0:
		return machine
	case l.MachineBytes == 0:
		return min(l.GroupBytes, mostBytes)
	}
	return min(l.GroupBytes, machine)
}

func within(n, least, most int64) int64 { return min(max(n, least), most) }

func floorPower(n int64) int64 { return 1 << (bits.Len64(uint64(n)) - 1) }

// With gives the budgets with what the configuration wants instead.
func (b Budgets) With(w Wish) Budgets {
	for _, v := range []struct {
		wish int64
		to   *int64
	}{{w.RingBytes, &b.RingBytes}, {w.LogBytes, &b.LogBytes}, {w.WindowBytes, &b.WindowBytes}} {
		if v.wish > 0 {
			*v.to = v.wish
		}
	}
	return b
}

// Total is what all parts together may use.
func (b Budgets) Total() int64 {
	return b.RingBytes + b.LogBytes + b.WindowBytes + b.TrackerBytes + b.RuntimeBytes
}

// Fault says that the budgets are more than the limits allow, or nil. The agent works all the same, until the kernel
// refuses it memory.
func (b Budgets) Fault() *fault.Fault {
	if b.Total() <= b.AllowedBytes {
		return nil
	}
	return &fault.Fault{
		Code: "FS-1020", Kind: fault.Operator, Subject: "mobility agent",
		What: fmt.Sprintf("it needs up to %d MiB of memory (%d for the ring, %d for the change log, %d for changes, %d to track the disks), and is allowed %d",
			ceilMiB(b.Total()), ceilMiB(b.RingBytes), ceilMiB(b.LogBytes), ceilMiB(b.WindowBytes), ceilMiB(b.TrackerBytes), b.AllowedBytes>>20),
		Remedy: "raise MemoryMax and MemoryHigh of farshore-agent.service, or lower ringMiB, hrl.memoryMiB or windowMiB in the agent's configuration",
	}
}

func ceilMiB(n int64) int64 { return (n + 1<<20 - 1) >> 20 }
