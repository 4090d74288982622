// Package guest makes the machines of the lab: a small Debian 12 disk that boots by BIOS and by UEFI, and plain
// data disks with one file system.
//
//   - [Build] makes the bootable image once per recipe and keeps it in a cache; [Copy] gives each run its own.
//   - [Attach] puts an image behind a loop device and mounts its root, so that everything written below the mount
//     passes through the queue of the whole disk, where a tracker sees it. [Plain] does so for an empty disk.
//   - [WithAgent] puts an enrolled agent on the disk, which comes up with it in whatever body the disk is in.
//   - [Release] undoes whatever is attached of an image. It needs only the path, so it cleans up after a crash too.
//
// The image: GPT with a BIOS boot partition, an EFI system partition and an ext4 root named by UUID in fstab; GRUB
// for both firmwares; Debian's cloud kernel with virtio, PIIX IDE, NVMe, Hyper-V and VMware drivers in its
// initramfs; systemd, DHCP, a login prompt on ttyS0 (root, no password), and farshore-verify.service, which at each
// boot prints one line about what the blockwriter left in /var/lib/blockwriter (see blockwriter.ConsolePrefix).
//
// Partitions are announced to the kernel one by one (partx): neither udev nor a kernel that reads GPT is needed. No
// second loop device is laid over the first: its writes would pass through a queue of its own.
package guest
