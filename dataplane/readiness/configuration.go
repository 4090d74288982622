package readiness

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"slices"
)

// ConfigurationFile is a file that says how this machine starts, what it is called or how it is reached.
type ConfigurationFile struct {
	Name   string // "/etc/fstab"
	SHA256 [sha256.Size]byte
}

// configured are those files: starting, naming, reaching. What a system changes by itself, such as grubenv or resolv.conf, is
// not among them; of host keys only the public halves are.
var configured = []string{
	"etc/fstab", "etc/crypttab", "etc/default/grub", "etc/kernel/cmdline", "boot/loader/entries/*.conf",
	"etc/initramfs-tools/*.conf", "etc/initramfs-tools/modules", "etc/initramfs-tools/conf.d/*", "etc/dracut.conf", "etc/dracut.conf.d/*",
	"etc/modules", "etc/modules-load.d/*", "etc/modprobe.d/*",
	"etc/hostname", "etc/hosts", "etc/machine-id", "etc/ssh/sshd_config", "etc/ssh/ssh_host_*_key.pub",
}

// kernels are what the boot loader starts. They are large: their names and sizes stand for them.
var kernels = []string{"boot/vmlinuz*", "boot/initrd*", "boot/initramfs*"}

const (
	// kernelsName is what all of the kernels are called together.
	kernelsName = "/boot, its kernels and initramfs"
	// maxConfigurationFiles bounds what is reported.
	maxConfigurationFiles = 200
)

// Configuration gives a hash of each of the machine's own configuration files, by name, so that two looks can be compared. What
// cannot be read is left out.
func Configuration(m *Machine) []ConfigurationFile {
	names := m.glob(slices.Concat(configured, m.menuFiles())...)
	for _, r := range networkFiles {
		names = append(names, m.glob(r.patterns...)...)
	}
	slices.Sort(names)
	var all []ConfigurationFile
	for _, name := range slices.Compact(names) {
		about, err := fs.Stat(m.Root, name)
		if err != nil || !about.Mode().IsRegular() || len(all) == maxConfigurationFiles-1 {
			continue
		}
		all = append(all, ConfigurationFile{Name: "/" + name, SHA256: sha256.Sum256(m.read(name))})
	}
	listed := sha256.New()
	for _, name := range m.glob(kernels...) {
		fmt.Fprintf(listed, "%s %d\n", name, m.size(name))
	}
	return append(all, ConfigurationFile{Name: kernelsName, SHA256: [sha256.Size]byte(listed.Sum(nil))})
}
