package readiness

import (
	"fmt"
)

// guestAgents notes what a platform would like to find in a machine. Nothing fails without them.
func (c *checker) guestAgents() {
	for _, a := range []struct {
		target   Target
		files    []string
		pkg, why string
	}{
		{Azure, []string{"usr/sbin/waagent", "usr/bin/waagent", "usr/bin/cloud-init"}, "cloud-init", "Azure waits for a sign of life and shows the machine as not reporting; extensions do not work"},
		{VMware, []string{"usr/bin/vmtoolsd"}, "open-vm-tools", "vSphere shows neither address nor state, and cannot shut it down"},
		{KVM, []string{"usr/sbin/qemu-ga", "usr/bin/qemu-ga"}, "qemu-guest-agent", "the host knows no address of it, and cannot shut it down or quiesce it"},
	} {
		if c.exists(a.files...) {
			continue
		}
		f := Finding{
			Code: GuestAgent, Severity: Note, Targets: []Target{a.target}, Subject: a.pkg, What: "it is not installed", Why: a.why,
		}
		if c.family.install != "" {
			f.Commands = []string{c.family.install + " " + a.pkg}
		}
		c.report(f)
	}
}

// spareBoot is what must stay free in /boot besides a new initramfs.
const spareBoot = 32 << 20

// need is how much an initramfs that is made anew may take, beside the old one that stays until it is whole.
func (c *checker) need() int64 {
	largest := int64(0)
	for _, k := range c.kernels {
		if k.initrd != "" {
			largest = max(largest, c.size(k.initrd))
		}
	}
	return largest + spareBoot
}

// space checks that an initramfs can be made anew at all.
func (c *checker) space() {
	free, known := c.Facts.Free["boot"]
	if !known || free >= c.need() || c.family.initramfs == "" {
		return
	}
	f := Finding{
		Code: BootSpace, Severity: Degrades, Targets: Targets(), Subject: "/boot",
		What: fmt.Sprintf("%s are free, and making an initramfs anew needs %s", sizeText(free), sizeText(c.need())),
		Why:  "neither the next kernel nor a step that mends the initramfs fits",
	}
	switch c.family.install {
	case "apt-get install -y":
		f.Commands = []string{"apt-get autoremove --purge -y"}
	case "dnf install -y":
		f.Commands = []string{"dnf remove -y --oldinstallonly"}
	case "zypper install -y":
		f.Commands = []string{"zypper purge-kernels"}
	}
	c.report(f)
}
