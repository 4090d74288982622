package readiness

import (
	"fmt"
	"slices"
	"strings"
)

// The files in which modules are asked for. The second is ours alone.
const (
	modulesFile = "etc/initramfs-tools/modules"
	dracutFile  = "etc/dracut.conf.d/farshore.conf"
)

// forced gives the modules that the next initramfs will hold whatever hardware it is made on.
func (c *checker) forced() map[string]bool {
	forced := map[string]bool{}
	if c.family.initramfs == initramfsTools {
		files := append([]string{modulesFile}, c.glob("usr/share/initramfs-tools/modules.d/*", "etc/initramfs-tools/modules.d/*")...)
		for _, file := range files {
			for _, l := range lines(c.read(file)) {
				forced[moduleName(strings.Fields(l.text)[0])] = true
			}
		}
		return forced
	}
	for _, file := range c.dracutFiles() {
		for _, l := range lines(c.read(file)) {
			name, value, _ := strings.Cut(l.text, "=")
			if !slices.Contains([]string{"add_drivers", "force_drivers", "drivers"}, strings.TrimRight(name, "+ ")) {
				continue
			}
			for _, word := range shellWords(value) {
				for module := range strings.FieldsSeq(word) {
					forced[moduleName(module)] = true
				}
			}
		}
	}
	return forced
}

func (c *checker) dracutFiles() []string {
	return append([]string{"etc/dracut.conf"}, c.glob("usr/lib/dracut/dracut.conf.d/*.conf", "etc/dracut.conf.d/*.conf")...)
}

// toForce gives the modules that the kernels of this machine have, that the targets need, and that nobody has asked for yet.
func (c *checker) toForce(targets []Target) []string {
	forced := c.forced()
	var modules []string
	for _, k := range c.kernels {
		for _, module := range c.wanted(k, targets) {
			if !forced[module] && !slices.Contains(modules, module) {
				modules = append(modules, module)
			}
		}
	}
	return modules
}

// onlyThisHardware says by which setting the initramfs is made for this hardware alone, and where; "" if it is made for any.
func (c *checker) onlyThisHardware() (setting, file string) {
	switch c.family.initramfs {
	case initramfsTools:
		for _, name := range append([]string{"etc/initramfs-tools/initramfs.conf"}, c.glob("etc/initramfs-tools/conf.d/*")...) {
			mode, ok := assignments(c.read(name))["MODULES"]
			if ok {
				setting, file = "MODULES="+mode, name
			}
		}
		if setting != "MODULES=dep" && setting != "MODULES=list" {
			return "", ""
		}
	case dracut:
		for _, name := range c.dracutFiles() {
			mode, ok := assignments(c.read(name))["hostonly"]
			if ok {
				setting, file = "hostonly="+mode, name
			}
		}
		if setting != "hostonly=yes" {
			return "", ""
		}
	}
	return setting, file
}

// hostOnly checks the initramfs that will be made at the next update of the kernel.
func (c *checker) hostOnly() {
	if slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Code == InitramfsDrivers }) {
		return // mended by the same step
	}
	setting, file := c.onlyThisHardware()
	if setting == "" {
		return
	}
	var concerned []Target
	for _, t := range c.targets {
		if len(c.toForce([]Target{t})) > 0 {
			concerned = append(concerned, t)
		}
	}
	if len(concerned) == 0 {
		return
	}
	modules := c.toForce(c.targets)
	c.report(Finding{
		Code: InitramfsHostOnly, Severity: Degrades, Targets: concerned, Subject: "/" + file,
		What:     fmt.Sprintf("%s: an initramfs made here holds the drivers of this hardware; %s are not asked for", setting, strings.Join(modules, ", ")),
		Why:      "the present one would start elsewhere; the one of the next update may not",
		Commands: c.family.addModules(modules, c.kernels), Fixable: true,
	})
}
