package readiness

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Step is one thing that is done to mend findings: exactly one of Write, Copy and Run is set.
type Step struct {
	Code  Code     `json:"code"`
	Why   []string `json:"why"` // what changes, a line each
	Write *Write   `json:"write,omitempty"`
	Copy  *Copy    `json:"copy,omitempty"`
	Run   []string `json:"run,omitempty"`
	// At is the folder on whose file system the step needs free space, and Bytes how much.
	At    string `json:"at"`
	Bytes int64  `json:"bytes"`
}

// Write replaces the content of a file, whose old content is kept beside it, or makes the file.
type Write struct {
	Path    string `json:"path"` // without a slash in front
	Content []byte `json:"-"`
}

// Copy makes a file that is not there yet from another.
type Copy struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Line says what a step does, as a plan shows it.
func (s Step) Line() string {
	switch {
	case s.Write != nil:
		return "write /" + s.Write.Path
	case s.Copy != nil:
		return fmt.Sprintf("copy /%s to /%s", s.Copy.From, s.Copy.To)
	}
	return "run " + strings.Join(s.Run, " ")
}

// Fixable lists the codes for which there are steps.
func Fixable() []Code {
	return []Code{InitramfsDrivers, InitramfsHostOnly, FstabDeviceName, CrypttabDeviceName, CmdlineDeviceName, EFIFallback}
}

// Plan gives the steps that mend what of the findings can be mended, of the given codes alone, in the order in which they must be done.
// Files are changed before the initramfs is made anew, so that it holds what they say.
func Plan(m *Machine, targets []Target, codes []Code) []Step {
	if len(targets) == 0 {
		targets = Targets()
	}
	c := newChecker(m, targets)
	open := map[Code]bool{}
	for _, f := range Check(m, targets...) {
		open[f.Code] = open[f.Code] || f.Fixable && slices.Contains(codes, f.Code)
	}
	var steps []Step
	if open[FstabDeviceName] {
		steps = append(steps, c.rewrite(FstabDeviceName, "etc/fstab", func() ([]byte, []string) { return c.renamed("etc/fstab", 0) })...)
	}
	if open[CrypttabDeviceName] {
		steps = append(steps, c.rewrite(CrypttabDeviceName, "etc/crypttab", func() ([]byte, []string) { return c.renamed("etc/crypttab", 1) })...)
	}
	if open[CmdlineDeviceName] {
		for _, file := range c.menus() {
			steps = append(steps, c.rewrite(CmdlineDeviceName, file, func() ([]byte, []string) { return c.menuRenamed(file) })...)
		}
	}
	if open[EFIFallback] {
		for _, pair := range c.fallbackCopies(c.esp()) {
			if pair[1] != "" && !c.exists(pair[1]) {
				steps = append(steps, Step{Code: EFIFallback, Copy: &Copy{pair[0], pair[1]}, At: c.esp(), Bytes: c.size(pair[0])})
			}
		}
	}
	for _, code := range []Code{InitramfsDrivers, InitramfsHostOnly, CrypttabDeviceName} { // crypttab has a copy in the initramfs
		if open[code] {
			return append(steps, c.initramfsSteps(code, code != CrypttabDeviceName)...)
		}
	}
	return steps
}

// spareConfig is what a file system must have free for a configuration file and its old content.
const spareConfig = 1 << 20

func (c *checker) rewrite(code Code, file string, change func() ([]byte, []string)) []Step {
	content, changes := change()
	if len(changes) == 0 {
		return nil
	}
	return []Step{{
		Code: code, Why: changes, Write: &Write{Path: file, Content: content}, At: path.Dir(file), Bytes: spareConfig + int64(len(content)),
	}}
}

// menus lists the files with command lines of the kernel.
func (c *checker) menus() []string {
	files := []string{grubDefaults}
	for _, e := range c.entries {
		if !slices.Contains(files, e.file) {
			files = append(files, e.file)
		}
	}
	return files
}

// initramfsSteps ask for the modules that the targets need, and make the initramfs of the default and the newest kernel anew.
func (c *checker) initramfsSteps(code Code, ask bool) []Step {
	var steps []Step
	modules := c.toForce(c.targets)
	if ask && len(modules) > 0 {
		file, content := modulesFile, c.askTools(modules)
		if c.family.initramfs == dracut {
			file, content = dracutFile, c.askDracut(modules)
		}
		steps = append(steps, Step{
			Code: code, Why: []string{"asks for " + strings.Join(modules, ", ")}, Write: &Write{Path: file, Content: content},
			At: path.Dir(file), Bytes: spareConfig,
		})
	}
	for _, k := range c.kernels {
		command := c.family.regenerate(k)
		if command == nil || k.initrd == "" {
			continue
		}
		steps = append(steps, Step{
			Code: code, Why: []string{"makes /" + k.initrd + " anew"}, Run: command, At: path.Dir(k.initrd), Bytes: c.need(),
		})
	}
	return steps
}

// askTools adds modules to the file of initramfs-tools, which people write too.
func (c *checker) askTools(modules []string) []byte {
	content := string(c.read(modulesFile))
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	return []byte(content + "# so that this machine starts elsewhere (farshore-agent readiness)\n" + strings.Join(modules, "\n") + "\n")
}

// askDracut writes the file that is ours alone: with what it asked for before.
func (c *checker) askDracut(modules []string) []byte {
	all := slices.Clone(modules)
	for _, l := range lines(c.read(dracutFile)) {
		_, value, _ := strings.Cut(l.text, "=")
		for _, word := range shellWords(value) {
			all = append(all, strings.Fields(word)...)
		}
	}
	slices.Sort(all)
	return []byte("# so that this machine starts elsewhere (farshore-agent readiness)\nadd_drivers+=\" " + strings.Join(slices.Compact(all), " ") + " \"\n")
}
