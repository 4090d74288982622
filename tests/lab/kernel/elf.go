package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"farshore/tests/lab/need"
)

// modinfo gives the value of a key of a module's own description.
func modinfo(module []byte, key string) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return "", fmt.Errorf("read a module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return "", errors.New("read a module: it describes nothing")
	}
	raw, err := section.Data()
	if err != nil {
		return "", fmt.Errorf("read a module: %w", err)
	}
	for _, entry := range bytes.Split(raw, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(key+"=")); ok {
			return string(value), nil
		}
	}
	return "", nil
}

// moduleName is how a module calls itself: its file may have dashes for underscores.
func moduleName(path string) string {
	base := filepath.Base(path)
	base, _, _ = strings.Cut(base, ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// loader gathers modules in an order in which they can be loaded.
type loader struct {
	paths  map[string]string
	bodies map[string][]byte
	order  []string
}

// Modules gives the named modules and all that they need, in loading order. What is built into the kernel is left out.
func (k *Kernel) loading(ctx context.Context, names []string) (*loader, error) {
	l := &loader{paths: map[string]string{}, bodies: map[string][]byte{}}
	err := filepath.WalkDir(k.modules, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".ko") {
			l.paths[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the modules of %s: %w", k.Version, err)
	}
	for _, name := range names {
		if err := l.add(ctx, name); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *loader) add(ctx context.Context, name string) error {
	path := l.paths[name]
	if path == "" || slices.Contains(l.order, name) { // built in, or there
		return nil
	}
	body, err := readModule(ctx, path)
	if err != nil {
		return err
	}
	needs, err := modinfo(body, "depends")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	softly, err := modinfo(body, "softdep")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if before, ok := strings.CutPrefix(softly, "pre: "); ok {
		needs += "," + strings.ReplaceAll(before, " ", ",")
	}
	for need := range strings.SplitSeq(needs, ",") {
		if err := l.add(ctx, strings.ReplaceAll(need, "-", "_")); err != nil {
			return err
		}
	}
	l.order, l.bodies[name] = append(l.order, name), body
	return nil
}

func readModule(ctx context.Context, path string) ([]byte, error) {
	if strings.HasSuffix(path, ".xz") {
		out, err := need.Run(ctx, "xz", "--decompress", "--stdout", path)
		return []byte(out), err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a module: %w", err)
	}
	return body, nil
}

// libraryDirs is where the dynamic linker looks, without the architecture's folder.
var libraryDirs = []string{"lib", "usr/lib"}

// gathering finds what the dynamic linker needs to run programs.
type gathering struct {
	tree  string
	found map[string]string // path in the guest -> path in the tree
}

// closure gives programs and all that they need: path in the guest -> path in the tree.
func closure(tree string, programs []string) (map[string]string, error) {
	g := gathering{tree: tree, found: map[string]string{}}
	for _, program := range programs {
		if err := g.visit(program); err != nil {
			return nil, err
		}
	}
	return g.found, nil
}

func (g gathering) visit(path string) error {
	if g.found[path] != "" {
		return nil
	}
	g.found[path] = path
	f, err := elf.Open(filepath.Join(g.tree, path))
	if err != nil {
		if _, script := errors.AsType[*elf.FormatError](err); script {
			return nil
		}
		return fmt.Errorf("read %s of the guest: %w", path, err)
	}
	defer f.Close()
	needs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read %s of the guest: %w", path, err)
	}
	if at := f.Section(".interp"); at != nil {
		raw, err := at.Data()
		if err != nil {
			return fmt.Errorf("read %s of the guest: %w", path, err)
		}
		linker := strings.Trim(string(raw), "/\x00")
		if g.found[linker], err = findLibrary(g.tree, filepath.Base(linker)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, name := range needs {
		library, err := findLibrary(g.tree, name)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := g.visit(library); err != nil {
			return err
		}
	}
	return nil
}

func findLibrary(tree, name string) (string, error) {
	for _, dir := range libraryDirs {
		for _, pattern := range []string{filepath.Join(tree, dir, "*-linux-gnu", name), filepath.Join(tree, dir, name)} {
			if paths, err := filepath.Glob(pattern); err == nil && len(paths) > 0 {
				return filepath.Rel(tree, paths[0])
			}
		}
	}
	return "", fmt.Errorf("the guest's programs lack the library %s", name)
}
