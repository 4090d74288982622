package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// Kernel is a fetched kernel.
type Kernel struct {
	Release Release
	Version string // "6.1.0-50-cloud-amd64"
	Image   string // what QEMU boots
	Modules string // the folder of its modules
}

// Missing says what is missing here to fetch and boot kernels of an architecture; nil means nothing is.
func Missing(arch qemu.Arch) error {
	if err := errors.Join(need.Programs("kernels for the lab", "apt-get", "apt-cache", "dpkg-deb"), qemu.MissingFor(arch)); err != nil {
		return err
	}
	_, err := findSource()
	return err
}

// Fetch gives a release's kernel: from the cache if it holds one, else the newest of the archive.
func Fetch(ctx context.Context, cacheDir string, r Release) (_ *Kernel, err error) {
	dir := filepath.Join(cacheDir, "kernel")
	unlock, err := lock(dir, r.Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	tree := filepath.Join(dir, r.Name)
	if k, err := find(r, tree); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	from, err := openArchive(ctx, dir, r.Suite, r.Arch)
	if err != nil {
		return nil, err
	}
	name, _, err := from.newest(ctx, r.Package)
	if err != nil {
		return nil, err
	}
	if err := fill(tree, func(into string) error { return from.unpack(ctx, into, name) }); err != nil {
		return nil, fmt.Errorf("fetch the kernel of %s: %w", r.Name, err)
	}
	return find(r, tree)
}

// find looks for the kernel in an unpacked package.
func find(r Release, tree string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinu?-*"))
	if err != nil || len(images) == 0 {
		return nil, errors.Join(fs.ErrNotExist, err)
	}
	_, version, _ := strings.Cut(filepath.Base(images[0]), "-")
	k := &Kernel{Release: r, Version: version, Image: images[0]}
	for _, parent := range []string{"lib/modules", "usr/lib/modules"} {
		if dir := filepath.Join(tree, parent, version); exists(dir) {
			k.Modules = dir
		}
	}
	if k.Modules == "" {
		return nil, fmt.Errorf("the kernel of %s has no modules", r.Name)
	}
	return k, nil
}

// userland lists the packages of a guest's programs.
var userland = []string{"busybox-static", "e2fsprogs", "xfsprogs", "mount", "util-linux", "mdadm", "lvm2", "dmsetup"}

// Userland gives a folder with the unpacked programs for guests of an architecture. More packages make another folder.
func Userland(ctx context.Context, cacheDir string, arch qemu.Arch, more ...string) (tree string, err error) {
	dir := filepath.Join(cacheDir, "kernel")
	name := strings.Join(append([]string{"userland", string(arch)}, more...), "-")
	unlock, err := lock(dir, name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	tree = filepath.Join(dir, name)
	if exists(tree) {
		return tree, nil
	}
	from, err := openArchive(ctx, dir, userlandName, arch)
	if err != nil {
		return "", err
	}
	err = fill(tree, func(into string) error {
		return from.unpackClosure(ctx, into, append(userland[:len(userland):len(userland)], more...)...)
	})
	if err != nil {
		return "", fmt.Errorf("fetch the guest's programs: %w", err)
	}
	return tree, nil
}

// fill makes a folder that is either whole or not there.
func fill(tree string, do func(into string) error) error {
	temp := tree + ".new"
	if err := errors.Join(os.RemoveAll(temp), os.MkdirAll(temp, 0o755)); err != nil {
		return err
	}
	if err := do(temp); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return os.Rename(temp, tree)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lock keeps two processes from one folder of the cache apart.
func lock(dir, name string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the lab's cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock the lab's cache: %w", errors.Join(err, f.Close()))
	}
	return f.Close, nil
}
