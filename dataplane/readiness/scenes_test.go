package readiness_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/volume"
)

func TestDriversThatAreMissingAreFoundAndAskedFor(t *testing.T) {
	for _, s := range []scene{
		{"Hyper-V", func(r tree, _ *readiness.Facts) { r.makeInitramfs(initrd, without("hv_vmbus", "hv_storvsc")) }, readiness.InitramfsDrivers, readiness.Blocks, "azure", "lacks hv_vmbus, hv_storvsc", true},
		{"what a driver needs", func(r tree, _ *readiness.Facts) { r.makeInitramfs(initrd, without("scsi_transport_fc")) }, readiness.InitramfsDrivers, readiness.Blocks, "azure", "lacks scsi_transport_fc", true},
		{"PVSCSI", func(r tree, _ *readiness.Facts) { r.makeInitramfs(initrd, without("vmw_pvscsi")) }, readiness.InitramfsDrivers, readiness.Blocks, "vmware", "update-initramfs -u -k " + version, true},
		{"virtio", func(r tree, _ *readiness.Facts) { r.makeInitramfs(initrd, without("virtio_blk", "virtio_scsi")) }, readiness.InitramfsDrivers, readiness.Blocks, "kvm", "virtio_blk", true},
		{"NVMe", func(r tree, _ *readiness.Facts) { r.makeInitramfs(initrd, without("nvme")) }, readiness.InitramfsDrivers, readiness.Degrades, "metal", "NVMe", true},
		{"the root file system", func(r tree, _ *readiness.Facts) { r.makeInitramfs(initrd, without("ext4")) }, readiness.InitramfsDrivers, readiness.Blocks, all, "lacks ext4", true},
		{"dracut", func(r tree, _ *readiness.Facts) {
			redHat(r)
			r.makeInitramfs("boot/initramfs-"+version+".img", without("hv_storvsc"))
		}, readiness.InitramfsDrivers, readiness.Blocks, "azure", "dracut --force /boot/initramfs-" + version + ".img " + version, true},
		{"no initramfs", func(r tree, _ *readiness.Facts) {
			delete(r, initrd)
			r.put("boot/grub/grub.cfg", strings.ReplaceAll(grubMenu, "initrd\t", "#"))
		}, readiness.InitramfsDrivers, readiness.Blocks, "vmware", "has no initramfs", false},
		{"MODULES=dep", func(r tree, _ *readiness.Facts) { r.put("etc/initramfs-tools/conf.d/driver-policy", "MODULES=dep\n") }, readiness.InitramfsHostOnly, readiness.Degrades, all, "MODULES=dep", true},
		{"hostonly", func(r tree, _ *readiness.Facts) {
			redHat(r)
			r.put("usr/lib/dracut/dracut.conf.d/01-dist.conf", "hostonly=\"yes\"\n")
		}, readiness.InitramfsHostOnly, readiness.Degrades, all, "hostonly=yes", true},
		{"a kernel without the driver", func(r tree, _ *readiness.Facts) {
			name := "usr/lib/modules/" + version + "/modules.dep"
			r.put(name, strings.ReplaceAll(string(r[name].Data), "vmw_pvscsi", "other"))
		}, readiness.KernelDrivers, readiness.Blocks, "vmware", "linux-image-amd64", false},
		{"a kernel without the network", func(r tree, _ *readiness.Facts) {
			name := "usr/lib/modules/" + version + "/modules.dep"
			r.put(name, strings.ReplaceAll(string(r[name].Data), "hv_netvsc", "other"))
		}, readiness.KernelDrivers, readiness.Degrades, "azure", "hv_netvsc", false},
		{"a damaged initramfs", func(r tree, _ *readiness.Facts) { r.put(initrd, "070701") }, readiness.InitramfsUnread, readiness.Degrades, all, "update-initramfs", false},
		{"no kernel", func(r tree, _ *readiness.Facts) { delete(r, "boot/vmlinuz-"+version) }, readiness.InitramfsUnread, readiness.Degrades, all, "no kernel", false},
		{"little space", func(_ tree, f *readiness.Facts) { f.Free["boot"] = 1 << 20 }, readiness.BootSpace, readiness.Degrades, all, "apt-get autoremove", false},
	} {
		t.Run(s.name, s.play)
	}
}

// redHat makes the machine one of that family.
func redHat(r tree) {
	for _, name := range []string{"usr/sbin/mkinitramfs", "usr/sbin/update-grub", "usr/bin/apt-get", "etc/debian_version", "boot/grub/grub.cfg"} {
		delete(r, name)
	}
	r.put("usr/bin/dracut", "program")
	r.put("usr/sbin/grubby", "program")
	r.put("usr/bin/dnf", "program")
	r.put("etc/redhat-release", "AlmaLinux release 9.4")
	r.put("boot/grub2/grub.cfg", "set default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n")
	r.put("boot/grub2/grubenv", "# GRUB Environment Block\nsaved_entry=4711-"+version+"\nkernelopts=root=UUID="+rootUUID+" ro console=ttyS0\n#######")
	r.put("boot/loader/entries/4711-"+version+".conf", "title AlmaLinux\nversion "+version+"\nlinux /vmlinuz-"+version+"\ninitrd /initramfs-"+version+".img $tuned_initrd\noptions $kernelopts\n")
	r.put("boot/loader/entries/4711-0-rescue.conf", "title rescue\nlinux /vmlinuz-0-rescue-4711\ninitrd /initramfs-0-rescue-4711.img\noptions $kernelopts\n")
	delete(r, initrd)
	r.makeInitramfs("boot/initramfs-"+version+".img", everything)
}

func TestARedHatThatIsReadyHasNothingButANote(t *testing.T) {
	root, facts := ready()
	redHat(root)
	for _, f := range readiness.Check(view(root, facts)) {
		if f.Severity != readiness.Note || f.Code != readiness.Firmware {
			t.Errorf("found %+v", f)
		}
	}
}

func TestDevicesNamedByTheirPlaceAreFoundAndRenamed(t *testing.T) {
	fstab := func(line string) func(tree, *readiness.Facts) {
		return func(r tree, _ *readiness.Facts) { r.put("etc/fstab", string(r["etc/fstab"].Data)+line+"\n") }
	}
	for _, s := range []scene{
		{"root", func(r tree, _ *readiness.Facts) { r.put("etc/fstab", "/dev/sda2 / ext4 defaults 0 1\n") }, readiness.FstabDeviceName, readiness.Blocks, all, `sed -i.bak "1s|/dev/sda2|UUID=` + rootUUID, true},
		{"another volume", fstab("/dev/sdb1\t/srv  xfs defaults 0 2"), readiness.FstabDeviceName, readiness.Blocks, all, "/etc/fstab:4", true},
		{"by its serial number", fstab("/dev/disk/by-id/ata-X-part2 /srv ext4 defaults 0 2"), readiness.FstabDeviceName, readiness.Blocks, all, rootUUID, true},
		{"swap", fstab("/dev/sda3 none swap sw 0 0"), readiness.FstabDeviceName, readiness.Degrades, all, swapUUID, true},
		{"nofail", fstab("/dev/sdb1 /srv xfs nofail 0 2"), readiness.FstabDeviceName, readiness.Degrades, all, dataUUID, true},
		{"a disk that is gone", fstab("/dev/sdq1 /srv xfs defaults 0 2"), readiness.FstabDeviceName, readiness.Blocks, all, "blkid -s UUID -o value /dev/sdq1", false},
		{"an image's own disk", func(r tree, f *readiness.Facts) {
			f.Live = false
			r.put("etc/fstab", "/dev/vda2 / ext4 defaults 0 1\n/dev/vda3 none swap sw 0 0\n")
		}, readiness.FstabDeviceName, readiness.Blocks, all, rootUUID, true},
		{"crypttab", func(r tree, f *readiness.Facts) {
			f.Devices[2].Volume = volume.Volume{Type: "crypto_LUKS", UUID: dataUUID, LUKS: &volume.LUKS{Keyslots: []string{"0"}}}
			r.put("etc/crypttab", "data /dev/sdb1 /etc/key luks\n")
		}, readiness.CrypttabDeviceName, readiness.Blocks, all, dataUUID, true},
		{"the kernel's root", func(r tree, _ *readiness.Facts) {
			r.put("boot/grub/grub.cfg", strings.ReplaceAll(grubMenu, "root=UUID="+rootUUID, "root=/dev/sda2"))
		}, readiness.CmdlineDeviceName, readiness.Blocks, all, "root=UUID=" + rootUUID, true},
		{"the kernel's resume", func(r tree, _ *readiness.Facts) {
			r.put("boot/grub/grub.cfg", strings.ReplaceAll(grubMenu, " ro quiet", " ro resume=/dev/sda3"))
		}, readiness.CmdlineDeviceName, readiness.Degrades, all, "resume=UUID=" + swapUUID, true},
		{"the next menu", func(r tree, _ *readiness.Facts) {
			r.put("etc/default/grub", "GRUB_DISABLE_LINUX_UUID=true\nGRUB_CMDLINE_LINUX=\"resume=/dev/sda3 quiet\"\n")
		}, readiness.CmdlineDeviceName, readiness.Degrades, all, "GRUB_DISABLE_LINUX_UUID=true, resume=/dev/sda3", true},
		{"a boot loader entry", func(r tree, _ *readiness.Facts) {
			redHat(r)
			name := "boot/loader/entries/4711-" + version + ".conf"
			r.put(name, strings.ReplaceAll(string(r[name].Data), "$kernelopts", "root=/dev/sda2 ro"))
		}, readiness.CmdlineDeviceName, readiness.Blocks, all, "grubby --update-kernel=ALL", true},
		{"the place to resume from", func(r tree, _ *readiness.Facts) { r.put("etc/initramfs-tools/conf.d/resume", "RESUME=/dev/sda3\n") }, readiness.ResumeDevice, readiness.Degrades, all, "RESUME=UUID=" + swapUUID, false},
		{"a place to resume from that is gone", func(r tree, _ *readiness.Facts) { r.put("etc/initramfs-tools/conf.d/resume", "RESUME=UUID=gone\n") }, readiness.ResumeDevice, readiness.Degrades, all, "is not there", false},
	} {
		t.Run(s.name, s.play)
	}
}

func TestOfAnImageNoDiskIsGuessed(t *testing.T) {
	root, facts := ready()
	facts.Live = false
	root.put("etc/fstab", "UUID="+rootUUID+" / ext4 defaults 0 1\n/dev/sdb1 /srv xfs defaults 0 2\n/dev/sda3 none swap sw 0 0\n")
	for _, f := range find(readiness.Check(view(root, facts)), readiness.FstabDeviceName) {
		if f.Fixable {
			t.Errorf("renamed without knowing the disk: %+v", f)
		}
	}
}

func TestNamesThatHoldAnywhereAreLeftAlone(t *testing.T) {
	root, facts := ready()
	const table = "LABEL=data /a ext4 defaults 0 2\nPARTUUID=1234-01 /b ext4 defaults 0 2\n/dev/disk/by-uuid/x /c ext4 defaults 0 2\n/dev/mapper/vg-lv /d ext4 defaults 0 2\n" +
		"/dev/vg/lv /e ext4 defaults 0 2\n/dev/md/data /f ext4 defaults 0 2\n/dev/md0 /g ext4 defaults 0 2\ntmpfs /tmp tmpfs defaults 0 0\nhost:/export /h nfs defaults 0 0\n" +
		"/dev/sr0 /cdrom iso9660 noauto 0 0\n/dev/disk/by-id/dm-uuid-LVM-x /i ext4 defaults 0 2\n/dev/sdz1 /j ext4 noauto 0 0\n"
	root.put("etc/fstab", string(root["etc/fstab"].Data)+table)
	if found := find(readiness.Check(view(root, facts)), readiness.FstabDeviceName); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func TestWhatFirmwareStartsIsLookedFor(t *testing.T) {
	noFallback := func(r tree, _ *readiness.Facts) { delete(r, "boot/efi/EFI/BOOT/BOOTX64.EFI") }
	bios := func(f *readiness.Facts) {
		f.Firmware, f.BootDisk = "bios", &volume.Table{Kind: volume.MBR, BootCode: "grub"}
	}
	for _, s := range []scene{
		{"no fallback path", noFallback, readiness.EFIFallback, readiness.Blocks, all, "cp /boot/efi/EFI/debian/shimx64.efi /boot/efi/EFI/BOOT/BOOTX64.EFI", true},
		{"no shim", func(r tree, f *readiness.Facts) {
			noFallback(r, f)
			delete(r, "boot/efi/EFI/debian/shimx64.efi")
		}, readiness.EFIFallback, readiness.Blocks, all, "cp /boot/efi/EFI/debian/grubx64.efi /boot/efi/EFI/BOOT/BOOTX64.EFI", true},
		{"nothing to make it from", func(r tree, f *readiness.Facts) {
			noFallback(r, f)
			f.ESP = "boot/efi"
			delete(r, "boot/efi/EFI/debian/shimx64.efi")
			delete(r, "boot/efi/EFI/debian/grubx64.efi")
			r["boot/efi"] = &fstest.MapFile{Mode: 0o755 | 1<<31}
		}, readiness.EFIFallback, readiness.Blocks, all, "--removable", false},
		{"an unmounted ESP", func(r tree, f *readiness.Facts) {
			noFallback(r, f)
			delete(r, "boot/efi/EFI/debian/shimx64.efi")
			delete(r, "boot/efi/EFI/debian/grubx64.efi")
			r["boot/efi"] = &fstest.MapFile{Mode: 0o755 | 1<<31}
		}, readiness.ESPUnseen, readiness.Note, all, "mount UUID=FA25-B0E2 /boot/efi", false},
		{"no boot code", func(_ tree, f *readiness.Facts) {
			bios(f)
			f.BootDisk.BootCode = ""
		}, readiness.BootLoader, readiness.Blocks, all, "grub-install /dev/sda", false},
		{"a GPT without a place for GRUB", func(_ tree, f *readiness.Facts) {
			bios(f)
			f.BootDisk.Kind = volume.GPT
		}, readiness.BootLoader, readiness.Degrades, all, "ef02", false},
		{"no menu", func(r tree, _ *readiness.Facts) { delete(r, "boot/grub/grub.cfg") }, readiness.BootLoader, readiness.Degrades, all, "no boot menu", false},
		{"BIOS", func(_ tree, f *readiness.Facts) { bios(f) }, readiness.Firmware, readiness.Note, "azure,vmware,kvm", "generation 1", false},
		{"a disk too large", func(_ tree, f *readiness.Facts) {
			bios(f)
			f.BootDiskBytes = 3 << 40
		}, readiness.Firmware, readiness.Blocks, "azure", "3072 GiB", false},
		{"modules that only this firmware trusts", func(r tree, _ *readiness.Facts) {
			r.put("var/lib/dkms/mok.pub", "key")
			r.put("usr/lib/modules/"+version+"/updates/dkms/zfs.ko", "module")
		}, readiness.SecureBoot, readiness.Degrades, "azure,vmware,kvm", "zfs", false},
		{"secure boot without a shim", func(r tree, f *readiness.Facts) {
			f.SecureBoot = true
			delete(r, "boot/efi/EFI/debian/shimx64.efi")
		}, readiness.SecureBoot, readiness.Note, "azure,vmware,kvm", "no shim", false},
		{"no serial console", func(r tree, _ *readiness.Facts) {
			r.put("boot/grub/grub.cfg", strings.ReplaceAll(grubMenu, "console=ttyS0", ""))
		}, readiness.SerialConsole, readiness.Note, "azure,kvm", "update-grub", false},
	} {
		t.Run(s.name, s.play)
	}
}
