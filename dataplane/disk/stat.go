package disk

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stat is the kernel's own count of what has been written to a device. Two equal samples with nothing in flight at the
// second prove that no write or discard reached the device between them.
//
// Source: Documentation/block/stat.rst of the Linux kernel.
type Stat struct {
	WrittenSectors   uint64 // field 7: completed writes, of 512 bytes
	DiscardedSectors uint64 // field 14: completed discards
	InFlight         uint64 // field 9: requests at the device now, reads too
	FileChanged      int64  // image files: when contents or inode changed last, in ns of UTC
}

// SameWrites reports whether nothing was completed between the samples.
func (s Stat) SameWrites(o Stat) bool {
	return s.WrittenSectors == o.WrittenSectors && s.DiscardedSectors == o.DiscardedSectors && s.FileChanged == o.FileChanged
}

// Stat samples the device. What is in flight is read before what is completed, so that a write is never missed by both.
func (d *Device) Stat() (Stat, error) {
	if !d.node {
		return d.fileStat()
	}
	first, err := readStat(d.sys("stat"))
	if err != nil {
		return Stat{}, err
	}
	second, err := readStat(d.sys("stat"))
	if err != nil {
		return Stat{}, err
	}
	second.InFlight = first.InFlight
	return second, nil
}

// Accounted reports whether the kernel counts the device's writes at all (queue/iostats).
func (d *Device) Accounted() bool { return d.node && attribute(d.sys("queue/iostats")) != "0" }

// RequestBased reports whether the device is driven by requests that can be watched; stacked devices (dm, md) and memory
// disks are not.
func (d *Device) RequestBased() bool {
	st, err := os.Stat(d.sys("mq"))
	return d.node && err == nil && st.IsDir()
}

// Sequence is a number that changes whenever another medium or backing file stands behind the same device number. It is
// empty where the kernel has none (before 5.15).
func (d *Device) Sequence() string {
	if !d.node {
		var st unix.Stat_t
		if err := unix.Fstat(int(d.file.Fd()), &st); err != nil {
			return ""
		}
		return fmt.Sprintf("inode-%d-%d", st.Dev, st.Ino)
	}
	return attribute(d.sys("diskseq"))
}

func readStat(path string) (Stat, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return Stat{}, fmt.Errorf("sample the write counters: %w", err)
	}
	fields := strings.Fields(string(body))
	if len(fields) < 14 {
		return Stat{}, fmt.Errorf("sample the write counters: %s has %d fields, want 14", path, len(fields))
	}
	var values [3]uint64
	for i, at := range []int{6, 13, 8} {
		if values[i], err = strconv.ParseUint(fields[at], 10, 64); err != nil {
			return Stat{}, fmt.Errorf("sample the write counters in %s: %w", path, err)
		}
	}
	return Stat{WrittenSectors: values[0], DiscardedSectors: values[1], InFlight: values[2]}, nil
}

// fileStat brings what is mapped and dirty to the file first, so that a later store through a mapping faults and moves
// the time of change.
func (d *Device) fileStat() (Stat, error) {
	if err := d.file.Sync(); err != nil {
		return Stat{}, fmt.Errorf("flush %s: %w", d.path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.file.Fd()), &st); err != nil {
		return Stat{}, fmt.Errorf("sample %s: %w", d.path, err)
	}
	return Stat{FileChanged: max(st.Mtim.Nano(), st.Ctim.Nano())}, nil
}
