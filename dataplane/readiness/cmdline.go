package readiness

import (
	"fmt"
	"slices"
	"strings"
)

const grubDefaults = "etc/default/grub"

// deviceArguments are the kernel arguments that name devices.
var deviceArguments = []string{"root", "resume"}

// byPlace gives the arguments of a command line that name a device by its place.
func byPlace(options string) []string {
	var found []string
	for _, name := range deviceArguments {
		if value := argument(options, name); deviceName(value) {
			found = append(found, name+"="+value)
		}
	}
	return found
}

// cmdline checks every entry of the boot menu, and the settings that the next menu is made from.
func (c *checker) cmdline() {
	perFile := map[string][]string{}
	var files []string
	for _, e := range c.entries {
		if !slices.Contains(files, e.file) {
			files = append(files, e.file)
		}
		for _, argument := range byPlace(e.options) {
			if !slices.Contains(perFile[e.file], argument) {
				perFile[e.file] = append(perFile[e.file], argument)
			}
		}
	}
	for _, file := range files {
		c.namedInMenu(file, perFile[file])
	}
	if defaults := assignments(c.read(grubDefaults)); len(defaults) > 0 {
		c.namedInDefaults(defaults)
	}
}

func (c *checker) namedInMenu(file string, arguments []string) {
	if len(arguments) == 0 {
		return
	}
	f := Finding{
		Code: CmdlineDeviceName, Severity: Degrades, Targets: Targets(), Subject: "/" + file,
		What: "the kernel is told devices by their place: " + strings.Join(arguments, ", "),
		Why:  "elsewhere the name may mean another disk or none; the start waits for it", Fixable: true,
	}
	for _, a := range arguments {
		name, device, _ := strings.Cut(a, "=")
		if name == "root" {
			f.Severity, f.Why = Blocks, "elsewhere the name may mean another disk or none; then there is no root file system"
		}
		stable, ok := c.stableName(device)
		f.Fixable = f.Fixable && ok
		if !ok {
			stable = "UUID=$(blkid -s UUID -o value " + device + ")"
		}
		if c.family.grubby {
			f.Commands = append(f.Commands, fmt.Sprintf(`grubby --update-kernel=ALL --remove-args="%s" --args="%s=%s"`, name, name, stable))
			continue
		}
		f.Commands = append(f.Commands, fmt.Sprintf(`sed -i.bak "s|%s|%s=%s|" /%s`, a, name, stable, file))
	}
	c.report(f)
}

func (c *checker) namedInDefaults(defaults map[string]string) {
	var arguments []string
	for _, name := range []string{"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"} {
		arguments = append(arguments, byPlace(defaults[name])...)
	}
	byUUID := defaults["GRUB_DISABLE_LINUX_UUID"] != "true"
	if len(arguments) == 0 && byUUID {
		return
	}
	f := Finding{
		Code: CmdlineDeviceName, Severity: Degrades, Targets: Targets(), Subject: "/" + grubDefaults,
		Why: "the next boot menu that is made names devices that may be others elsewhere", Fixable: true,
	}
	var what []string
	if !byUUID {
		what = append(what, "GRUB_DISABLE_LINUX_UUID=true")
		f.Commands = append(f.Commands, `sed -i.bak 's|^GRUB_DISABLE_LINUX_UUID=|#&|' /`+grubDefaults)
	}
	for _, a := range arguments {
		name, device, _ := strings.Cut(a, "=")
		stable, ok := c.stableName(device)
		f.Fixable = f.Fixable && ok
		if !ok {
			stable = "UUID=$(blkid -s UUID -o value " + device + ")"
		}
		what = append(what, a)
		f.Commands = append(f.Commands, fmt.Sprintf(`sed -i.bak "s|%s|%s=%s|" /%s`, a, name, stable, grubDefaults))
	}
	f.What = "what the boot menu is made from says " + strings.Join(what, ", ")
	if c.family.menu != nil {
		f.Commands = append(f.Commands, strings.Join(c.family.menu, " "))
	}
	c.report(f)
}

// menuRenamed gives a boot menu, or what it is made from, with stable names of devices on its kernel lines.
func (c *checker) menuRenamed(file string) (content []byte, changes []string) {
	raw := strings.Split(string(c.read(file)), "\n")
	for n, text := range raw {
		trimmed := strings.TrimSpace(text)
		if file == grubDefaults && strings.HasPrefix(trimmed, "GRUB_DISABLE_LINUX_UUID=") {
			raw[n] = "#" + text
			changes = append(changes, fmt.Sprintf("line %d: %s becomes a comment", n+1, trimmed))
			continue
		}
		if !kernelLine(trimmed) {
			continue
		}
		for _, word := range argumentWords(trimmed) {
			name, device, _ := strings.Cut(word, "=")
			stable, ok := c.stableName(device)
			if !ok || !deviceName(device) {
				continue
			}
			raw[n] = strings.Replace(raw[n], word, name+"="+stable, 1)
			changes = append(changes, fmt.Sprintf("line %d: %s becomes %s=%s", n+1, word, name, stable))
		}
	}
	return []byte(strings.Join(raw, "\n")), changes
}

// kernelLine tells the lines that hold a command line of the kernel: GRUB's, the boot loader specification's, and those of the defaults.
func kernelLine(text string) bool {
	word, _, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	name, _, _ := strings.Cut(text, "=")
	return slices.Contains([]string{"linux", "linux16", "linuxefi", "options"}, word) ||
		slices.Contains([]string{"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"}, name)
}

// argumentWords gives the arguments that name devices, as they are written.
func argumentWords(text string) []string {
	var found []string
	split := func(r rune) bool { return strings.ContainsRune(" \t\"'", r) }
	for _, word := range strings.FieldsFunc(text, split) {
		if name, _, ok := strings.Cut(word, "="); ok && slices.Contains(deviceArguments, name) {
			found = append(found, word)
		}
	}
	return found
}

// console notes when nothing would be seen of the start.
func (c *checker) console() {
	if len(c.kernels) == 0 || c.kernels[0].entry == nil {
		return
	}
	options := c.kernels[0].entry.options
	port := "ttyS0"
	if c.Facts.Arch == "arm64" {
		port = "ttyAMA0"
	}
	if strings.Contains(options, "console=ttyS") || strings.Contains(options, "console=ttyAMA") {
		return
	}
	commands := []string{fmt.Sprintf(`sed -i.bak 's|^GRUB_CMDLINE_LINUX="|&console=tty0 console=%s,115200 |' /%s`, port, grubDefaults)}
	switch {
	case c.family.grubby:
		commands = []string{fmt.Sprintf(`grubby --update-kernel=ALL --args="console=tty0 console=%s,115200"`, port)}
	case c.family.menu != nil:
		commands = append(commands, strings.Join(c.family.menu, " "))
	}
	c.report(Finding{
		Code: SerialConsole, Severity: Note, Targets: []Target{Azure, KVM}, Subject: "/" + c.kernels[0].entry.file,
		What: "the kernel is not told to use a serial console", Why: "if the machine does not start there, nothing says why: the serial console is all that can be seen",
		Commands: commands,
	})
}

// resume checks the place of a suspended system, for which the initramfs waits.
func (c *checker) resume() {
	const file = "etc/initramfs-tools/conf.d/resume"
	spec := assignments(c.read(file))["RESUME"]
	why := "the start waits for it, half a minute or more"
	switch {
	case spec == "" || spec == "none" || spec == "auto":
		return
	case deviceName(spec):
		stable, ok := c.stableName(spec)
		if !ok {
			stable = "UUID=$(blkid -s UUID -o value " + spec + ")"
		}
		c.report(Finding{
			Code: ResumeDevice, Severity: Degrades, Targets: Targets(), Subject: "/" + file, What: "the device to resume from is named by its place: " + spec, Why: why,
			Commands: []string{fmt.Sprintf(`echo "RESUME=%s" > /%s`, stable, file), "update-initramfs -u -k all"},
		})
	case c.Facts.Live && strings.HasPrefix(spec, "UUID=") && !slices.ContainsFunc(c.Facts.Devices, func(d Device) bool { return "UUID="+d.UUID == spec }):
		c.report(Finding{
			Code: ResumeDevice, Severity: Degrades, Targets: Targets(), Subject: "/" + file, What: "the device to resume from is not there: " + spec, Why: why,
			Commands: []string{"echo RESUME=none > /" + file, "update-initramfs -u -k all"},
		})
	}
}
