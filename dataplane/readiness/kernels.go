package readiness

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// kernel is one that is installed.
type kernel struct {
	version string
	initrd  string // file of its initramfs; "" if there is none
	role    string // "default", "newest", or both
	modules string // folder of its modules; "" if it is not there
	builtin map[string]bool
	needs   map[string][]string // of each module: those it needs. By names with underscores
	entry   *bootEntry          // what starts it, if the menu is understood
}

// has reports whether the kernel knows a driver at all.
func (k *kernel) has(module string) bool {
	_, ok := k.needs[module]
	return ok || k.builtin[module]
}

// missing gives the modules that are needed for some others and that a set lacks, in the order of loading.
func (k *kernel) missing(wanted []string, present map[string]bool) []string {
	var lacking []string
	seen := map[string]bool{}
	var visit func(module string)
	visit = func(module string) {
		if seen[module] || k.builtin[module] {
			return
		}
		seen[module] = true
		for _, below := range k.needs[module] {
			visit(below)
		}
		if !present[module] {
			lacking = append(lacking, module)
		}
	}
	for _, module := range wanted {
		visit(module)
	}
	return lacking
}

// bootKernels gives the kernel that starts by default and the newest one, which starts after the next update of the menu.
func (m *Machine) bootKernels(chosen *bootEntry) []*kernel {
	var kernels []*kernel
	for _, file := range m.glob("boot/vmlinuz-*", "boot/vmlinux-*", "boot/Image-*") {
		_, version, _ := strings.Cut(path.Base(file), "-")
		if strings.Contains(version, "rescue") || strings.HasSuffix(version, ".old") {
			continue
		}
		kernels = append(kernels, m.kernel(version))
	}
	slices.SortFunc(kernels, func(a, b *kernel) int { return compareVersions(b.version, a.version) })
	var picked []*kernel
	if len(kernels) > 0 {
		kernels[0].role = "newest"
		picked = kernels[:1]
	}
	if chosen == nil {
		return picked
	}
	version := m.versionOf(chosen)
	n := slices.IndexFunc(kernels, func(k *kernel) bool { return k.version == version })
	switch {
	case n == 0:
		kernels[0].role, kernels[0].entry = "default and newest", chosen
	case n > 0:
		kernels[n].role, kernels[n].entry = "default", chosen
		picked = append([]*kernel{kernels[n]}, picked...)
	}
	for _, k := range picked {
		if k.entry != nil && len(k.entry.initrd) > 0 {
			k.initrd = m.onBoot(k.entry.initrd[len(k.entry.initrd)-1])
		}
	}
	return picked
}

// versionOf gives the version of the kernel that an entry of the menu starts. Its file may be a link.
func (m *Machine) versionOf(e *bootEntry) string {
	_, version, _ := strings.Cut(path.Base(m.onBoot(e.kernel)), "-")
	return version
}

// onBoot finds the file that a boot loader means: it may count from the root file system or from that of /boot.
func (m *Machine) onBoot(file string) string {
	file = strings.TrimPrefix(path.Clean("/"+file), "/")
	for _, name := range []string{file, path.Join("boot", file), path.Join("boot/efi", file), path.Join("efi", file)} {
		if m.exists(name) {
			return m.follow(name)
		}
	}
	return file
}

func (m *Machine) kernel(version string) *kernel {
	k := &kernel{version: version, builtin: map[string]bool{}, needs: map[string][]string{}}
	for _, name := range []string{"boot/initrd.img-" + version, "boot/initramfs-" + version + ".img", "boot/initrd-" + version} {
		if m.exists(name) {
			k.initrd = name
			break
		}
	}
	for _, dir := range []string{"usr/lib/modules/" + version, "lib/modules/" + version} {
		if m.exists(dir) {
			k.modules = dir
			break
		}
	}
	if k.modules == "" {
		return k
	}
	for _, l := range lines(m.read(k.modules + "/modules.builtin")) {
		k.builtin[moduleName(l.text)] = true
	}
	for _, l := range lines(m.read(k.modules + "/modules.dep")) {
		file, below, _ := strings.Cut(l.text, ":")
		var names []string
		for word := range strings.FieldsSeq(below) {
			names = append(names, moduleName(word))
		}
		k.needs[moduleName(file)] = names
	}
	return k
}

// moduleName gives the name that modprobe uses: without folder, ending and compression, with underscores.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// inImage gives the modules in an initramfs.
func inImage(names []string) map[string]bool {
	present := map[string]bool{}
	for _, name := range names {
		if base := path.Base(name); strings.HasSuffix(base, ".ko") || strings.Contains(base, ".ko.") {
			present[moduleName(name)] = true
		}
	}
	return present
}

// outOfTree lists modules that came from elsewhere than the kernel's own package.
func (m *Machine) outOfTree(k *kernel) []string {
	var found []string
	for _, dir := range []string{"updates", "extra", "weak-updates"} {
		root := path.Join(k.modules, dir)
		if k.modules == "" || !m.exists(root) {
			continue
		}
		// What cannot be read is not there for the kernel either.
		_ = fs.WalkDir(m.Root, root, func(name string, _ fs.DirEntry, err error) error {
			if err == nil && strings.Contains(path.Base(name), ".ko") {
				found = append(found, moduleName(name))
			}
			return nil
		})
	}
	return found
}

// compareVersions orders as people number: digits by their value, the rest by letters.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = chunk(a)
		y, b = chunk(b)
		if x == y {
			continue
		}
		if digit(x[0]) && digit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
		}
		if order := strings.Compare(x, y); order != 0 {
			return order
		}
	}
	return len(a) - len(b)
}

// chunk cuts the leading digits off, or whatever stands before the next digits.
func chunk(s string) (first, rest string) {
	n := strings.IndexFunc(s, func(r rune) bool { return digit(byte(r)) != digit(s[0]) })
	if n < 0 {
		n = len(s)
	}
	return s[:n], s[n:]
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// sizeText writes bytes as people read them.
func sizeText(n int64) string {
	if n >= 10<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
