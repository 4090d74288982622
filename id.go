package farshore

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"farshore/fault"
)

// MachineID names a replicated machine: 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or a digit.
// It is given once, at enrolment, and stands in certificates, blob names and workflow ids.
type MachineID string

// DiskID names a disk for as long as it is protected, whatever the kernel calls it today: 1 to 64 of A-Z, a-z, 0-9,
// '.', '_' and '-'. It is made from the disk's serial number or WWN, else from its partition table's GUID.
type DiskID string

// RunID names one run of a long operation (a test failover, a failover): same form as a MachineID.
// The ids of its workflow, its cloud resources and its disks are all derived from it.
type RunID string

// GroupID names a replication group: same form as a MachineID. It is given once and stands in blob names.
type GroupID string

var (
	slugForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	diskForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// ParseMachineID checks the form of a machine's name. The error is a *fault.Fault (FS-6001).
func ParseMachineID(s string) (MachineID, error) {
	if !slugForm.MatchString(s) {
		return "", badName("machine", s, "use 1 to 63 of a-z, 0-9 and '-', with a letter or a digit at both ends")
	}
	return MachineID(s), nil
}

// ParseDiskID checks the form of a disk's name. The error is a *fault.Fault (FS-6001).
func ParseDiskID(s string) (DiskID, error) {
	if !diskForm.MatchString(s) {
		return "", badName("disk", s, "use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
	}
	return DiskID(s), nil
}

// ParseRunID checks the form of a run's name. The error is a *fault.Fault (FS-6001).
func ParseRunID(s string) (RunID, error) {
	if !slugForm.MatchString(s) {
		return "", badName("run", s, "use 1 to 63 of a-z, 0-9 and '-', with a letter or a digit at both ends")
	}
	return RunID(s), nil
}

// ParseGroupID checks the form of a group's name. The error is a *fault.Fault (FS-6001).
func ParseGroupID(s string) (GroupID, error) {
	if !slugForm.MatchString(s) {
		return "", badName("group", s, "use 1 to 63 of a-z, 0-9 and '-', with a letter or a digit at both ends")
	}
	return GroupID(s), nil
}

func badName(noun, s, remedy string) error {
	return &fault.Fault{
		Code: "FS-6001", Kind: fault.Refused,
		Subject: fmt.Sprintf("%s %q", noun, s), What: "this is not a valid name", Remedy: remedy,
	}
}

// Generation counts the full-copy eras of a machine's stream, from 1. A new base or a new direction starts one.
type Generation uint32

// Epoch counts the writers' claims on a generation, from 1.
type Epoch uint32

// Seq counts the segments of an epoch, from 1.
type Seq uint64

// LSN counts the change records of a generation, from 1; copies of blocks consume none.
type LSN uint64

// Round numbers the tries of a group to make a point together: each is higher than every one that any of its members has
// answered, and no lower than the milliseconds since 1970 of its coordinator's clock, so that it is a number of its own.
type Round uint64

// Position is the end of one segment of a machine's stream. The zero Position is before every segment.
type Position struct {
	Generation Generation `json:"generation"`
	Epoch      Epoch      `json:"epoch"`
	Seq        Seq        `json:"seq"`
}

// IsZero reports whether p is before every segment.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions of one stream: negative if p comes before q. Order is by position only, never by time.
func (p Position) Compare(q Position) int {
	for _, c := range [][2]uint64{
		{uint64(p.Generation), uint64(q.Generation)}, {uint64(p.Epoch), uint64(q.Epoch)}, {uint64(p.Seq), uint64(q.Seq)},
	} {
		if c[0] < c[1] {
			return -1
		}
		if c[0] > c[1] {
			return 1
		}
	}
	return 0
}

// String writes p as g1.e2.s345: short enough to type.
func (p Position) String() string {
	return fmt.Sprintf("g%d.e%d.s%d", p.Generation, p.Epoch, p.Seq)
}

// ParsePosition is the inverse of [Position.String].
func ParsePosition(s string) (Position, error) {
	bad := fmt.Errorf("parse position %q: want the form g1.e2.s345", s)
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return Position{}, bad
	}
	var n [3]uint64
	for i, prefix := range []string{"g", "e", "s"} {
		digits, ok := strings.CutPrefix(parts[i], prefix)
		bits := 32
		if prefix == "s" {
			bits = 64
		}
		v, err := strconv.ParseUint(digits, 10, bits)
		if !ok || err != nil {
			return Position{}, bad
		}
		n[i] = v
	}
	p := Position{Generation(n[0]), Epoch(n[1]), Seq(n[2])}
	if p.String() != s { // names of files are positions: one place has one name
		return Position{}, bad
	}
	return p, nil
}
