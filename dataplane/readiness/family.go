package readiness

import (
	"fmt"
	"strings"
)

// family is how a distribution makes its initramfs and its boot menu.
type family struct {
	initramfs string   // "initramfs-tools", "dracut", or "" if neither is there
	menu      []string // the command that writes the boot menu anew; none if it is not known
	grubby    bool     // the kernel command line is set by grubby
	install   string   // what installs a package: "apt-get install -y"
}

const (
	initramfsTools = "initramfs-tools"
	dracut         = "dracut"
)

func (m *Machine) family() family {
	var f family
	switch {
	case m.exists("usr/sbin/mkinitramfs", "sbin/mkinitramfs"):
		f.initramfs = initramfsTools
	case m.exists("usr/bin/dracut", "usr/sbin/dracut", "sbin/dracut"):
		f.initramfs = dracut
	}
	f.grubby = m.exists("usr/sbin/grubby", "sbin/grubby", "usr/bin/grubby")
	switch {
	case m.exists("usr/sbin/update-grub"):
		f.menu = []string{"update-grub"}
	case m.exists("boot/grub2/grub.cfg"):
		f.menu = []string{"grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"}
	}
	switch {
	case m.exists("usr/bin/apt-get"):
		f.install = "apt-get install -y"
	case m.exists("usr/bin/zypper"):
		f.install = "zypper install -y"
	case m.exists("usr/bin/dnf"):
		f.install = "dnf install -y"
	case m.exists("usr/bin/yum"):
		f.install = "yum install -y"
	}
	return f
}

// regenerate is the command that makes the initramfs of a kernel anew.
func (f family) regenerate(k *kernel) []string {
	switch f.initramfs {
	case initramfsTools:
		return []string{"update-initramfs", "-u", "-k", k.version}
	case dracut:
		return []string{"dracut", "--force", "/" + k.initrd, k.version}
	}
	return nil
}

// addModules are the commands with which a person puts modules into the initramfs of some kernels.
func (f family) addModules(modules []string, kernels []*kernel) []string {
	var commands []string
	switch f.initramfs {
	case initramfsTools:
		commands = append(commands, fmt.Sprintf(`printf '%%s\n' %s >> /%s`, strings.Join(modules, " "), modulesFile))
	case dracut:
		commands = append(commands, fmt.Sprintf(`echo 'add_drivers+=" %s "' > /%s`, strings.Join(modules, " "), dracutFile))
	default:
		return []string{fmt.Sprintf("# neither initramfs-tools nor dracut is here: add %s to the initramfs by the means that made it", strings.Join(modules, ", "))}
	}
	for _, k := range kernels {
		commands = append(commands, strings.Join(f.regenerate(k), " "))
	}
	return commands
}
