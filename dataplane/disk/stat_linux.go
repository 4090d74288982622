package disk

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stat samples the device. What is in flight is read before what is completed, so that a write is never missed by both.
func (d *Device) Stat() (Stat, error) {
	if !d.node {
		return d.fileStat()
	}
	inFlight, err := readCounters(d.sys("inflight"), 1)
	if err != nil {
		return Stat{}, err
	}
	completed, err := readCounters(d.sys("stat"), 6, 13)
	if err != nil {
		return Stat{}, err
	}
	return Stat{WrittenSectors: completed[0], DiscardedSectors: completed[1], InFlight: inFlight[0]}, nil
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

// readCounters reads fields, counted from 0, of a file of numbers.
func readCounters(path string, fields ...int) ([]uint64, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("sample the write counters: %w", err)
	}
	words := strings.Fields(string(body))
	values := make([]uint64, len(fields))
	for i, at := range fields {
		if at >= len(words) {
			return nil, fmt.Errorf("sample the write counters: %s has %d fields, want more than %d", path, len(words), at)
		}
		if values[i], err = strconv.ParseUint(words[at], 10, 64); err != nil {
			return nil, fmt.Errorf("sample the write counters in %s: %w", path, err)
		}
	}
	return values, nil
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
