// Package medium builds what a machine's metal is started with to receive the machine: a *rescue image*. It is a kernel, an
// initial RAM file system with that kernel's drivers and one static program as /init, and a disk image with both, which UEFI
// firmware starts by the fallback path of its EFI system partition. Kernel and initial RAM file system can be started over the
// network as well, or by a boot loader on BIOS.
//
// What is in it besides is the caller's: files with the settings of one machine's rescue, secrets among them. So everything is
// written for its owner alone.
//
// It runs grub-mkimage, sgdisk, mkfs.vfat, mmd and mcopy, and needs no root. It starts nothing and asks no network.
package medium
