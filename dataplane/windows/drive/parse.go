package drive

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrMore means that the answer does not fit.
var ErrMore = errors.New("the answer is larger than the room for it")

var le = binary.LittleEndian

// A Bus tells how a drive is attached (STORAGE_BUS_TYPE).
type Bus uint32

// busFileBacked is a virtual hard disk file that somebody has attached: it lies on another drive.
const busFileBacked Bus = 15

// Descriptor is what a device says of itself.
type Descriptor struct {
	Serial    string
	Removable bool
	Bus       Bus
}

// parseDescriptor reads a STORAGE_DEVICE_DESCRIPTOR.
func parseDescriptor(b []byte) (Descriptor, error) {
	if len(b) < 36 {
		return Descriptor{}, fmt.Errorf("read a device descriptor: it has %d bytes, want at least 36", len(b))
	}
	d := Descriptor{Removable: b[10] != 0, Bus: Bus(le.Uint32(b[28:]))}
	if at := le.Uint32(b[24:]); at != 0 && at < uint32(len(b)) {
		text, _, _ := strings.Cut(string(b[at:]), "\x00")
		d.Serial = strings.TrimSpace(text)
	}
	return d, nil
}

// parseWorldWideName reads a STORAGE_DEVICE_ID_DESCRIPTOR (VPD page 83): the first binary NAA or EUI-64 name of the device
// itself, in hexadecimal, or "".
func parseWorldWideName(b []byte) string {
	const (
		binaryCode = 1
		ofDevice   = 0
		eui64, naa = 2, 3
	)
	if len(b) < 12 {
		return ""
	}
	best := ""
	rest := b[12:]
	for n := le.Uint32(b[8:]); n > 0 && len(rest) >= 16; n-- {
		size, next := int(le.Uint16(rest[8:])), int(le.Uint16(rest[10:]))
		kind := le.Uint32(rest[4:])
		if le.Uint32(rest) == binaryCode && le.Uint32(rest[12:]) == ofDevice && 16+size <= len(rest) {
			name := hex.EncodeToString(rest[16 : 16+size])
			named := strings.Trim(name, "0") != ""
			if kind == naa && named {
				return name
			}
			if kind == eui64 && named && best == "" {
				best = name
			}
		}
		if next < 16 || next > len(rest) {
			break
		}
		rest = rest[next:]
	}
	return best
}

// Layout is a partition table.
type Layout struct {
	Name       string // "gpt-GUID", "mbr-signature", or "" for a drive without a table
	Partitions []Partition
}

// Partition is one entry of it.
type Partition struct {
	Offset, Length int64 // bytes
	Starts         bool  // the firmware starts from it: an EFI system partition, or the active one
}

const (
	styleMBR, styleGPT = 0, 1
	layoutHeader       = 48  // DRIVE_LAYOUT_INFORMATION_EX up to its entries
	layoutEntry        = 144 // PARTITION_INFORMATION_EX
	efiSystem          = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
)

// parseLayout reads a DRIVE_LAYOUT_INFORMATION_EX.
func parseLayout(b []byte) (Layout, error) {
	if len(b) < layoutHeader {
		return Layout{}, fmt.Errorf("read a partition table: it has %d bytes, want at least %d", len(b), layoutHeader)
	}
	style, count := le.Uint32(b), int64(le.Uint32(b[4:]))
	if int64(len(b)) < layoutHeader+count*layoutEntry {
		return Layout{}, fmt.Errorf("read a partition table: %d entries do not fit into %d bytes", count, len(b))
	}
	var l Layout
	switch style {
	case styleGPT:
		l.Name = "gpt-" + guid(b[8:])
	case styleMBR:
		if signature := le.Uint32(b[8:]); signature != 0 {
			l.Name = fmt.Sprintf("mbr-%08x", signature)
		}
	}
	for entry := b[layoutHeader : layoutHeader+count*layoutEntry]; len(entry) > 0; entry = entry[layoutEntry:] {
		p := Partition{Offset: int64(le.Uint64(entry[8:])), Length: int64(le.Uint64(entry[16:]))}
		if p.Length == 0 { // an empty slot of an MBR
			continue
		}
		p.Starts = style == styleMBR && entry[33] != 0 || style == styleGPT && guid(entry[32:]) == efiSystem
		l.Partitions = append(l.Partitions, p)
	}
	return l, nil
}

// Place is where a part of a volume lies.
type Place struct {
	Drive          uint32
	Offset, Length int64 // bytes
}

// parsePlaces reads a VOLUME_DISK_EXTENTS.
func parsePlaces(b []byte) ([]Place, error) {
	const header, entry = 8, 24
	if len(b) < header {
		return nil, fmt.Errorf("read where a volume lies: the answer has %d bytes, want at least %d", len(b), header)
	}
	count := int64(le.Uint32(b))
	if int64(len(b)) < header+count*entry {
		return nil, fmt.Errorf("read where a volume lies: %d places do not fit into %d bytes", count, len(b))
	}
	places := make([]Place, count)
	for i := range places {
		at := b[header+i*entry:]
		places[i] = Place{Drive: le.Uint32(at), Offset: int64(le.Uint64(at[8:])), Length: int64(le.Uint64(at[16:]))}
		if places[i].Offset < 0 || places[i].Length <= 0 {
			return nil, fmt.Errorf("read where a volume lies: place %d is %d bytes at %d", i, places[i].Length, places[i].Offset)
		}
	}
	return places, nil
}

// guid writes a GUID as Windows stores it: the first three fields are little-endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
