package readiness

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// onLVM reports whether the root file system lies on a logical volume, as far as can be said.
func (c *checker) onLVM() bool {
	if slices.Contains(c.Facts.Stack, "lvm") {
		return true
	}
	for _, e := range parseTable(c.read("etc/fstab")) {
		if e.field(1) == "/" {
			return strings.HasPrefix(e.field(0), "/dev/mapper/") && !c.inCrypttab(e.field(0))
		}
	}
	return false
}

func (c *checker) inCrypttab(mapped string) bool {
	return slices.ContainsFunc(parseTable(c.read("etc/crypttab")), func(e tableEntry) bool { return "/dev/mapper/"+e.field(0) == mapped })
}

var (
	filterSetting = regexp.MustCompile(`(?s)\b(global_filter|filter)\s*=\s*\[(.*?)\]`)
	filterPattern = regexp.MustCompile(`"([^"]*)"|'([^']*)'`)
	placePattern  = regexp.MustCompile(`dev/(sd|hd|vd|xvd|nvme|cciss|mapper/mpath|emcpower|disk/by-(id|path))|\b(sd|vd|nvme|mpath|emcpower)`)
)

// lvm checks that LVM looks at the disks of another machine.
func (c *checker) lvm() {
	severity := Degrades
	if c.onLVM() {
		severity = Blocks
	}
	const conf = "etc/lvm/lvm.conf"
	var text strings.Builder
	for _, l := range lines(c.read(conf)) {
		text.WriteString(l.text + "\n")
	}
	for _, setting := range filterSetting.FindAllStringSubmatch(text.String(), -1) {
		var accepts []string
		rejects := false
		for _, p := range filterPattern.FindAllStringSubmatch(setting[2], -1) {
			pattern := p[1] + p[2]
			if strings.HasPrefix(pattern, "a") && placePattern.MatchString(pattern) {
				accepts = append(accepts, pattern)
			}
			if len(pattern) > 3 && pattern[0] == 'r' && slices.Contains([]string{".*", ".", "^.*$", ""}, pattern[2:len(pattern)-1]) {
				rejects = true
			}
		}
		if len(accepts) == 0 || !rejects {
			continue
		}
		commands := []string{fmt.Sprintf(`sed -i.bak -E 's|^([[:space:]]*)%s[[:space:]]*=|\1# &|' /%s`, setting[1], conf)}
		for _, k := range c.kernels {
			if command := c.family.regenerate(k); command != nil {
				commands = append(commands, strings.Join(command, " "))
			}
		}
		c.report(Finding{
			Code: LVMDevices, Severity: severity, Targets: Targets(), Subject: "/" + conf,
			What: fmt.Sprintf("%s lets LVM look at %s and at nothing else", setting[1], strings.Join(accepts, ", ")),
			Why:  "the disks there may have other names: their volume groups are not found", Commands: commands,
		})
	}
	c.devicesFile()
}

// devicesFile checks LVM's list of devices, which names them by their hardware.
func (c *checker) devicesFile() {
	const file = "etc/lvm/devices/system.devices"
	var kinds []string
	for _, l := range lines(c.read(file)) {
		_, kind, ok := strings.Cut(l.text, "IDTYPE=")
		if !ok {
			continue
		}
		kind, _, _ = strings.Cut(kind, " ")
		if !slices.Contains(kinds, kind) && kind != "devname" && kind != "lvmlv_uuid" && kind != "md_uuid" && kind != "crypt_uuid" {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return
	}
	c.report(Finding{
		Code: LVMDevices, Severity: Degrades, Targets: Targets(), Subject: "/" + file, What: "it names the disks by their hardware: " + strings.Join(kinds, ", "),
		Why:      "LVM before 2.03.23 does not look at other disks, and finds no volume group there but the one that the kernel command line names",
		Commands: []string{"mv /" + file + " /" + file + ".off  # there: vgimportdevices --all"},
	})
}

// md checks that arrays are assembled from whatever disks hold them.
func (c *checker) md() {
	for _, file := range []string{"etc/mdadm/mdadm.conf", "etc/mdadm.conf"} {
		for _, l := range lines(c.read(file)) {
			if named := membersNamed(strings.Fields(l.text)); len(named) > 0 {
				c.members(file, l.number, named)
			}
		}
	}
}

// membersNamed gives the devices that a line of mdadm.conf names.
func membersNamed(words []string) []string {
	var named []string
	for _, word := range words[1:] {
		list, isList := strings.CutPrefix(word, "devices=")
		if !isList && !strings.EqualFold(words[0], "DEVICE") {
			continue
		}
		for device := range strings.SplitSeq(list, ",") {
			if strings.HasPrefix(device, "/dev/") {
				named = append(named, device)
			}
		}
	}
	return named
}

func (c *checker) members(file string, number int, named []string) {
	f := Finding{
		Code: MDDevices, Severity: Degrades, Targets: Targets(), Subject: fmt.Sprintf("/%s:%d", file, number),
		What:     "it names the members of arrays by their place: " + strings.Join(named, ", "),
		Why:      "elsewhere the members have other names: the array is not assembled",
		Commands: []string{fmt.Sprintf(`sed -i.bak -E '%ds/^DEVICE.*/DEVICE partitions/; %ds/ devices=[^ ]*//' /%s`, number, number, file)},
	}
	if slices.Contains(c.Facts.Stack, "md") {
		f.Severity = Blocks
	}
	for _, k := range c.kernels {
		if command := c.family.regenerate(k); command != nil {
			f.Commands = append(f.Commands, strings.Join(command, " "))
		}
	}
	c.report(f)
}
