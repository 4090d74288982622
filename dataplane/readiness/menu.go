package readiness

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// bootEntry is one line of the menu of a boot loader.
type bootEntry struct {
	file    string // where it is written
	title   string
	id      string
	kernel  string // as the boot loader names it
	initrd  []string
	options string // the kernel's command line
}

// menuNode is an entry, or a submenu.
type menuNode struct {
	title, id string
	entry     *bootEntry // nil for a submenu
	below     []*menuNode
}

// menu is what a grub.cfg says.
type menu struct {
	nodes    []*menuNode
	settings map[string]string // set NAME=VALUE, the last of each
	bls      bool              // it takes its entries from the boot loader specification's files
}

// bootEntries gives what the boot loader offers, and what it starts by itself if that can be said.
func (m *Machine) bootEntries() (entries []bootEntry, chosen *bootEntry) {
	for _, file := range m.menuFiles() {
		content := m.read(file)
		if content == nil {
			continue
		}
		parsed := parseMenu(content)
		env := m.environment(path.Dir(file))
		if parsed.bls || len(parsed.nodes) == 0 {
			entries, chosen = m.loaderEntries(env, parsed.settings)
		}
		if len(entries) == 0 {
			entries, chosen = parsed.choose(file, env)
		}
		if len(entries) > 0 {
			return entries, chosen
		}
	}
	return m.loaderEntries(nil, nil)
}

// menuFiles are where GRUB's menu may be.
func (m *Machine) menuFiles() []string {
	files := []string{"boot/grub/grub.cfg", "boot/grub2/grub.cfg"}
	return append(files, m.glob("boot/efi/EFI/*/grub.cfg", "efi/EFI/*/grub.cfg")...)
}

// environment reads GRUB's saved variables.
func (m *Machine) environment(dir string) map[string]string {
	env := map[string]string{}
	for l := range strings.SplitSeq(string(m.read(path.Join(dir, "grubenv"))), "\n") {
		if name, value, ok := strings.Cut(l, "="); ok && !strings.HasPrefix(l, "#") {
			env[name] = value
		}
	}
	return env
}

// parseMenu reads a grub.cfg as far as its entries and settings go. Conditions are not evaluated: every branch is read.
func parseMenu(content []byte) menu {
	m := menu{settings: map[string]string{}}
	root := &menuNode{}
	stack := []*menuNode{root} // nil for a brace that opens something else
	for _, l := range lines(content) {
		words := shellWords(l.text)
		opened := m.line(words, &stack)
		if closes := len(words) > 0 && words[len(words)-1] == "}"; closes && len(stack) > 1 {
			stack = stack[:len(stack)-1]
		} else if !opened && len(words) > 0 && words[len(words)-1] == "{" {
			stack = append(stack, nil)
		}
	}
	m.nodes = root.below
	return m
}

// line takes one line of a grub.cfg in, and says whether it opened an entry or a submenu.
func (m *menu) line(words []string, stack *[]*menuNode) (opened bool) {
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "menuentry", "submenu":
		node := &menuNode{}
		node.title, node.id = named(words)
		if words[0] == "menuentry" {
			node.entry = &bootEntry{title: node.title, id: node.id}
		}
		parent := innermost(*stack)
		parent.below = append(parent.below, node)
		if words[len(words)-1] == "{" {
			*stack = append(*stack, node)
			return true
		}
	case "set":
		m.set(words[1:])
	case "blscfg":
		m.bls = true
	default:
		if e := innermost(*stack).entry; e != nil {
			e.line(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "}" }))
		}
	}
	return false
}

// innermost is the entry or submenu that is open.
func innermost(stack []*menuNode) *menuNode {
	for _, node := range slices.Backward(stack) {
		if node != nil {
			return node
		}
	}
	return &menuNode{}
}

// named gives title and id of: menuentry TITLE --class X $menuentry_id_option ID {
func named(words []string) (title, id string) {
	if len(words) > 1 {
		title = words[1]
	}
	for n, word := range words[:len(words)-1] {
		if word == "--id" || word == "$menuentry_id_option" || word == "${menuentry_id_option}" {
			id = words[n+1]
		}
	}
	return title, id
}

// set notes a setting. What depends on the next start alone is not one.
func (m *menu) set(words []string) {
	if len(words) == 0 {
		return
	}
	name, value, ok := strings.Cut(words[0], "=")
	if ok && !strings.Contains(value, "next_entry") {
		m.settings[name] = value
	}
}

func (e *bootEntry) line(words []string) {
	if len(words) == 0 {
		return
	}
	switch strings.TrimSuffix(strings.TrimSuffix(words[0], "16"), "efi") {
	case "linux":
		if len(words) > 1 {
			e.kernel, e.options = words[1], strings.Join(words[2:], " ")
		}
	case "initrd":
		e.initrd = words[1:]
	}
}

// choose gives all entries that start a kernel, and the one that is started by itself.
func (m *menu) choose(file string, env map[string]string) (entries []bootEntry, chosen *bootEntry) {
	var collect func(nodes []*menuNode)
	collect = func(nodes []*menuNode) {
		for _, n := range nodes {
			if n.entry != nil && n.entry.kernel != "" {
				n.entry.file = file
				n.entry.options = expand(n.entry.options, env, m.settings)
				entries = append(entries, *n.entry)
			}
			collect(n.below)
		}
	}
	collect(m.nodes)
	wanted := m.settings["default"]
	if strings.Contains(wanted, "saved_entry") {
		wanted = env["saved_entry"]
	}
	node := pick(m.nodes, wanted)
	for node != nil && node.entry == nil && len(node.below) > 0 {
		node = node.below[0]
	}
	if node != nil && node.entry != nil && node.entry.kernel != "" {
		chosen = node.entry
	}
	return entries, chosen
}

// pick finds an entry as GRUB does: by number, id or title, with > between submenus.
func pick(nodes []*menuNode, wanted string) *menuNode {
	if wanted == "" {
		wanted = "0"
	}
	first, rest, deeper := strings.Cut(wanted, ">")
	var found *menuNode
	if number, err := strconv.Atoi(first); err == nil && number >= 0 && number < len(nodes) {
		found = nodes[number]
	}
	for _, n := range nodes {
		if found == nil && (n.id == first || n.title == first) {
			found = n
		}
	}
	if found == nil && len(nodes) > 0 && !deeper { // GRUB starts the first if it does not find the one
		return nodes[0]
	}
	if found != nil && deeper {
		return pick(found.below, rest)
	}
	return found
}

// expand puts the values of GRUB's variables into a command line.
func expand(options string, environments ...map[string]string) string {
	words := strings.Fields(options)
	for n, word := range words {
		name, ok := strings.CutPrefix(word, "$")
		if !ok {
			continue
		}
		name = strings.Trim(name, "{}")
		words[n] = ""
		for _, env := range environments {
			if value, ok := env[name]; ok {
				words[n] = value
				break
			}
		}
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// loaderEntries reads the files of the boot loader specification, which GRUB of Fedora's family and systemd-boot use.
func (m *Machine) loaderEntries(env, settings map[string]string) (entries []bootEntry, chosen *bootEntry) {
	files := m.glob("boot/loader/entries/*.conf", "boot/efi/loader/entries/*.conf", "efi/loader/entries/*.conf")
	slices.SortFunc(files, func(a, b string) int { return compareVersions(path.Base(b), path.Base(a)) })
	for _, file := range files {
		e := parseLoaderEntry(m.read(file))
		e.file, e.id = file, strings.TrimSuffix(path.Base(file), ".conf")
		e.options = expand(e.options, env, settings)
		if e.kernel != "" {
			entries = append(entries, e)
		}
	}
	wanted := env["saved_entry"]
	for _, l := range lines(m.read("boot/efi/loader/loader.conf")) {
		if value, ok := strings.CutPrefix(l.text, "default"); ok && wanted == "" {
			wanted = strings.TrimSuffix(strings.TrimSpace(value), ".conf")
		}
	}
	for n := range entries {
		match, err := path.Match(wanted, entries[n].id)
		if entries[n].id == wanted || err == nil && match {
			return entries, &entries[n]
		}
	}
	for n := range entries {
		if !strings.Contains(entries[n].id, "rescue") {
			return entries, &entries[n]
		}
	}
	return entries, nil
}

func parseLoaderEntry(content []byte) bootEntry {
	var e bootEntry
	for _, l := range lines(content) {
		key, value, _ := strings.Cut(strings.ReplaceAll(l.text, "\t", " "), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			e.title = value
		case "linux":
			e.kernel = value
		case "initrd":
			for word := range strings.FieldsSeq(value) {
				if !strings.HasPrefix(word, "$") {
					e.initrd = append(e.initrd, word)
				}
			}
		case "options":
			e.options = strings.TrimSpace(e.options + " " + value)
		}
	}
	return e
}

// argument gives the value of a kernel argument; the last one counts.
func argument(options, name string) string {
	value := ""
	for word := range strings.FieldsSeq(options) {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			value = strings.Trim(v, `"`)
		}
	}
	return value
}
