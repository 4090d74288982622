package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/survey"
	"farshore/fault"
)

// Kept is what the name of a file's old content ends in.
const Kept = ".before-farshore"

// Apply does the steps in their order on the root file system at dir, and stops at the first that does not succeed. The error is a
// *fault.Fault: FS-1062 if free space is missing, and nothing was done; FS-1063 if a step did not succeed.
func Apply(ctx context.Context, dir string, steps []readiness.Step, out io.Writer) error {
	root, err := survey.OpenRoot(dir)
	if err != nil {
		return stopped("root file system "+dir, "it cannot be opened", err)
	}
	defer root.Close() //nolint:errcheck // only names are read through it
	a := applier{dir: dir, root: root, out: out}
	for _, s := range steps {
		if err := a.room(s); err != nil {
			return err
		}
	}
	for _, s := range steps {
		if err := a.step(ctx, s); err != nil {
			return stopped(s.Line(), "it did not succeed; the steps before it are done, those after it are not", err)
		}
	}
	return nil
}

func stopped(subject, what string, err error) error {
	return &fault.Fault{
		Code: "FS-1063", Kind: fault.Operator, Subject: subject, What: what,
		Remedy: "read what it printed and mend it, then run: farshore-agent readiness; the old content of each file is beside it, under a name ending in " + Kept, Err: err,
	}
}

type applier struct {
	dir  string
	root *survey.Root
	out  io.Writer
}

// path gives where a name of the root really is.
func (a applier) path(name string) (string, error) {
	at, err := a.root.Resolve(name)
	if err != nil {
		return "", err
	}
	return filepath.Join(a.dir, at), nil
}

// room refuses a step whose file system has too little free.
func (a applier) room(s readiness.Step) error {
	at, err := a.path(s.At)
	if err != nil || s.At == "" {
		return nil // a folder that the step makes; its own error says more
	}
	free, err := survey.Free(at)
	if err != nil || free >= s.Bytes {
		return nil
	}
	return &fault.Fault{
		Code: "FS-1062", Kind: fault.Refused, Subject: s.Line(),
		What:   fmt.Sprintf("/%s has %d MiB free, and the step needs %d MiB; nothing was done", s.At, free>>20, s.Bytes>>20),
		Remedy: "remove old kernels or other files there, then repeat the command",
	}
}

func (a applier) step(ctx context.Context, s readiness.Step) error {
	switch {
	case s.Write != nil:
		at, err := a.path(s.Write.Path)
		if err != nil {
			return err
		}
		return replace(at, s.Write.Content)
	case s.Copy != nil:
		return a.copy(*s.Copy)
	}
	return a.run(ctx, s.Run)
}

// copy makes a file from another, if it is not there.
func (a applier) copy(c readiness.Copy) error {
	from, err := a.path(c.From)
	if err != nil {
		return err
	}
	dir := filepath.Join(a.dir, filepath.Dir(c.To)) // on a FAT file system there are no links
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	to := filepath.Join(a.dir, c.To)
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return put(to, content, nil)
}

// run runs a program of the root, with nothing but a path in its environment.
func (a applier) run(ctx context.Context, command []string) error {
	if len(command) == 0 {
		return errors.New("the step says nothing to do")
	}
	program, err := a.program(command[0])
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, program, command[1:]...)
	c.Args[0] = command[0]
	c.Dir, c.Env = "/", []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root"}
	c.Stdout, c.Stderr = a.out, a.out
	if a.dir != "/" {
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: a.dir}
	}
	return c.Run()
}

// program finds one in the root.
func (a applier) program(name string) (string, error) {
	for _, dir := range []string{"usr/sbin", "usr/bin", "sbin", "bin"} {
		about, err := a.root.Stat(dir + "/" + name)
		if err == nil && about.Mode()&0o111 != 0 {
			return "/" + dir + "/" + name, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", name, fs.ErrNotExist)
}

// replace gives a file new content in one instant, and keeps the old beside it.
func replace(path string, content []byte) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return put(path, content, nil)
	}
	if err != nil || bytes.Equal(old, content) {
		return err
	}
	about, err := os.Stat(path)
	if err != nil {
		return err
	}
	kept := path + Kept
	for n := 2; ; n++ {
		before, err := os.ReadFile(kept)
		if err == nil && bytes.Equal(before, old) {
			break
		}
		if errors.Is(err, fs.ErrNotExist) {
			if err := put(kept, old, about); err != nil {
				return err
			}
			break
		}
		kept = fmt.Sprintf("%s%s.%d", path, Kept, n)
	}
	label := make([]byte, 256)
	n, labelled := unix.Lgetxattr(path, selinux, label)
	if err := put(path, content, about); err != nil {
		return err
	}
	if labelled == nil {
		return unix.Lsetxattr(path, selinux, label[:n], 0)
	}
	return nil
}

const selinux = "security.selinux"

// put writes a file so that it is there whole or not at all, and stays. Owner and mode are those of another, if there is one.
func put(path string, content []byte, like os.FileInfo) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".farshore-*")
	if err != nil {
		return err
	}
	if err := errors.Join(fill(f, content, like), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// fill writes content, owner and mode to the disk.
func fill(f *os.File, content []byte, like os.FileInfo) error {
	mode := os.FileMode(0o644)
	if like != nil {
		mode = like.Mode().Perm()
		// A FAT file system has one owner for all, and says so by refusing.
		if owner, ok := like.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
		}
	}
	if err := f.Chmod(mode); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
