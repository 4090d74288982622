package readiness

import (
	"fmt"
	"slices"
	"strings"
)

// requirement is what a target needs to find its boot disk, or its network.
type requirement struct {
	target   Target
	severity Severity // without it
	// anyOf are ways to do it: the modules of one of them suffice.
	anyOf [][]string
	what  string // what it is for
}

// storage is needed before there is a root file system: in the initramfs.
var storage = []requirement{
	{Azure, Blocks, [][]string{{"hv_vmbus", "hv_storvsc", "sd_mod"}}, "the disks of Hyper-V"},
	{VMware, Blocks, [][]string{{"vmw_pvscsi", "sd_mod"}}, "the paravirtual SCSI controller"},
	{KVM, Blocks, [][]string{{"virtio_pci", "virtio_blk"}, {"virtio_pci", "virtio_scsi", "sd_mod"}}, "virtio disks"},
	{Metal, Blocks, [][]string{{"nvme"}, {"ahci", "sd_mod"}}, "NVMe and SATA disks"},
	{Metal, Degrades, [][]string{{"nvme"}}, "NVMe disks"},
	{Metal, Degrades, [][]string{{"ahci", "sd_mod"}}, "SATA disks"},
}

// networks are needed once there is one: among the kernel's modules.
var networks = []requirement{
	{Azure, Degrades, [][]string{{"hv_netvsc"}}, "the network cards of Hyper-V"},
	{VMware, Degrades, [][]string{{"vmxnet3"}}, "the network card VMXNET3"},
	{KVM, Degrades, [][]string{{"virtio_net"}}, "virtio network cards"},
}

// metBy gives the shortest list of modules that are missing for a requirement; met if there are none.
func (r requirement) metBy(k *kernel, present map[string]bool) (missing []string) {
	for n, way := range r.anyOf {
		lacking := k.missing(way, present)
		if n == 0 || len(lacking) < len(missing) {
			missing = lacking
		}
	}
	return missing
}

// possible reports whether the kernel has the modules for one of the ways.
func (r requirement) possible(k *kernel) bool {
	return slices.ContainsFunc(r.anyOf, func(way []string) bool {
		return !slices.ContainsFunc(way, func(module string) bool { return !k.has(module) })
	})
}

// drivers checks that each kernel that may start next finds its disks and its network.
func (c *checker) drivers() {
	if len(c.kernels) == 0 {
		c.report(Finding{
			Code: InitramfsUnread, Severity: Degrades, Targets: Targets(), Subject: "/boot",
			What: "no kernel is here under a name of the form vmlinuz-VERSION", Why: "what would start the machine could not be examined",
		})
	}
	for _, k := range c.kernels {
		for _, r := range networks {
			if !r.possible(k) {
				c.noDriver(k, r)
			}
		}
		image, ok := c.initramfs(k)
		if !ok {
			continue
		}
		c.storage(k, inImage(image))
	}
}

// storage checks one kernel and the modules in its initramfs.
func (c *checker) storage(k *kernel, present map[string]bool) {
	blocked := map[Target]bool{}
	for _, r := range storage {
		if !r.possible(k) {
			if !blocked[r.target] {
				c.noDriver(k, r)
			}
			blocked[r.target] = blocked[r.target] || r.severity == Blocks
			continue
		}
		missing := r.metBy(k, present)
		if len(missing) == 0 || blocked[r.target] {
			continue
		}
		blocked[r.target] = r.severity == Blocks
		subject, what := "/"+k.initrd, fmt.Sprintf("the initramfs of the %s kernel lacks %s", k.role, strings.Join(missing, ", "))
		if k.initrd == "" {
			subject, what = k.version, fmt.Sprintf("the %s kernel has no initramfs, and these drivers are modules: %s", k.role, strings.Join(missing, ", "))
		}
		c.report(Finding{
			Code: InitramfsDrivers, Severity: r.severity, Targets: []Target{r.target}, Subject: subject, What: what,
			Why:      "without them the kernel does not see " + r.what + ", and finds no root file system there",
			Commands: c.family.addModules(c.toForce(c.targets), []*kernel{k}),
			Fixable:  c.family.initramfs != "" && k.initrd != "",
		})
	}
	if fs := c.rootFileSystem(); fs != "" && k.has(fs) && len(k.missing([]string{fs}, present)) > 0 {
		c.report(Finding{
			Code: InitramfsDrivers, Severity: Blocks, Targets: Targets(), Subject: "/" + k.initrd,
			What: fmt.Sprintf("the initramfs of the %s kernel lacks %s", k.role, fs), Why: "the root file system cannot be mounted with this kernel, here or elsewhere",
			Commands: c.family.addModules(c.toForce(c.targets), []*kernel{k}), Fixable: c.family.initramfs != "" && k.initrd != "",
		})
	}
}

func (c *checker) noDriver(k *kernel, r requirement) {
	var lacking []string
	for _, module := range r.anyOf[0] {
		if !k.has(module) {
			lacking = append(lacking, module)
		}
	}
	c.report(Finding{
		Code: KernelDrivers, Severity: r.severity, Targets: []Target{r.target}, Subject: k.version,
		What:     fmt.Sprintf("the %s kernel was built without %s", k.role, strings.Join(lacking, ", ")),
		Why:      "it cannot use " + r.what + "; no initramfs changes that",
		Commands: c.otherKernel(),
	})
}

// otherKernel says how a distribution's full kernel comes here.
func (c *checker) otherKernel() []string {
	switch {
	case c.exists("etc/debian_version") && c.exists("etc/lsb-release"):
		return []string{"apt-get install -y linux-image-generic linux-modules-extra-$(uname -r)"}
	case c.exists("etc/debian_version"):
		arch := c.Facts.Arch
		if arch == "" {
			arch = "amd64"
		}
		return []string{"apt-get install -y linux-image-" + arch}
	case c.exists("etc/redhat-release"):
		return []string{"dnf install -y kernel kernel-modules kernel-modules-extra"}
	case c.exists("etc/SUSE-brand", "usr/bin/zypper"):
		return []string{"zypper install -y kernel-default"}
	}
	return []string{"# install the distribution's full kernel package"}
}

// initramfs lists what is in that of a kernel. ok is false if it could not be read, which is reported.
func (c *checker) initramfs(k *kernel) (names []string, ok bool) {
	if k.initrd == "" {
		return nil, k.modules != ""
	}
	image, err := c.image(k.initrd)
	if err == nil && k.modules != "" {
		return image.Names, true
	}
	what := "the modules of the kernel are not in /lib/modules/" + k.version
	if err != nil {
		what = fmt.Sprintf("it cannot be read: %v", err)
	}
	f := Finding{
		Code: InitramfsUnread, Severity: Degrades, Targets: Targets(), Subject: "/" + k.initrd, What: what,
		Why: "whether the " + k.role + " kernel would start elsewhere could not be examined; if it is damaged, it starts nowhere",
	}
	if command := c.family.regenerate(k); command != nil && err != nil {
		f.Commands = []string{strings.Join(command, " ")}
	}
	c.report(f)
	return nil, false
}

// rootFileSystem is the module of the root file system's type.
func (c *checker) rootFileSystem() string {
	for _, e := range parseTable(c.read("etc/fstab")) {
		if e.field(1) == "/" && slices.Contains([]string{"ext4", "xfs", "btrfs"}, e.field(2)) {
			return e.field(2)
		}
	}
	return ""
}

// wanted gives the modules that belong into the initramfs of a kernel for some targets: not built in, and there.
func (c *checker) wanted(k *kernel, targets []Target) []string {
	var modules []string
	add := func(module string) {
		if _, isModule := k.needs[module]; isModule && !k.builtin[module] && !slices.Contains(modules, module) {
			modules = append(modules, module)
		}
	}
	for _, r := range storage {
		if !slices.Contains(targets, r.target) {
			continue
		}
		for _, way := range r.anyOf {
			for _, module := range way {
				add(module)
			}
		}
	}
	if fs := c.rootFileSystem(); fs != "" {
		add(fs)
	}
	return modules
}
