package disk

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"

	"farshore"
)

const maxDiskID = 64

// Identify names the disk. The first that exists decides, and the prefix says which it was:
//
//	wwn-     the world wide name that the device reports
//	serial-  the device's serial number
//	gpt-     the GUID in the header of its GUID partition table
//	mbr-     the signature in its master boot record
//	name-    the name of the image file, the file behind a loop device, or the device
//
// Only the first four survive the move of a disk to another slot or controller.
func Identify(d *Device) (farshore.DiskID, error) {
	id := hardwareName(d)
	if id == "" {
		table, err := tableName(d)
		if err != nil {
			return "", err
		}
		id = table
	}
	if id == "" {
		id = nodeName(d)
	}
	return farshore.ParseDiskID(clean(id))
}

const nodePrefix = "name-"

// nodeName is what a disk is called of which nothing else is known.
func nodeName(d *Device) string { return nodePrefix + filepath.Base(backingName(d)) }

// tableName reads the identity in the first sectors: the GUID of a GPT header, else the signature of an MBR.
func tableName(d *Device) (string, error) {
	sectors, err := d.Sectors()
	if err != nil {
		return "", err
	}
	if sectors.Bytes() < 2*Alignment {
		return "", nil
	}
	head := Buffer(2 * Alignment)
	if _, err := d.ReadAt(head, 0); err != nil {
		return "", fmt.Errorf("identify disk %s: %w", d.path, err)
	}
	for _, header := range [][]byte{head[512:], head[4096:]} { // sectors of 512 or of 4096 bytes
		if string(header[:8]) == "EFI PART" {
			return "gpt-" + guid(header[56:72]), nil
		}
	}
	signature := binary.LittleEndian.Uint32(head[440:])
	if head[510] == 0x55 && head[511] == 0xAA && signature != 0 {
		return fmt.Sprintf("mbr-%08x", signature), nil
	}
	return "", nil
}

// guid writes a GUID as UEFI stores it: the first three fields are little-endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

// clean makes a DiskID of what a device calls itself.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, strings.Trim(s, " \x00\n"))
	if len(s) > maxDiskID {
		s = s[:maxDiskID]
	}
	return s
}
