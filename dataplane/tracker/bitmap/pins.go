package bitmap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// setPrefix begins the name of a pinned set's folder. Its number changes with the layout of the maps.
const setPrefix = "v2-"

// prefix begins the names of the sets of a form.
func (f *form) prefix() string { return setPrefix + f.name + "-" }

// prepare makes the folder for pins, mounting the bpf file system it lies in if nobody has.
func prepare(pinDir string) error {
	root := filepath.Dir(pinDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("make a place for pinned programs: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return fmt.Errorf("examine %s: %w", root, err)
	}
	if st.Type != unix.BPF_FS_MAGIC {
		if err := unix.Mount("bpf", root, "bpf", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mount a bpf file system on %s: %w", root, err)
		}
	}
	if err := os.Mkdir(pinDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make a place for pinned programs: %w", err)
	}
	return nil
}

// pin makes a set outlive this process. The links come last: a folder with all of them is complete.
func (f *form) pin(dir string, maps map[string]*ebpf.Map, links map[string]link.Link) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("pin the tracker: %w", err)
	}
	for _, name := range f.maps {
		if err := maps[name].Pin(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("pin the map %s: %w", name, err)
		}
	}
	for _, name := range attachments {
		if err := links[name].Pin(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("pin the program %s: %w", name, err)
		}
	}
	return nil
}

// adopt opens a pinned set. It fails when anything of it is missing.
func (f *form) adopt(dir string) (maps map[string]*ebpf.Map, links map[string]link.Link, err error) {
	maps, links = map[string]*ebpf.Map{}, map[string]link.Link{}
	for _, name := range f.maps {
		if maps[name], err = ebpf.LoadPinnedMap(filepath.Join(dir, name), nil); err != nil {
			delete(maps, name)
			return maps, links, fmt.Errorf("open the pinned map %s: %w", name, err)
		}
	}
	for _, name := range attachments {
		if links[name], err = link.LoadPinnedLink(filepath.Join(dir, name), nil); err != nil {
			delete(links, name)
			return maps, links, fmt.Errorf("open the pinned program %s: %w", name, err)
		}
	}
	return maps, links, nil
}
