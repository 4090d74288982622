package initrd

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Modules are parts of one kernel.
type Modules struct {
	Order    []string          // in which they can be loaded
	Bodies   map[string][]byte // by name: not compressed
	Firmware []string          // files that they name, below the folder of firmware; each may or may not be wanted by a device

	paths map[string]string
}

// Load gives the named modules of a folder such as /lib/modules/VERSION, and all that they need.
func Load(dir string, names []string) (*Modules, error) {
	m := &Modules{Bodies: map[string][]byte{}, paths: map[string]string{}}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".ko") {
			m.paths[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the modules in %s: %w", dir, err)
	}
	for _, name := range names {
		if err := m.add(name); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// moduleName is how a module calls itself: its file may have dashes for underscores.
func moduleName(path string) string {
	base := filepath.Base(path)
	base, _, _ = strings.Cut(base, ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

func (m *Modules) add(name string) error {
	path := m.paths[name]
	if path == "" || slices.Contains(m.Order, name) { // built in, or there
		return nil
	}
	body, err := readModule(path)
	if err != nil {
		return err
	}
	says, err := modinfo(body)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	needs := strings.Join(says["depends"], ",")
	for _, softly := range says["softdep"] {
		if before, ok := strings.CutPrefix(softly, "pre: "); ok {
			before, _, _ = strings.Cut(before, " post:")
			needs += "," + strings.ReplaceAll(before, " ", ",")
		}
	}
	for need := range strings.SplitSeq(needs, ",") {
		if err := m.add(strings.ReplaceAll(need, "-", "_")); err != nil {
			return err
		}
	}
	m.Order, m.Bodies[name] = append(m.Order, name), body
	m.Firmware = append(m.Firmware, says["firmware"]...)
	return nil
}

// modinfo gives what a module says of itself; a key may come more than once.
func modinfo(module []byte) (map[string][]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, fmt.Errorf("read a module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("read a module: it describes nothing")
	}
	raw, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read a module: %w", err)
	}
	says := map[string][]string{}
	for entry := range strings.SplitSeq(string(raw), "\x00") {
		if key, value, ok := strings.Cut(entry, "="); ok {
			says[key] = append(says[key], value)
		}
	}
	return says, nil
}

func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a module: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(path) {
	case ".xz":
		r, err = xz.NewReader(f)
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f); err == nil {
			defer z.Close()
			r = z
		}
	case ".gz":
		r, err = gzip.NewReader(f)
	}
	var body []byte
	if err == nil {
		body, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack module %s: %w", path, err)
	}
	return body, nil
}
