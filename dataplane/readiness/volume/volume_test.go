package volume_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"farshore/dataplane/readiness/volume"
)

// device is a sparse file on which a program has made something.
func device(t *testing.T, size int64, script string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if script == "" {
		return f
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	if _, err := exec.LookPath(strings.Fields(script)[0]); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script, path).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return f
}

const someUUID = "5f0a9e5c-1d3b-4c8e-9b7a-fa25b0e00009"

func TestEveryKindOfVolumeIsKnownByTheNameThatFstabUses(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		size   int64
		want   volume.Volume
	}{
		"nothing": {"", 1 << 20, volume.Volume{}},
		"ext4":    {`mkfs.ext4 -q -F -U ` + someUUID + ` -L data "$0"`, 16 << 20, volume.Volume{Type: "ext4", UUID: someUUID, Label: "data"}},
		"xfs":     {`mkfs.xfs -q -f -m uuid=` + someUUID + ` -L data "$0"`, 320 << 20, volume.Volume{Type: "xfs", UUID: someUUID, Label: "data"}},
		"btrfs":   {`mkfs.btrfs -q -f -U ` + someUUID + ` -L data "$0"`, 128 << 20, volume.Volume{Type: "btrfs", UUID: someUUID, Label: "data"}},
		"swap":    {`mkswap -q -U ` + someUUID + ` -L data "$0"`, 16 << 20, volume.Volume{Type: "swap", UUID: someUUID, Label: "data"}},
		"fat16":   {`mkfs.vfat -F 16 -i FA25B0E2 -n ESP "$0"`, 16 << 20, volume.Volume{Type: "vfat", UUID: "FA25-B0E2", Label: "ESP"}},
		"fat32":   {`mkfs.vfat -F 32 -i FA25B0E2 -n ESP "$0"`, 64 << 20, volume.Volume{Type: "vfat", UUID: "FA25-B0E2", Label: "ESP"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := volume.Identify(device(t, c.size, c.script), c.size)
			if err != nil || got != c.want {
				t.Errorf("%+v (%v), want %+v", got, err, c.want)
			}
		})
	}
}

func TestAPhysicalVolumeIsNamedAsLVMDoes(t *testing.T) {
	f := device(t, 1<<20, "")
	label := "LABELONE" + strings.Repeat("\x00", 16) + "LVM2 001" + "ZYi8kLxM1jGX9Qw2nTbR4vHcFd6sPe0A"
	if _, err := f.WriteAt([]byte(label), 512); err != nil {
		t.Fatal(err)
	}
	want := volume.Volume{Type: "LVM2_member", UUID: "ZYi8kL-xM1j-GX9Q-w2nT-bR4v-HcFd-6sPe0A"}
	if got, err := volume.Identify(f, 1<<20); err != nil || got != want {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
}

func TestTheHeaderOfAnEncryptedVolumeSaysWhoCanOpenIt(t *testing.T) {
	f := device(t, 1<<20, "")
	put := func(at int64, s string) {
		if _, err := f.WriteAt([]byte(s), at); err != nil {
			t.Fatal(err)
		}
	}
	put(0, "LUKS\xba\xbe\x00\x02\x00\x00\x00\x00\x00\x00\x40\x00")
	put(168, someUUID)
	put(4096, `{"keyslots":{"0":{},"1":{}},"tokens":{"0":{"type":"clevis","keyslots":["1"]}}}`)
	got, err := volume.Identify(f, 1<<20)
	if err != nil || got.UUID != someUUID || got.LUKS.Passphrases() != 1 || got.LUKS.Tokens[0].Type != "clevis" {
		t.Errorf("%+v %+v (%v)", got, got.LUKS, err)
	}
	put(4096, `{"keyslots":{"1":{}},"tokens":{"0":{"type":"systemd-tpm2","keyslots":["1"]}}}`+"\x00")
	if got, err = volume.Identify(f, 1<<20); err != nil || got.LUKS.Passphrases() != 0 {
		t.Errorf("bound to the TPM alone: %+v (%v)", got.LUKS, err)
	}
	put(4096, "{\x00")
	if _, err = volume.Identify(f, 1<<20); err == nil {
		t.Error("a damaged header was accepted")
	}
	put(0, "LUKS\xba\xbe\x00\x01")
	put(208+48, "\x00\xac\x71\xf3")
	if got, err = volume.Identify(f, 1<<20); err != nil || !slices.Equal(got.LUKS.Keyslots, []string{"1"}) {
		t.Errorf("LUKS1: %+v (%v)", got.LUKS, err)
	}
}

func TestMembersOfArraysAndVolumeGroupsAreNoFileSystems(t *testing.T) {
	const size = 1 << 20
	for name, c := range map[string]struct {
		at   int64
		text string
		want string
	}{
		"md 1.2":  {4096, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
		"md 1.1":  {0, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
		"md 1.0":  {size - 16*512, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
		"md 0.90": {size - 0x10000, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
		"LVM":     {512, "LABELONE", "LVM2_member"},
	} {
		t.Run(name, func(t *testing.T) {
			f := device(t, size, `mkfs.ext4 -q -F "$0"`)
			if _, err := f.WriteAt([]byte(c.text), c.at); err != nil {
				t.Fatal(err)
			}
			if name == "LVM" { // which wipes what was there
				if _, err := f.WriteAt(make([]byte, 1024), 1024); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := volume.Identify(f, size); err != nil || got.Type != c.want {
				t.Errorf("%+v (%v)", got, err)
			}
		})
	}
}

// entry writes an entry of a table of partitions like those of 1983.
func entry(t *testing.T, f *os.File, sector int64, n int, kind byte, numbers [2]uint32) {
	t.Helper()
	e := binary.LittleEndian.AppendUint32([]byte{0, 0, 0, 0, kind, 0, 0, 0}, numbers[0])
	_, err := f.WriteAt(binary.LittleEndian.AppendUint32(e, numbers[1]), sector*512+446+int64(n)*16)
	if _, err2 := f.WriteAt([]byte{0x55, 0xaa}, sector*512+510); err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
}

func TestPartitionTablesAreRead(t *testing.T) {
	gpt := device(t, 64<<20, `sgdisk --new=1:2048:4095 --typecode=1:ef02 --new=2:4096:36863 --typecode=2:ef00 --new=3:36864:0 --partition-guid=3:`+someUUID+` "$0"`)
	got, err := volume.ReadTable(gpt)
	if err != nil || got.Kind != volume.GPT || len(got.Partitions) != 3 || !got.Has(volume.TypeBIOSBoot) || !got.Has(volume.TypeESP) || got.BootCode != "" {
		t.Errorf("GPT: %+v (%v)", got, err)
	}
	if p := got.Partitions[2]; p.UUID != someUUID || p.At != 36864*512 || p.Number != 3 {
		t.Errorf("third partition: %+v", p)
	}
	mbr := device(t, 64<<20, "")
	entry(t, mbr, 0, 0, 0x83, [2]uint32{2048, 8192})
	entry(t, mbr, 0, 1, 0x05, [2]uint32{10240, 100000})
	entry(t, mbr, 10240, 0, 0x82, [2]uint32{2048, 4096})
	entry(t, mbr, 10240, 1, 0x05, [2]uint32{6144, 6144}) // relative to the extended partition
	entry(t, mbr, 16384, 0, 0x83, [2]uint32{2048, 4096})
	if _, err := mbr.WriteAt([]byte{0xcd, 0xab, 0x34, 0x12}, 440); err != nil {
		t.Fatal(err)
	}
	if got, err = volume.ReadTable(mbr); err != nil || got.Kind != volume.MBR || len(got.Partitions) != 4 || got.Has(volume.TypeESP) {
		t.Errorf("MBR: %+v (%v)", got, err)
	}
	if p := got.Partitions[3]; p.Number != 6 || p.UUID != "1234abcd-06" || p.At != 18432*512 || p.Type != "83" {
		t.Errorf("second logical partition: %+v", p)
	}
	if _, err := mbr.WriteAt([]byte("\xeb\x63 GRUB "), 0); err != nil {
		t.Fatal(err)
	}
	if got, err = volume.ReadTable(mbr); err != nil || got.BootCode != "grub" {
		t.Errorf("with boot code: %+v (%v)", got, err)
	}
	plain := device(t, 16<<20, `mkfs.vfat "$0"`)
	if got, err = volume.ReadTable(plain); err != nil || got.Kind != volume.NoTable {
		t.Errorf("a file system on the whole disk: %+v (%v)", got, err)
	}
}
