package readiness

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// tableEntry is a line of fstab or crypttab.
type tableEntry struct {
	number int // of the line, from 1
	fields []string
}

// field gives one of them, or "" if the line is shorter.
func (e tableEntry) field(n int) string {
	if n < len(e.fields) {
		return e.fields[n]
	}
	return ""
}

// option reports whether a comma separated field holds one of some options.
func (e tableEntry) option(field int, names ...string) bool {
	for o := range strings.SplitSeq(e.field(field), ",") {
		name, _, _ := strings.Cut(o, "=")
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// parseTable reads fstab(5) and crypttab(5).
func parseTable(content []byte) []tableEntry {
	var entries []tableEntry
	for _, l := range lines(content) {
		entries = append(entries, tableEntry{l.number, strings.Fields(l.text)})
	}
	return entries
}

// unstable are names of devices that depend on the hardware, the driver or the order in which disks are found.
var unstable = regexp.MustCompile(`^/dev/(sd[a-z]+\d*|hd[a-z]+\d*|vd[a-z]+\d*|xvd[a-z]+\d*|nvme\d+n\d+(p\d+)?|mmcblk\d+(p\d+)?|pmem\d+(p\d+)?|dm-\d+|(cciss|ida|rd)/.+|disk/by-(id|path)/.+)$`)

// byID are names by-id that come from what is on the disk and not from its hardware.
var byID = regexp.MustCompile(`^/dev/disk/by-id/(dm-|lvm-|md-)`)

// deviceName reports whether a name need not mean the same device elsewhere.
func deviceName(spec string) bool { return unstable.MatchString(spec) && !byID.MatchString(spec) }

var trailingNumber = regexp.MustCompile(`^(/dev/[a-z]+|/dev/(?:nvme\d+n\d+|mmcblk\d+|pmem\d+)p)(\d+)$`)

// device finds what a name in /dev means. Of a root that does not run, names of whole disks mean nothing; a partition is found if the root
// file system's own name tells which disk is meant.
func (c *checker) device(spec string) (*Device, bool) {
	name := strings.TrimPrefix(spec, "/dev/")
	if c.Facts.Live {
		n := slices.IndexFunc(c.Facts.Devices, func(d Device) bool { return slices.Contains(d.Names, name) })
		if n < 0 {
			return nil, false
		}
		return &c.Facts.Devices[n], true
	}
	disk, number, ok := partitionName(spec)
	if !ok || disk != c.rootDisk() {
		return nil, false
	}
	n := slices.IndexFunc(c.Facts.Devices, func(d Device) bool { return d.Boot && d.Number == number })
	if n < 0 {
		return nil, false
	}
	return &c.Facts.Devices[n], true
}

func partitionName(spec string) (disk string, number int, ok bool) {
	parts := trailingNumber.FindStringSubmatch(spec)
	if parts == nil {
		return "", 0, false
	}
	if _, err := fmt.Sscan(parts[2], &number); err != nil {
		return "", 0, false
	}
	return parts[1], number, true
}

// rootDisk is the name that the disk with the root file system had when fstab or the boot menu were written: the name of the root file
// system tells it, if the number of the partition is still right.
func (c *checker) rootDisk() string {
	var names []string
	for _, e := range parseTable(c.read("etc/fstab")) {
		if e.field(1) == "/" {
			names = append(names, e.field(0))
		}
	}
	for _, e := range c.entries {
		names = append(names, argument(e.options, "root"))
	}
	for _, name := range names {
		disk, number, ok := partitionName(name)
		if ok && slices.ContainsFunc(c.Facts.Devices, func(d Device) bool { return d.Root && d.Boot && d.Number == number }) {
			return disk
		}
	}
	return ""
}

// stableName gives the name by which a device is found anywhere.
func (c *checker) stableName(spec string) (string, bool) {
	d, ok := c.device(spec)
	switch {
	case !ok:
		return "", false
	case d.UUID != "" && d.Type != "LVM2_member" && d.Type != "linux_raid_member":
		return "UUID=" + d.UUID, true
	case d.PartUUID != "" && d.Type != "LVM2_member" && d.Type != "linux_raid_member":
		return "PARTUUID=" + d.PartUUID, true
	}
	return "", false
}

// fstab checks that what is mounted at the start is named by what is on it.
func (c *checker) fstab() {
	for _, e := range parseTable(c.read("etc/fstab")) {
		spec := e.field(0)
		if !deviceName(spec) || e.option(3, "noauto") {
			continue
		}
		severity, why := Blocks, "elsewhere the name may mean another disk or none; then the start ends in an emergency shell"
		if e.option(3, "nofail") || e.field(2) == "swap" || e.field(1) == "swap" {
			severity, why = Degrades, "elsewhere the name may mean another disk or none; the start waits for it and goes on without"
		}
		c.byName("etc/fstab", e, spec, Finding{Code: FstabDeviceName, Severity: severity, Why: why})
	}
}

// crypttab checks the same of encrypted volumes.
func (c *checker) crypttab() {
	for _, e := range parseTable(c.read("etc/crypttab")) {
		spec := e.field(1)
		if !deviceName(spec) || e.option(3, "noauto") {
			continue
		}
		severity := Blocks
		if e.option(3, "nofail") {
			severity = Degrades
		}
		c.byName("etc/crypttab", e, spec, Finding{
			Code: CrypttabDeviceName, Severity: severity, Why: "elsewhere the name may mean another disk or none; the volume is not opened",
		})
	}
}

// byName completes the finding about one line.
func (c *checker) byName(file string, e tableEntry, spec string, f Finding) {
	f.Targets = Targets()
	f.Subject = fmt.Sprintf("/%s:%d", file, e.number)
	f.What = fmt.Sprintf("%s is named by its place: %s", e.field(1), spec)
	if file == "etc/crypttab" {
		f.What = fmt.Sprintf("%s is named by its place: %s", e.field(0), spec)
	}
	name, ok := c.stableName(spec)
	f.Fixable = ok
	if !ok {
		name = "UUID=$(blkid -s UUID -o value " + spec + ")"
	}
	f.Commands = []string{fmt.Sprintf(`sed -i.bak "%ds|%s|%s|" /%s`, e.number, spec, name, file)}
	c.report(f)
}

// renamed gives a table with the names of devices replaced by those that hold anywhere, in the lines of the findings.
func (c *checker) renamed(file string, field int) (content []byte, changes []string) {
	raw := strings.Split(string(c.read(file)), "\n")
	for _, e := range parseTable([]byte(strings.Join(raw, "\n"))) {
		spec := e.field(field)
		name, ok := c.stableName(spec)
		if !ok || !deviceName(spec) || e.option(3, "noauto") {
			continue
		}
		raw[e.number-1] = strings.Replace(raw[e.number-1], spec, name, 1)
		changes = append(changes, fmt.Sprintf("line %d: %s becomes %s", e.number, spec, name))
	}
	return []byte(strings.Join(raw, "\n")), changes
}
