package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"farshore/dataplane/vault"
	"farshore/fault"
)

const (
	tmpDir   = ".tmp"   // files that have no name yet
	disksDir = ".disks" // what belongs to replica disks
	dirMode  = 0o750
)

// folder is what stores and replicas share.
type folder struct {
	root string

	mu     sync.Mutex
	synced map[string]bool // folders whose own names are known to be durable
}

// Create makes the folders of a new vault. What is there already is kept.
func Create(root string) error {
	v := &folder{root: root, synced: map[string]bool{}}
	for _, dir := range dirs() {
		if err := os.MkdirAll(filepath.Join(root, dir), dirMode); err != nil {
			return v.trouble("make its folders", err)
		}
	}
	for _, dir := range []string{root, filepath.Dir(root)} {
		if err := syncDir(dir); err != nil {
			return v.trouble("make its folders", err)
		}
	}
	return nil
}

func dirs() []string {
	names := []string{tmpDir, disksDir}
	for _, c := range vault.Containers() {
		names = append(names, string(c))
	}
	return names
}

// Open opens the vault in a folder that [Create] made, and removes what processes that died left unfinished.
func Open(root string) (vault.Store, vault.Replicas, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, nil, fmt.Errorf("open vault %s: %w", root, err)
	}
	v := &folder{root: root, synced: map[string]bool{root: true}}
	for _, dir := range dirs() {
		if s, err := os.Stat(filepath.Join(root, dir)); err != nil || !s.IsDir() {
			return nil, nil, &fault.Fault{
				Code: "FS-3006", Kind: fault.Operator, Subject: "vault " + root,
				What: fmt.Sprintf("there is no folder %s: this is no vault", dir), Remedy: "check the path, or run: farshore-control init", Err: err,
			}
		}
		v.synced[filepath.Join(root, dir)] = true
	}
	if err := v.sweep(); err != nil {
		return nil, nil, v.trouble("remove unfinished files", err)
	}
	return &store{v}, &replicas{v}, nil
}

// sweep removes temporary files that nobody holds locked: their writers died.
func (v *folder) sweep() error {
	tmp := filepath.Join(v.root, tmpDir)
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := removeUnlocked(filepath.Join(tmp, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func removeUnlocked(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // in use
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// there says whether the vault itself is: a folder whose volume is away must not look like a vault that holds nothing.
func (v *folder) there() error {
	if _, err := os.Stat(filepath.Join(v.root, tmpDir)); err != nil {
		return fmt.Errorf("the vault's volume is away: %w", err)
	}
	return nil
}

// path gives the file of an object whose name was checked.
func (v *folder) path(name string) string { return filepath.Join(v.root, filepath.FromSlash(name)) }

// temporary makes a file without a name yet. It is locked, so that nobody sweeps it.
func (v *folder) temporary() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(v.root, tmpDir), "put-*")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, discard(f))
	}
	return f, nil
}

// discard closes and removes a temporary file.
func discard(f *os.File) error {
	err := f.Close()
	if rm := os.Remove(f.Name()); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// mkdirs makes a folder below the root and everything above it, durably.
func (v *folder) mkdirs(dir string) error {
	v.mu.Lock()
	known := v.synced[dir]
	v.mu.Unlock()
	if known {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := v.mkdirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(parent); err != nil { // also when it was there: its maker may have died before its own sync
		return err
	}
	v.mu.Lock()
	v.synced[dir] = true
	v.mu.Unlock()
	return nil
}

// publish syncs a temporary file and gives it its name, unless the name is taken (fs.ErrExist). Either way the name is
// durable afterwards.
func (v *folder) publish(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := v.mkdirs(dir); err != nil {
		return err
	}
	taken := os.Link(f.Name(), path)
	if taken != nil && !errors.Is(taken, fs.ErrExist) {
		return taken
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return taken
}

// replace puts content in the place of a file that only a lock's holder writes: whole or not at all.
func (v *folder) replace(path string, content []byte) (err error) {
	f, err := v.temporary()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard(f)) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
