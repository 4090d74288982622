package readiness

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	Blocks   Severity = "blocks"   // the machine does not start, or starts into an emergency shell
	Degrades Severity = "degrades" // it starts and something is missing: the network, a volume, a minute; or the next update breaks it
	Note     Severity = "note"     // worth knowing beforehand
)

// Target is a place where the machine may have to start.
type Target string

// The targets.
const (
	Azure  Target = "azure"  // Hyper-V's synthetic devices
	VMware Target = "vmware" // PVSCSI and VMXNET3
	KVM    Target = "kvm"    // virtio
	Metal  Target = "metal"  // other hardware, with NVMe or SATA disks
)

// Targets lists all of them.
func Targets() []Target { return []Target{Azure, VMware, KVM, Metal} }

// ParseTarget is the inverse of a conversion to string.
func ParseTarget(s string) (Target, error) {
	if t := Target(s); slices.Contains(Targets(), t) {
		return t, nil
	}
	return "", fmt.Errorf("parse target: %q is none of azure, vmware, kvm, metal", s)
}

// Code is the stable name of a kind of finding.
type Code string

// The codes. They are explained in docs/operate/readiness.md, and are never reused for another meaning.
const (
	InitramfsDrivers   Code = "initramfs-drivers"
	InitramfsHostOnly  Code = "initramfs-host-only"
	InitramfsUnread    Code = "initramfs-unread"
	KernelDrivers      Code = "kernel-drivers"
	FstabDeviceName    Code = "fstab-device-name"
	CrypttabDeviceName Code = "crypttab-device-name"
	CmdlineDeviceName  Code = "cmdline-device-name"
	BootLoader         Code = "boot-loader"
	EFIFallback        Code = "efi-fallback"
	ESPUnseen          Code = "esp-unseen"
	Firmware           Code = "firmware"
	SecureBoot         Code = "secure-boot"
	NetworkMAC         Code = "network-mac"
	NetworkName        Code = "network-name"
	NetworkStatic      Code = "network-static"
	RootEncrypted      Code = "root-encrypted"
	LVMDevices         Code = "lvm-devices"
	MDDevices          Code = "md-devices"
	ResumeDevice       Code = "resume-device"
	SerialConsole      Code = "serial-console"
	GuestAgent         Code = "guest-agent"
	BootSpace          Code = "boot-space"
)

// Codes lists every code.
func Codes() []Code {
	return []Code{
		InitramfsDrivers, InitramfsHostOnly, InitramfsUnread, KernelDrivers, FstabDeviceName, CrypttabDeviceName, CmdlineDeviceName,
		BootLoader, EFIFallback, ESPUnseen, Firmware, SecureBoot, NetworkMAC, NetworkName, NetworkStatic, RootEncrypted,
		LVMDevices, MDDevices, ResumeDevice, SerialConsole, GuestAgent, BootSpace,
	}
}

// Finding is one thing that is not ready.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Targets  []Target `json:"targets"`  // where it matters
	Subject  string   `json:"subject"`  // a file, with its line where there is one
	What     string   `json:"what"`     // what is there
	Why      string   `json:"why"`      // what comes of it
	Commands []string `json:"commands"` // what mends it here, to be run as root in this order
	Fixable  bool     `json:"fixable"`  // farshore-agent readiness fix does it
}

// Key tells findings apart over time.
func (f Finding) Key() string {
	return fmt.Sprintf("%s %s %s", f.Code, f.Subject, f.TargetList())
}

// TargetList writes the targets in one word.
func (f Finding) TargetList() string {
	var words []string
	for _, t := range f.Targets {
		words = append(words, string(t))
	}
	return strings.Join(words, ",")
}

// Worst gives the greatest severity of some findings; "" if there are none.
func Worst(findings []Finding) Severity {
	for _, s := range []Severity{Blocks, Degrades, Note} {
		if slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == s }) {
			return s
		}
	}
	return ""
}

// rank orders severities, the worst first.
func (s Severity) rank() int { return slices.Index([]Severity{Blocks, Degrades, Note}, s) }

// Check looks at a machine and gives what is not ready for the targets, the worst first. Without a target, for all.
func Check(m *Machine, targets ...Target) []Finding {
	if len(targets) == 0 {
		targets = Targets()
	}
	c := newChecker(m, targets)
	for _, check := range []func(){
		c.drivers, c.hostOnly, c.fstab, c.crypttab, c.cmdline, c.loader, c.fallback, c.firmware, c.secureBoot,
		c.network, c.encryption, c.lvm, c.md, c.resume, c.console, c.guestAgents, c.space,
	} {
		check()
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	return c.findings
}

// checker is one look at a machine.
type checker struct {
	*Machine
	targets  []Target
	family   family
	entries  []bootEntry // what the boot loader offers
	kernels  []*kernel   // the default and the newest
	findings []Finding
}

func newChecker(m *Machine, targets []Target) *checker {
	c := &checker{Machine: m, targets: targets, family: m.family()}
	var chosen *bootEntry
	c.entries, chosen = m.bootEntries()
	c.kernels = m.bootKernels(chosen)
	return c
}

// report adds a finding, for those of its targets that were asked about.
func (c *checker) report(f Finding) {
	f.Targets = slices.DeleteFunc(slices.Clone(f.Targets), func(t Target) bool { return !slices.Contains(c.targets, t) })
	if len(f.Targets) > 0 {
		c.findings = append(c.findings, f)
	}
}
