package survey

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/initramfs"
	"farshore/fault"
)

// Places of the running system. Tests put trees of their own there.
type Places struct {
	Sys, Proc, Dev string
}

// Running are the places of this machine.
var Running = Places{Sys: "/sys", Proc: "/proc", Dev: "/dev"}

// View is a machine that can be looked at.
type View struct {
	readiness.Machine
	Dir  string
	root *Root
}

// Close lets go of the root.
func (v *View) Close() error { return v.root.Close() }

// Take makes a view of the machine this runs on, if dir is "/", or else of the root file system mounted at dir. The error is a
// *fault.Fault FS-1061.
func Take(p Places, dir string) (*View, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, unfit(dir, err)
	}
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, unfit(dir, err)
	}
	if _, err := root.Stat("etc"); err != nil {
		return nil, errors.Join(unfit(dir, errors.New("there is no folder etc in it")), root.Close())
	}
	v := &View{Dir: dir, root: root}
	v.Root, v.Images = root, map[string]*initramfs.Image{}
	v.Facts = readiness.Facts{Live: dir == "/", Arch: architecture(root), Free: map[string]int64{}}
	if v.Facts.Live {
		v.Facts.Firmware, v.Facts.SecureBoot = p.firmware()
	}
	for _, name := range []string{"boot", "etc"} {
		if free, err := Free(filepath.Join(dir, name)); err == nil {
			v.Facts.Free[name] = free
		}
	}
	for _, name := range []string{"boot/efi", "efi"} {
		if v.Facts.ESP == "" && p.mounted(filepath.Join(dir, name)) != "" {
			v.Facts.ESP = name
		}
	}
	p.disks(&v.Facts, dir)
	return v, nil
}

func unfit(dir string, err error) error {
	return &fault.Fault{
		Code: "FS-1061", Kind: fault.Operator, Subject: "root file system " + dir, What: "it cannot be examined",
		Remedy: "name the folder where a Linux root file system is mounted, and run this as root", Err: err,
	}
}

// Free says how much may be written to the file system of a folder.
func Free(dir string) (int64, error) {
	var about unix.Statfs_t
	if err := unix.Statfs(dir, &about); err != nil {
		return 0, fmt.Errorf("ask how much is free at %s: %w", dir, err)
	}
	return int64(about.Bavail) * about.Bsize, nil
}

// architecture reads it from a program that every system has.
func architecture(root *Root) string {
	for _, name := range []string{"bin/sh", "usr/bin/sh", "sbin/init"} {
		f, err := root.Open(name)
		if err != nil {
			continue
		}
		header := make([]byte, 20)
		n, _ := f.Read(header) // too short is no program
		f.Close()              //nolint:errcheck // only read
		if n < len(header) || !bytes.HasPrefix(header, []byte("\x7fELF")) {
			continue
		}
		switch header[18] {
		case 0x3e:
			return "amd64"
		case 0xb7:
			return "arm64"
		}
	}
	return ""
}

// firmware asks the kernel by what the machine was started.
func (p Places) firmware() (kind string, secure bool) {
	if _, err := os.Stat(filepath.Join(p.Sys, "firmware/efi")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "bios", false
		}
		return "", false
	}
	variable, err := os.ReadFile(filepath.Join(p.Sys, "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
	return "uefi", err == nil && len(variable) == 5 && slices.Equal(variable[4:], []byte{1})
}
