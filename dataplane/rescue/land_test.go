package rescue

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"farshore/dataplane/rescue/bootentry"
)

func esp(paths ...string) fstest.MapFS {
	tree := fstest.MapFS{}
	for _, p := range paths {
		tree[p] = &fstest.MapFile{Data: []byte(p)}
	}
	return tree
}

func TestTheLoaderIsTheDistributionsOwn(t *testing.T) {
	rows := []struct {
		name   string
		tree   fstest.MapFS
		loader string
		copies int
	}{
		{"fallback path only", esp("EFI/BOOT/BOOTX64.EFI"), "EFI/BOOT/BOOTX64.EFI", 0},
		{"no fallback path, shim", esp("EFI/debian/shimx64.efi", "EFI/debian/grubx64.efi"), "EFI/debian/shimx64.efi", 2},
		{"both", esp("EFI/Boot/bootx64.efi", "EFI/debian/shimx64.efi", "EFI/debian/grubx64.efi"), "EFI/debian/shimx64.efi", 0},
		{"Windows", esp("EFI/Boot/bootx64.efi", "EFI/Microsoft/Boot/bootmgfw.efi"), "EFI/Boot/bootx64.efi", 0},
		{"nothing", esp("EFI/readme.txt"), "", 0},
	}
	for _, row := range rows {
		if loader, copies := choose(row.tree); loader != row.loader || len(copies) != row.copies {
			t.Errorf("%s: choose = %q, %v; want %q and %d copies", row.name, loader, copies, row.loader, row.copies)
		}
	}
}

const guid = "1b0d5c6e-92a4-4f0e-8d11-fa25b0e00002"

// variables is a folder as efivarfs shows it.
func variables(t *testing.T, content map[string][]byte) Variables {
	t.Helper()
	v := Variables{Folder: t.TempDir()}
	for name, body := range content {
		if err := v.write(name, body); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func option(t *testing.T, file string) []byte {
	t.Helper()
	o, err := bootentry.Start("x", bootentry.Target{Partition: 1, First: 2048, Blocks: 4096, GUID: guid, File: file})
	if err != nil {
		t.Fatal(err)
	}
	return o.Encode()
}

func TestTheMachinesOwnEntryOnItsOwnMetalIsKept(t *testing.T) {
	tree := esp("EFI/BOOT/BOOTX64.EFI", "EFI/debian/grubx64.efi")
	v := variables(t, map[string][]byte{"Boot0003": option(t, `\EFI\DEBIAN\GRUBX64.EFI`), "Boot0004": option(t, `\EFI\gone\x.efi`), "BootOrder": {4, 0, 3, 0}})
	want := bootentry.Target{Partition: 1, First: 2048, Blocks: 4096, GUID: guid, File: `\EFI\BOOT\BOOTX64.EFI`}
	got, err := v.Settle("web-01", func(now bootentry.Variables) bootentry.Target { return keep(now, want, tree) })
	if err != nil || got.File != `\EFI\DEBIAN\GRUBX64.EFI` {
		t.Fatalf("Settle = %+v, %v", got, err)
	}
	order, err := v.read("BootOrder")
	if err != nil || string(order) != "\x03\x00\x04\x00" {
		t.Errorf("the order is %x, %v", order, err)
	}
}

func TestThreeRestoresLeaveOneEntry(t *testing.T) {
	v := variables(t, map[string][]byte{"Boot0000": {1, 0, 0, 0, 4, 0, 'P', 0, 0, 0, 0x7f, 0xff, 4, 0}, "BootOrder": {0, 0}})
	target := bootentry.Target{Partition: 2, First: 4096, Blocks: 8192, GUID: guid, File: `\EFI\BOOT\BOOTX64.EFI`}
	for range 3 {
		if _, err := v.Settle("web-01", func(bootentry.Variables) bootentry.Target { return target }); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(v.Folder, "Boot[0-9A-F]*"))
	if err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
	raw, err := os.ReadFile(v.path("BootOrder"))
	if err != nil || binary.LittleEndian.Uint32(raw) != variableAttributes || string(raw[4:]) != "\x01\x00\x00\x00" {
		t.Errorf("BootOrder is %x, %v", raw, err)
	}
}

func TestFilesAreCopiedInsideTheirPartition(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "EFI/debian"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "EFI/debian/grubx64.efi"), []byte("grub"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := copyInside(root, [][2]string{{"EFI/debian/grubx64.efi", "EFI/BOOT/BOOTX64.EFI"}}); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(filepath.Join(root, "EFI/BOOT/BOOTX64.EFI")); err != nil || string(body) != "grub" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestDisksWithoutANameAreNamedByTheirPlace(t *testing.T) {
	taken := map[string]bool{byID + "/serial-S1": true}
	for _, row := range [][3]string{
		{"wwn-5000c500a1b2c3d4", "sda", byID + "/wwn-0x5000c500a1b2c3d4"},
		{"serial-  QM 0001/x ", "sdb", byID + "/serial-_QM_0001_x"},
	} {
		if got := durable(row[0], row[1], taken); got != row[2] {
			t.Errorf("durable(%q) = %s, want %s", row[0], got, row[2])
		}
	}
	for place, want := range map[string]string{
		"../devices/pci0000:00/0000:00:04.0/virtio1/block/vda":                        "pci0000:00-0000:00:04.0",
		"../devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda": "pci0000:00-0000:00:1f.2-ata3-2:0:0:0",
		"../devices/pci0000:00/0000:00:1d.0/0000:3b:00.0/nvme/nvme0/nvme0n1":          "pci0000:00-0000:00:1d.0-0000:3b:00.0",
	} {
		if got := placeName(place); got != want {
			t.Errorf("placeName(%s) = %s, want %s", place, got, want)
		}
	}
}
