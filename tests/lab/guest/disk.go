package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"farshore/tests/lab/need"
)

const sectorBytes = 512

// layout is where things are on the disk, in sectors.
type layout struct {
	disk      int64
	bios, esp int64 // first sectors
	root      int64
	rootEnd   int64 // last sector
}

// diskLayout: 1 MiB free, 1 MiB for GRUB on BIOS, 16 MiB EFI system partition, the root, 1 MiB with the second GPT.
var diskLayout = layout{disk: DiskBytes / sectorBytes, bios: 2048, esp: 4096, root: 36864, rootEnd: DiskBytes/sectorBytes - 2049}

// DiskBytes is the size of the bootable image: whole mebibytes, as Azure wants them.
const DiskBytes = 1536 << 20

// RootPartition is the number of the root partition of the bootable image.
const RootPartition = 3

// makeDisk makes the bootable image from an unpacked root file system.
func makeDisk(ctx context.Context, path, root string) error {
	l := diskLayout
	if err := errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, DiskBytes)); err != nil {
		return fmt.Errorf("make the disk: %w", err)
	}
	span := func(n int, first, last int64) string { return fmt.Sprintf("--new=%d:%d:%d", n, first, last) }
	steps := [][]string{
		{
			"sgdisk", span(1, l.bios, l.esp-1), "--typecode=1:ef02", span(2, l.esp, l.root-1), "--typecode=2:ef00",
			span(RootPartition, l.root, l.rootEnd), "--typecode=3:8304", path,
		},
		{
			"mkfs.ext4", "-q", "-F", "-U", rootUUID, "-L", "root", "-N", "40000", "-J", "size=16", "-d", root,
			"-E", fmt.Sprintf("offset=%d,lazy_itable_init=0,lazy_journal_init=0", l.root*sectorBytes),
			path, strconv.FormatInt((l.rootEnd+1-l.root)*sectorBytes/1024, 10) + "k",
		},
		{
			"mkfs.vfat", "-F", "16", "-i", espID, "-n", "ESP", fmt.Sprintf("--offset=%d", l.esp),
			path, strconv.FormatInt((l.root-l.esp)*sectorBytes/1024, 10),
		},
	}
	for _, step := range steps {
		if _, err := need.Run(ctx, step[0], step[1:]...); err != nil {
			return err
		}
	}
	return installGRUB(ctx, path, filepath.Dir(path))
}

// grubModules are built into both GRUB images, so that they load nothing from the disk but the menu and the kernel.
var grubModules = []string{"part_gpt", "ext2", "search_fs_uuid", "search", "normal", "configfile", "linux", "serial", "terminal", "echo", "test"}

// installGRUB does by hand what grub-install does with a mounted disk: no loop device is needed, and both firmwares
// are served by one disk.
func installGRUB(ctx context.Context, disk, scratch string) error {
	early := filepath.Join(scratch, "early.cfg")
	text := "search.fs_uuid " + rootUUID + " root\nset prefix=($root)/boot/grub\n"
	if err := os.WriteFile(early, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write GRUB's first script: %w", err)
	}
	core, efi := filepath.Join(scratch, "core.img"), filepath.Join(scratch, "BOOTX64.EFI")
	common := append([]string{"-p", "/boot/grub", "-c", early}, grubModules...)
	esp := fmt.Sprintf("%s@@%d", disk, diskLayout.esp*sectorBytes)
	steps := [][]string{
		append([]string{"grub-mkimage", "-O", "i386-pc", "-o", core}, append(common, "biosdisk")...),
		append([]string{"grub-mkimage", "-O", "x86_64-efi", "-o", efi}, append(common, "fat")...),
		{"mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"},
		{"mcopy", "-i", esp, efi, "::/EFI/BOOT/BOOTX64.EFI"},
	}
	for _, step := range steps {
		if _, err := need.Run(ctx, step[0], step[1:]...); err != nil {
			return err
		}
	}
	return installBootSector(disk, core, "/usr/lib/grub/i386-pc/boot.img")
}

// Places in GRUB's boot.img and diskboot.img (grub-core/boot/i386/pc and include/grub/i386/pc/boot.h).
const (
	bootCodeBytes   = 440  // of the first sector; disk signature and partition table follow
	bootKernelAt    = 0x5c // 8 bytes: sector of core.img
	bootDriveCheck  = 0x66 // 2 bytes: a jump that is only for floppies
	blockListAt     = 500  // in the first sector of core.img: start (8), sectors (2), segment (2)
	blockListLoadAt = 0x820
)

// installBootSector puts core.img into the BIOS boot partition and boot.img before the partition table.
func installBootSector(disk, corePath, bootPath string) (err error) {
	boot, err := os.ReadFile(bootPath)
	if err != nil {
		return fmt.Errorf("read GRUB's boot sector: %w", err)
	}
	core, err := os.ReadFile(corePath)
	if err != nil {
		return fmt.Errorf("read GRUB's core: %w", err)
	}
	room := (diskLayout.esp - diskLayout.bios) * sectorBytes
	if len(boot) != sectorBytes || int64(len(core)) > room || len(core) <= sectorBytes {
		return fmt.Errorf("install GRUB: boot.img of %d bytes and core.img of %d bytes do not fit %d", len(boot), len(core), room)
	}
	le := binary.LittleEndian
	le.PutUint64(boot[bootKernelAt:], uint64(diskLayout.bios))
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90
	le.PutUint64(core[blockListAt:], uint64(diskLayout.bios)+1)
	le.PutUint16(core[blockListAt+8:], uint16((len(core)-1)/sectorBytes))
	le.PutUint16(core[blockListAt+10:], blockListLoadAt)
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(boot[:bootCodeBytes], 0); err != nil {
		return fmt.Errorf("write the boot sector: %w", err)
	}
	if _, err := f.WriteAt(core, diskLayout.bios*sectorBytes); err != nil {
		return fmt.Errorf("write GRUB's core: %w", err)
	}
	return nil
}
