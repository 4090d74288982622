package medium

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The disk: 1 MiB with the partition table, the EFI system partition, 1 MiB with the table's copy.
const (
	sectorBytes = 512
	mebibyte    = 1 << 20
	spare       = 8 * mebibyte  // for GRUB and the file system itself
	leastESP    = 64 * mebibyte // FAT32 has a least size
)

// VolumeID is that of the EFI system partition of a rescue medium: the rescue system knows by it where it came from.
const VolumeID = "FA25-B0FE"

// grubModules are built into the one file of GRUB: it loads nothing but what its script names.
var grubModules = []string{"part_gpt", "part_msdos", "fat", "search", "search_fs_file", "normal", "linux", "echo", "boot", "efi_gop", "efi_uga", "video_fb"}

// script starts the kernel. The name of the folder is the mark by which the partition is found, whatever the disk is called.
const script = `search --no-floppy --file --set=root /farshore/initrd
echo "Farshore rescue image: loading"
linux /farshore/vmlinuz %s
initrd /farshore/initrd
boot
`

// disk makes an image that UEFI firmware starts by the fallback path.
func (p Plan) disk(ctx context.Context, image Image, folder string) (err error) {
	scratch, err := os.MkdirTemp(folder, "scratch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	config, loader := filepath.Join(scratch, "grub.cfg"), filepath.Join(scratch, "BOOTX64.EFI")
	if err := os.WriteFile(config, fmt.Appendf(nil, script, p.command()), 0o600); err != nil {
		return err
	}
	esp, err := espBytes(image.Kernel, image.Initrd)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(image.Disk, nil, 0o600), os.Truncate(image.Disk, esp+2*mebibyte)); err != nil {
		return err
	}
	inside := fmt.Sprintf("%s@@%d", image.Disk, mebibyte)
	first, last := int64(mebibyte/sectorBytes), (mebibyte+esp)/sectorBytes-1
	for _, step := range [][]string{
		append([]string{"grub-mkimage", "-O", "x86_64-efi", "-o", loader, "-p", "/farshore", "-c", config}, grubModules...),
		{"sgdisk", fmt.Sprintf("--new=1:%d:%d", first, last), "--typecode=1:ef00", "--change-name=1:FARSHORE", image.Disk},
		{"mkfs.vfat", "-F", "32", "-i", strings.ReplaceAll(VolumeID, "-", ""), "-n", "FARSHORE", fmt.Sprintf("--offset=%d", first), image.Disk, strconv.FormatInt(esp/1024, 10)},
		{"mmd", "-i", inside, "::/EFI", "::/EFI/BOOT", "::/farshore"},
		{"mcopy", "-i", inside, loader, "::/EFI/BOOT/BOOTX64.EFI"},
		{"mcopy", "-i", inside, image.Kernel, "::/farshore/vmlinuz"},
		{"mcopy", "-i", inside, image.Initrd, "::/farshore/initrd"},
	} {
		if err := run(ctx, step[0], step[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// espBytes is how large the partition must be for some files, in whole MiB.
func espBytes(paths ...string) (int64, error) {
	total := int64(spare)
	for _, path := range paths {
		about, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		total += about.Size()
	}
	return max(leastESP, (total+mebibyte-1)/mebibyte*mebibyte), nil
}
