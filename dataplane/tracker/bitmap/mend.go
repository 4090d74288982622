package bitmap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Mend pins again whatever was pinned and is not any more, and says what that was. Nothing is missed by it: programs and
// maps live as long as this process has them open, and what is not pinned when the process dies ends with it.
func (t *Tracker) Mend() (what []string, err error) {
	for _, s := range t.sets {
		if s.dir == "" {
			continue
		}
		gone, err := s.unpinned()
		if err == nil && len(gone) > 0 {
			err = s.repin(gone)
		}
		if err != nil {
			return what, fmt.Errorf("pin the tracker again: %w", err)
		}
		what = append(what, gone...)
	}
	return what, nil
}

// unpinned gives the pins of the set that are gone.
func (s *set) unpinned() (gone []string, err error) {
	for _, name := range slices.Concat(s.form.maps, attachments) {
		var st unix.Stat_t
		err := unix.Stat(filepath.Join(s.dir, name), &st)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			gone = append(gone, name)
		} else if err != nil {
			return nil, err
		}
	}
	return gone, nil
}

func (s *set) repin(names []string) error {
	if err := prepare(filepath.Dir(s.dir)); err != nil {
		return err
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, name := range names {
		fd, err := s.descriptor(name)
		if err == nil {
			err = pinAt(filepath.Join(s.dir, name), fd)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s *set) descriptor(name string) (int, error) {
	if m := s.maps[name]; m != nil {
		return m.FD(), nil
	}
	if l, ok := s.links[name].(interface{ FD() int }); ok {
		return l.FD(), nil
	}
	return -1, errors.New("it has no descriptor")
}

// pinAt is BPF_OBJ_PIN: the library does not pin what it believes to be pinned at the same path. Source: bpf(2).
func pinAt(path string, fd int) error {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	attributes := struct {
		Path uint64
		FD   uint32
		Zero uint32
	}{Path: uint64(uintptr(unsafe.Pointer(name))), FD: uint32(fd)}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_PIN, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	runtime.KeepAlive(name)
	if errno != 0 {
		return errno
	}
	return nil
}

// blind says why the programs do not see the disk, or gives "": somebody has taken it out of their table, put another in
// its place, or ended a program.
func (d *Disk) blind() (gap string, err error) {
	var held tracked
	switch err := d.set.maps["disks"].Lookup(deviceNumber(d.target.Device), &held); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return "somebody took the disk out of the tracker's table", nil
	case err != nil:
		return "", fmt.Errorf("look for %s in the tracker: %w", d.target.ID, err)
	case held.Era != d.tracked.Era:
		return "somebody put another entry for the disk into the tracker's table", nil
	}
	if name := d.set.detached(); name != "" {
		return "the program " + name + " is not attached any more", nil
	}
	return "", nil
}

// detached names a program of the set that does not run any more, or gives "".
func (s *set) detached() string {
	for name, l := range s.links {
		if _, err := l.Info(); err != nil {
			return name
		}
	}
	return ""
}
