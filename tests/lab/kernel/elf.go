package kernel

import (
	"debug/elf"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

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
