package volume_test

import (
	"bytes"
	"testing"

	"farshore/dataplane/readiness/volume"
)

// FuzzDevice reads whatever a device may hold: nothing in it may make a partition begin before the disk or a reader fail by panic.
func FuzzDevice(f *testing.F) {
	mbr := make([]byte, 1024)
	copy(mbr[446:], []byte{0x80, 0, 0, 0, 0x05, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0})
	copy(mbr[510:], []byte{0x55, 0xaa})
	copy(mbr[512+446:], []byte{0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x05})
	copy(mbr[1022:], []byte{0x55, 0xaa})
	f.Add(mbr)
	gpt := make([]byte, 2048)
	copy(gpt[512:], "EFI PART")
	copy(gpt[512+72:], []byte{2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 128})
	copy(gpt[1024:], bytes.Repeat([]byte{1}, 48))
	f.Add(gpt)
	f.Add([]byte("LUKS\xba\xbe\x00\x02\x00\x00\x00\x00\x00\x00\x40\x00"))
	f.Fuzz(func(t *testing.T, device []byte) {
		r := bytes.NewReader(device)
		if v, err := volume.Identify(r, r.Size()); err == nil && v.LUKS != nil && v.LUKS.Passphrases() > len(v.LUKS.Keyslots) {
			t.Errorf("more passphrases than key slots: %+v", v.LUKS)
		}
		table, err := volume.ReadTable(r)
		for _, p := range table.Partitions {
			if err == nil && (p.At < 0 || p.Bytes < 0) {
				t.Errorf("partition %+v", p)
			}
		}
	})
}
