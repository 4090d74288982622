package readiness

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"farshore/dataplane/readiness/volume"
)

// Azure's limits of a boot disk.
const (
	maxGeneration1 = 2 << 40
	maxGeneration2 = 4095 << 30
)

// esp is where the EFI system partition is mounted; "" if its files are not to be seen. An empty /boot/efi is a place to mount it, no more.
func (m *Machine) esp() string {
	if m.Facts.ESP != "" {
		return m.Facts.ESP
	}
	for _, dir := range []string{"boot/efi", "efi", "boot"} {
		root, ok := m.fold(dir, "EFI")
		if ok && len(m.glob(root+"/*/*.efi", root+"/*/*.EFI")) > 0 {
			return dir
		}
	}
	return ""
}

// efiName is how firmware calls the architecture.
func (m *Machine) efiName() string {
	if m.Facts.Arch == "arm64" {
		return "aa64"
	}
	return "x64"
}

// starts says by which firmware this machine can be started. Of a root that does not run, what is on its disk tells.
func (c *checker) starts() (bios, uefi bool) {
	if c.Facts.Firmware != "" {
		return c.Facts.Firmware == "bios", c.Facts.Firmware == "uefi"
	}
	table := c.Facts.BootDisk
	bios = table != nil && table.BootCode != "" && c.Facts.Arch != "arm64"
	uefi = c.esp() != "" || table != nil && table.Has(volume.TypeESP)
	return bios, uefi
}

// loader checks that firmware finds something to start.
func (c *checker) loader() {
	bios, uefi := c.starts()
	table := c.Facts.BootDisk
	if len(c.entries) == 0 {
		c.report(Finding{
			Code: BootLoader, Severity: Degrades, Targets: Targets(), Subject: "/boot", What: "no boot menu was found: neither GRUB's nor files of the boot loader specification",
			Why: "what would be started, and with which arguments, could not be examined",
		})
	}
	if table == nil || uefi {
		return
	}
	install := []string{"grub-install DISK", "update-grub"}
	if c.exists("boot/grub2") {
		install = []string{"grub2-install DISK", "grub2-mkconfig -o /boot/grub2/grub.cfg"}
	}
	disk := "DISK"
	if c.Facts.BootDiskName != "" {
		disk = "/dev/" + c.Facts.BootDiskName
	}
	install[0] = strings.Replace(install[0], "DISK", disk, 1)
	switch {
	case table.BootCode == "":
		c.report(Finding{
			Code: BootLoader, Severity: Blocks, Targets: Targets(), Subject: "boot disk", What: "its first sector holds no boot code",
			Why: "BIOS has nothing to start: the machine boots here from another disk, or from the network", Commands: install,
		})
	case !bios:
	case table.Kind == volume.GPT && !table.Has(volume.TypeBIOSBoot):
		c.report(Finding{
			Code: BootLoader, Severity: Degrades, Targets: Targets(), Subject: "boot disk", What: "it has a GPT and no BIOS boot partition",
			Why:      "the boot loader's core lies in blocks of a file system, which may move: it starts until they do",
			Commands: []string{"# make a partition of 1 MiB of type ef02 (sgdisk --new=0:0:+1M --typecode=0:ef02 " + disk + ")", install[0]},
		})
	}
}

// fallback checks the one path that firmware tries without having been told: its own entries do not travel with the disk.
func (c *checker) fallback() {
	_, uefi := c.starts()
	if !uefi {
		return
	}
	dir := c.esp()
	if dir == "" {
		f := Finding{
			Code: ESPUnseen, Severity: Note, Targets: Targets(), Subject: "EFI system partition", What: "it is not mounted at /boot/efi, /efi or /boot",
			Why: "whether firmware would find a boot loader could not be examined",
		}
		for _, d := range c.Facts.Devices {
			if d.Type == "vfat" && d.Boot {
				f.Commands = []string{"mount UUID=" + d.UUID + " /boot/efi"}
			}
		}
		c.report(f)
		return
	}
	if _, ok := c.fold(dir, "EFI", "BOOT", "boot"+c.efiName()+".efi"); ok {
		return
	}
	name := "EFI/BOOT/BOOT" + strings.ToUpper(c.efiName()) + ".EFI"
	f := Finding{
		Code: EFIFallback, Severity: Blocks, Targets: Targets(), Subject: "/" + path.Join(dir, name), What: "it is not there",
		Why: "firmware that does not know this machine starts this path and no other; the entries that it starts from here stay behind",
	}
	copies := c.fallbackCopies(dir)
	if len(copies) == 0 {
		f.What += ", nor another boot loader from which it could be made"
		f.Commands = []string{"grub-install --target=" + grubTarget(c.Facts.Arch) + " --efi-directory=/" + dir + " --removable"}
		c.report(f)
		return
	}
	f.Fixable = true
	f.Commands = append(f.Commands, "mkdir -p /"+path.Join(dir, "EFI/BOOT"))
	for _, pair := range copies {
		f.Commands = append(f.Commands, fmt.Sprintf("cp /%s /%s", pair[0], pair[1]))
	}
	c.report(f)
}

func grubTarget(arch string) string {
	if arch == "arm64" {
		return "arm64-efi"
	}
	return "x86_64-efi"
}

// Fallback says how firmware finds a boot loader on an EFI system partition that it knows nothing of: by the file at the path
// that it tries by itself, and by which files of a distribution that path can be made of: from, to. Either may be empty.
func Fallback(esp fs.FS, arch string) (there string, copies [][2]string) {
	m := Machine{Root: esp, Facts: Facts{Arch: arch}}
	there, _ = m.fold(".", "EFI", "BOOT", "boot"+m.efiName()+".efi")
	return there, m.fallbackCopies(".")
}

// fallbackCopies says which files of a distribution's folder make the fallback path: from, to. The shim starts GRUB from its own folder.
func (m *Machine) fallbackCopies(dir string) [][2]string {
	root, ok := m.fold(dir, "EFI")
	if !ok {
		return nil
	}
	entries, err := fs.ReadDir(m.Root, root)
	if err != nil {
		return nil
	}
	boot, ok := m.fold(root, "BOOT")
	if !ok {
		boot = path.Join(root, "BOOT")
	}
	target := path.Join(boot, "BOOT"+strings.ToUpper(m.efiName())+".EFI")
	var best [][2]string
	for _, e := range entries {
		if strings.EqualFold(e.Name(), "BOOT") || !e.IsDir() {
			continue
		}
		vendor := path.Join(root, e.Name())
		shim, shimmed := m.fold(vendor, "shim"+m.efiName()+".efi")
		grub, grubbed := m.fold(vendor, "grub"+m.efiName()+".efi")
		systemd, direct := m.fold(vendor, "systemd-boot"+m.efiName()+".efi")
		switch {
		case shimmed && grubbed:
			best = [][2]string{{shim, target}, {grub, path.Join(boot, path.Base(grub))}}
			if keys, ok := m.fold(vendor, "mm"+m.efiName()+".efi"); ok {
				best = append(best, [2]string{keys, path.Join(boot, path.Base(keys))})
			}
			return best
		case grubbed && best == nil:
			best = [][2]string{{grub, target}}
		case direct && best == nil:
			best = [][2]string{{systemd, target}}
		}
	}
	return best
}

// firmware says which kind of machine has to be made there, and whether it can be.
func (c *checker) firmware() {
	bios, uefi := c.starts()
	if !bios && !uefi {
		return
	}
	kind, size := "BIOS", c.Facts.BootDiskBytes
	if uefi {
		kind = "UEFI"
	}
	if uefi && bios {
		kind = "BIOS and UEFI"
	}
	limit, generation := int64(maxGeneration2), "2"
	switch {
	case !uefi:
		limit, generation = maxGeneration1, "1"
	case bios:
		generation = "1 or 2"
	}
	if size > limit {
		c.report(Finding{
			Code: Firmware, Severity: Blocks, Targets: []Target{Azure}, Subject: "boot disk",
			What:     fmt.Sprintf("it has %d GiB and is started by %s", size>>30, kind),
			Why:      fmt.Sprintf("a generation %s VM starts from a disk of at most %d GiB", generation, limit>>30),
			Commands: []string{"# move what is not the system to another disk, and make the boot disk smaller"},
		})
	}
	if c.Facts.SecureBoot && !c.shim() {
		c.report(Finding{
			Code: SecureBoot, Severity: Note, Targets: []Target{Azure, VMware, KVM}, Subject: "EFI system partition", What: "secure boot is on, and no shim was found",
			Why: "the boot loader is trusted by keys in this machine's firmware: make the machine there without secure boot",
		})
	}
	c.report(Finding{
		Code: Firmware, Severity: Note, Targets: []Target{Azure, VMware, KVM}, Subject: "boot disk", What: "it is started by " + kind,
		Why: fmt.Sprintf("the machine there must have the same firmware (Azure: generation %s)", generation),
	})
}

func (c *checker) shim() bool {
	root, ok := c.fold(c.esp(), "EFI")
	if !ok {
		return false
	}
	entries, err := fs.ReadDir(c.Root, root)
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		_, ok := c.fold(path.Join(root, e.Name()), "shim"+c.efiName()+".efi")
		return ok
	})
}

// secureBoot looks for modules that only this machine's firmware trusts.
func (c *checker) secureBoot() {
	owned := c.exists("var/lib/shim-signed/mok/MOK.der", "var/lib/dkms/mok.pub", "var/lib/dkms/mok.key")
	if !owned && !c.Facts.SecureBoot {
		return
	}
	for _, k := range c.kernels {
		modules := c.outOfTree(k)
		if len(modules) == 0 {
			continue
		}
		slices.Sort(modules)
		c.report(Finding{
			Code: SecureBoot, Severity: Degrades, Targets: []Target{Azure, VMware, KVM}, Subject: "/" + k.modules,
			What:     fmt.Sprintf("%d modules come from elsewhere than the kernel's package: %s", len(modules), strings.Join(modules[:min(len(modules), 5)], ", ")),
			Why:      "a key that was enrolled in this machine's firmware signs them; under secure boot another machine refuses to load them",
			Commands: []string{"# make the machine there without secure boot, or enrol the key there: mokutil --import /var/lib/shim-signed/mok/MOK.der"},
		})
		return
	}
}
