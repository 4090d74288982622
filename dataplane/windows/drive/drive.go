package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

const (
	prefix = `\\.\PhysicalDrive`
	// maxNumbers bounds the numbers that are tried: Windows counts drives from 0 and leaves holes where some were taken away.
	maxNumbers = 128
	maxAnswer  = 1 << 20
)

// Path is the path of a drive.
func Path(number uint32) string { return prefix + strconv.FormatUint(uint64(number), 10) }

// Number is the number of the drive at a path; ok is false for the path of anything else.
func Number(path string) (number uint32, ok bool) {
	if len(path) < len(prefix) || !strings.EqualFold(path[:len(prefix)], prefix) {
		return 0, false
	}
	n, err := strconv.ParseUint(path[len(prefix):], 10, 32)
	return uint32(n), err == nil
}

// Drive is one physical drive of the machine.
type Drive struct {
	Number uint32
	Bytes  int64
	Starts bool // the firmware starts from it
}

// Find lists the physical drives in the order of their numbers. Left out are readers without a medium, media that can be
// taken out, and virtual disk files that are attached, since those lie on another drive.
func Find(s System) ([]Drive, error) {
	var found []Drive
	starts := map[uint32]bool{}
	for n := range uint32(maxNumbers) {
		d, partitions, err := look(s, n)
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.Bytes == 0 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("examine %s: %w", Path(n), err)
		}
		for _, p := range partitions {
			starts[n] = starts[n] || p.Starts
		}
		found = append(found, d)
	}
	return found, markBoot(s, found, starts)
}

// look examines one drive. One that is not for protection has no bytes.
func look(s System, n uint32) (Drive, []Partition, error) {
	h, err := s.Drive(n)
	if err != nil {
		return Drive{}, nil, err
	}
	defer h.Close() // only read
	said, err := Describe(h)
	if err != nil {
		return Drive{}, nil, err
	}
	if said.Removable || said.Bus == busFileBacked {
		return Drive{}, nil, nil
	}
	size, err := Size(h)
	if err != nil { // no medium
		return Drive{}, nil, nil //nolint:nilerr // an empty reader is not a fault
	}
	layout, err := Table(h)
	if err != nil {
		return Drive{}, nil, err
	}
	return Drive{Number: n, Bytes: size}, layout.Partitions, nil
}

// markBoot marks the drive that the firmware starts from: of those with a partition to start from, the one that Windows
// runs from, else the first.
func markBoot(s System, drives []Drive, starts map[uint32]bool) error {
	if len(drives) == 0 {
		return nil
	}
	name, err := s.SystemVolume()
	if err != nil {
		return fmt.Errorf("find the boot disk: %w", err)
	}
	places, err := Places(s, name)
	if err != nil {
		return fmt.Errorf("find the boot disk: %w", err)
	}
	runs := map[uint32]bool{}
	for _, p := range places {
		runs[p.Drive] = true
	}
	best := -1
	for i, d := range drives {
		better := best < 0 || rank(starts[d.Number], runs[d.Number]) > rank(starts[drives[best].Number], runs[drives[best].Number])
		if better {
			best = i
		}
	}
	drives[best].Starts = starts[drives[best].Number] || runs[drives[best].Number]
	return nil
}

func rank(starts, runs bool) int {
	n := 0
	if starts {
		n += 2
	}
	if runs {
		n++
	}
	return n
}

// Size is the size of a drive or volume in bytes.
func Size(h Handle) (int64, error) {
	var out [8]byte
	n, err := h.Control(getLength, nil, out[:])
	if err != nil {
		return 0, fmt.Errorf("ask the size: %w", err)
	}
	if n < len(out) {
		return 0, fmt.Errorf("ask the size: the answer has %d bytes, want %d", n, len(out))
	}
	return int64(le.Uint64(out[:])), nil
}

// Describe asks a drive what it is.
func Describe(h Handle) (Descriptor, error) {
	answer, err := property(h, 0)
	if err != nil {
		return Descriptor{}, fmt.Errorf("ask what the device is: %w", err)
	}
	return parseDescriptor(answer)
}

// Name gives the drive's own name: its world wide name ("wwn-..."), else its serial number ("serial-..."), else that of its
// partition table ("gpt-...", "mbr-..."), else "".
func Name(h Handle) string {
	if answer, err := property(h, 2); err == nil { // many a driver knows no page 83
		if name := parseWorldWideName(answer); name != "" {
			return "wwn-" + name
		}
	}
	if said, err := Describe(h); err == nil && said.Serial != "" {
		return "serial-" + said.Serial
	}
	layout, err := Table(h)
	if err != nil {
		return ""
	}
	return layout.Name
}

// property asks for a STORAGE_PROPERTY_ID of a device.
func property(h Handle, id uint32) ([]byte, error) {
	return ask(h, queryProperty, le.AppendUint32(nil, id), 1024, 12)
}

// Table reads the partition table. A drive without one has no partitions.
func Table(h Handle) (Layout, error) {
	answer, err := ask(h, getLayout, nil, layoutHeader+128*layoutEntry, 0)
	if err != nil {
		return Layout{}, fmt.Errorf("read the partition table: %w", err)
	}
	return parseLayout(answer)
}

// ask makes a request with as much room as its answer needs. The input is padded to a length.
func ask(h Handle, code uint32, in []byte, room, padded int) ([]byte, error) {
	for len(in) < padded {
		in = append(in, 0)
	}
	for ; room <= maxAnswer; room *= 4 {
		out := make([]byte, room)
		n, err := h.Control(code, in, out)
		if errors.Is(err, ErrMore) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return out[:n], nil
	}
	return nil, ErrMore
}
