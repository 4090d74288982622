package bootentry

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Active is the attribute of an option that may be started.
const Active = 1

// Option is one load option.
type Option struct {
	Attributes uint32
	Title      string
	Path       []byte // device path
	Data       []byte // for the loader
}

// Target is a file on a partition of a disk with a GPT.
type Target struct {
	Partition int    // its number
	First     uint64 // block
	Blocks    uint64
	GUID      string // of the partition: "0fc63daf-8483-4772-8e79-3d69d8477de4"
	File      string // with backslashes, from the root: \EFI\BOOT\BOOTX64.EFI
}

// The nodes of a device path that are understood.
const (
	typeMedia       = 4
	subtypeDrive    = 1
	subtypeFile     = 4
	typeEnd         = 0x7f
	subtypeEnd      = 0xff
	driveNodeBytes  = 42
	signatureGUID   = 2
	formatGPT       = 2
	nodeHeaderBytes = 4
	maxOptionBytes  = 64 << 10
)

// ParseOption reads the content of a variable Boot####, without the attributes that efivarfs puts in front.
func ParseOption(b []byte) (Option, error) {
	if len(b) < 8 || len(b) > maxOptionBytes {
		return Option{}, fmt.Errorf("a load option of %d bytes", len(b))
	}
	o := Option{Attributes: binary.LittleEndian.Uint32(b)}
	path := int(binary.LittleEndian.Uint16(b[4:]))
	title, rest, ok := cutText(b[6:])
	if !ok {
		return Option{}, errors.New("a load option whose title has no end")
	}
	if len(rest) < path {
		return Option{}, fmt.Errorf("a load option with %d bytes for a device path of %d", len(rest), path)
	}
	o.Title, o.Path, o.Data = title, bytes.Clone(rest[:path]), bytes.Clone(rest[path:])
	return o, nil
}

// Encode gives the content of a variable.
func (o Option) Encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, o.Attributes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(o.Path)))
	b = append(appendText(b, o.Title), o.Path...)
	return append(b, o.Data...)
}

// Start makes the option that starts a file.
func Start(title string, t Target) (Option, error) {
	guid, err := parseGUID(t.GUID)
	if err != nil {
		return Option{}, err
	}
	drive := []byte{typeMedia, subtypeDrive}
	drive = binary.LittleEndian.AppendUint16(drive, driveNodeBytes)
	drive = binary.LittleEndian.AppendUint32(drive, uint32(t.Partition))
	drive = binary.LittleEndian.AppendUint64(drive, t.First)
	drive = binary.LittleEndian.AppendUint64(drive, t.Blocks)
	drive = append(append(drive, guid...), formatGPT, signatureGUID)
	file := appendText(nil, t.File)
	path := append(drive, typeMedia, subtypeFile)
	path = binary.LittleEndian.AppendUint16(path, uint16(nodeHeaderBytes+len(file)))
	path = append(append(path, file...), typeEnd, subtypeEnd, nodeHeaderBytes, 0)
	return Option{Attributes: Active, Title: title, Path: path}, nil
}

// Target gives the file that an option starts; ok is false if it starts anything else. A path may begin at a partition, or with
// the bus that its disk hangs on.
func (o Option) Target() (t Target, ok bool) {
	found := false
	for path := o.Path; len(path) >= nodeHeaderBytes; {
		n := int(binary.LittleEndian.Uint16(path[2:]))
		if n < nodeHeaderBytes || n > len(path) {
			return Target{}, false
		}
		node := path[:n]
		path = path[n:]
		switch {
		case node[0] == typeMedia && node[1] == subtypeDrive:
			if n != driveNodeBytes || node[40] != formatGPT || node[41] != signatureGUID {
				return Target{}, false
			}
			t.Partition, found = int(binary.LittleEndian.Uint32(node[4:])), true
			t.First, t.Blocks = binary.LittleEndian.Uint64(node[8:]), binary.LittleEndian.Uint64(node[16:])
			t.GUID = guidText(node[24:40])
		case node[0] == typeMedia && node[1] == subtypeFile:
			name, _, whole := cutText(node[nodeHeaderBytes:])
			if !whole {
				return Target{}, false
			}
			t.File += name // a name may be spread over nodes
		case node[0] == typeEnd && node[1] == subtypeEnd:
			return t, found && t.File != ""
		}
	}
	return Target{}, false
}

// same reports whether two targets are the same file of the same partition. FAT ignores case.
func (t Target) same(o Target) bool {
	return strings.EqualFold(t.GUID, o.GUID) && strings.EqualFold(t.File, o.File)
}

// cutText reads UTF-16 up to its end, a zero.
func cutText(b []byte) (text string, rest []byte, ok bool) {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			return string(utf16.Decode(units)), b[i+2:], true
		}
		units = append(units, u)
	}
	return "", nil, false
}

func appendText(b []byte, text string) []byte {
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return append(b, 0, 0)
}

// guidText writes a GUID, whose first three fields are little-endian.
func guidText(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func parseGUID(text string) ([]byte, error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != 16 || len(text) != 36 {
		return nil, fmt.Errorf("%q is no GUID", text)
	}
	for _, field := range [][]byte{raw[:4], raw[4:6], raw[6:8]} {
		for i, j := 0, len(field)-1; i < j; i, j = i+1, j-1 {
			field[i], field[j] = field[j], field[i]
		}
	}
	return raw, nil
}
