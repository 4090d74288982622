package volume

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Volume is what a device holds.
type Volume struct {
	Type  string // as blkid says it: "ext4", "xfs", "btrfs", "vfat", "swap", "crypto_LUKS", "LVM2_member", "linux_raid_member"; "" if it is none of them
	UUID  string // as fstab writes it
	Label string
	LUKS  *LUKS // of an encrypted volume
}

// LUKS is what the header of an encrypted volume says about its keys.
type LUKS struct {
	Version  int
	Keyslots []string // those in use
	Tokens   []Token  // what unlocks some of them without a passphrase; LUKS2 only
}

// Token says what holds the passphrase of some key slots.
type Token struct {
	Type     string // "clevis", "systemd-tpm2", "systemd-fido2", "systemd-recovery", ...
	Keyslots []string
}

// Passphrases counts the key slots that a person can open: those that no token speaks for, and recovery keys.
func (l *LUKS) Passphrases() int {
	held := map[string]bool{}
	for _, t := range l.Tokens {
		if t.Type == "systemd-recovery" {
			continue
		}
		for _, slot := range t.Keyslots {
			held[slot] = true
		}
	}
	n := 0
	for _, slot := range l.Keyslots {
		if !held[slot] {
			n++
		}
	}
	return n
}

// format is one that is recognised by a magic at a fixed place.
type format struct {
	name            string
	at              int64
	magic           string
	uuid            int64 // place of 16 bytes; 0 if none
	label, labelLen int64
}

// formats in the order in which they are asked: containers before what they may look like.
var formats = []format{
	{name: "linux_raid_member", at: 4096, magic: "\xfc\x4e\x2b\xa9", uuid: 4096 + 16, label: 4096 + 32, labelLen: 32},
	{name: "linux_raid_member", at: 0, magic: "\xfc\x4e\x2b\xa9", uuid: 16, label: 32, labelLen: 32},
	{name: "swap", at: 4096 - 10, magic: "SWAPSPACE2", uuid: 1036, label: 1052, labelLen: 16},
	{name: "xfs", at: 0, magic: "XFSB", uuid: 32, label: 108, labelLen: 12},
	{name: "btrfs", at: 65536 + 64, magic: "_BHRfS_M", uuid: 65536 + 32, label: 65536 + 0x12b, labelLen: 256},
	{name: "ext4", at: 1024 + 56, magic: "\x53\xef", uuid: 1024 + 104, label: 1024 + 120, labelLen: 16},
	{name: "LVM2_member", at: 512, magic: "LABELONE"},
	{name: "LVM2_member", at: 0, magic: "LABELONE"},
}

// Identify looks at a device of a size. A device that holds nothing known is no error: its type is "".
func Identify(r io.ReaderAt, size int64) (Volume, error) {
	p := probe{r: r}
	if p.is(0, "LUKS\xba\xbe") {
		return luks(p)
	}
	if uuid, ok := raidAtEnd(&p, size); ok {
		return Volume{Type: "linux_raid_member", UUID: uuid}, p.err
	}
	for _, f := range formats {
		if !p.is(f.at, f.magic) {
			continue
		}
		v := Volume{Type: f.name, Label: p.text(f.label, f.labelLen)}
		switch {
		case f.uuid > 0:
			v.UUID = uuidText(p.bytes(f.uuid, 16))
		case f.name == "LVM2_member":
			v.UUID = physicalVolume(p.text(f.at+32, 32))
		}
		return v, p.err
	}
	return fat(p)
}

// probe reads small pieces. What lies behind the end of the device is zero.
type probe struct {
	r   io.ReaderAt
	err error
}

func (p *probe) bytes(at, n int64) []byte {
	b := make([]byte, n)
	if _, err := p.r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) && p.err == nil {
		p.err = fmt.Errorf("read %d bytes at %d: %w", n, at, err)
	}
	return b
}

func (p *probe) is(at int64, magic string) bool {
	return string(p.bytes(at, int64(len(magic)))) == magic
}

func (p *probe) text(at, n int64) string {
	b, _, _ := bytes.Cut(p.bytes(at, n), []byte{0})
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
}

func uuidText(b []byte) string {
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// physicalVolume writes the name of a physical volume as LVM does.
func physicalVolume(s string) string {
	if len(s) != 32 {
		return ""
	}
	return strings.Join([]string{s[:6], s[6:10], s[10:14], s[14:18], s[18:22], s[22:26], s[26:]}, "-")
}

// raidAtEnd finds the md formats 1.0 and 0.90, whose members begin like the file system on the array.
func raidAtEnd(p *probe, size int64) (uuid string, ok bool) {
	const magic = "\xfc\x4e\x2b\xa9"
	if size < 1<<17 {
		return "", false
	}
	sectors := size / 512
	if at := ((sectors &^ 7) - 16) * 512; p.is(at, magic) {
		return uuidText(p.bytes(at+16, 16)), true
	}
	if at := size&^0xffff - 0x10000; p.is(at, magic) {
		return uuidText(slices.Concat(p.bytes(at+20, 4), p.bytes(at+52, 12))), true
	}
	return "", false
}

func fat(p probe) (Volume, error) {
	if !p.is(510, "\x55\xaa") {
		return Volume{}, p.err
	}
	serial, label := int64(67), int64(71)
	if !p.is(82, "FAT32   ") {
		if !p.is(54, "FAT16   ") && !p.is(54, "FAT12   ") {
			return Volume{}, p.err
		}
		serial, label = 39, 43
	}
	s := fmt.Sprintf("%08X", binary.LittleEndian.Uint32(p.bytes(serial, 4)))
	return Volume{Type: "vfat", UUID: s[:4] + "-" + s[4:], Label: p.text(label, 11)}, p.err
}

// Places in the headers of LUKS1 and LUKS2.
const (
	luksUUID       = 168
	luks1Slots     = 208
	luks1SlotBytes = 48
	luks1Active    = 0x00ac71f3
	luks2JSON      = 4096
	maxLUKSHeader  = 4 << 20 // the greatest that the format knows
)

func luks(p probe) (Volume, error) {
	v := Volume{Type: "crypto_LUKS", UUID: p.text(luksUUID, 40), LUKS: &LUKS{Version: int(binary.BigEndian.Uint16(p.bytes(6, 2)))}}
	if v.LUKS.Version == 1 {
		for n := range int64(8) {
			if binary.BigEndian.Uint32(p.bytes(luks1Slots+n*luks1SlotBytes, 4)) == luks1Active {
				v.LUKS.Keyslots = append(v.LUKS.Keyslots, fmt.Sprint(n))
			}
		}
		return v, p.err
	}
	v.Label = p.text(24, 48)
	size := binary.BigEndian.Uint64(p.bytes(8, 8))
	if size <= luks2JSON || size > maxLUKSHeader {
		return v, fmt.Errorf("a LUKS2 header of %d bytes, want %d to %d", size, luks2JSON+1, maxLUKSHeader)
	}
	raw, _, _ := bytes.Cut(p.bytes(luks2JSON, int64(size)-luks2JSON), []byte{0})
	var about struct {
		Keyslots map[string]json.RawMessage `json:"keyslots"`
		Tokens   map[string]Token           `json:"tokens"`
	}
	if err := json.Unmarshal(raw, &about); err != nil {
		return v, errors.Join(p.err, fmt.Errorf("read the LUKS2 header: %w", err))
	}
	v.LUKS.Keyslots = slices.Sorted(maps.Keys(about.Keyslots))
	for _, n := range slices.Sorted(maps.Keys(about.Tokens)) {
		v.LUKS.Tokens = append(v.LUKS.Tokens, about.Tokens[n])
	}
	return v, p.err
}
