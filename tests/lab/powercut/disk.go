package powercut

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const fileName = "disk.img"

// operation is a write, or a flush, which has no data.
type operation struct {
	at   int64
	data []byte
}

func (o operation) flush() bool { return o.data == nil }

// Disk is a disk that remembers.
type Disk struct {
	Path string // of the file to attach a loop device to

	size int64
	mu   sync.Mutex
	now  []byte
	log  []operation
}

// New makes a disk of zeros that is there until the test ends. Whatever stands on it must be gone by then.
func New(t testing.TB, size int64) *Disk {
	t.Helper()
	dir := t.TempDir()
	d := &Disk{Path: filepath.Join(dir, fileName), size: size, now: make([]byte, size)}
	server, err := fs.Mount(dir, &folder{disk: d}, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, Name: "powercut", FsName: "powercut", MaxWrite: 1 << 20,
	}})
	if err != nil {
		t.Fatalf("make a disk in user space: %v", err)
	}
	t.Cleanup(func() {
		var err error
		for range unmountTries { // the loop device lets go a moment later
			if err = server.Unmount(); err == nil {
				return
			}
			timer := time.NewTimer(10 * time.Millisecond)
			<-timer.C
		}
		t.Errorf("unmount the disk in user space: %v", err)
	})
	return d
}

// unmountTries bounds how long a disk that is in use is tried to be taken away, a hundredth of a second each.
const unmountTries = 1000

// Missing says why there can be no such disk here; nil: there can.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("it takes root to mount")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("file systems in user space: %w", err)
	}
	return nil
}

// Moment is how much has come to the disk so far.
func (d *Disk) Moment() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// Flushes counts the flushes up to now.
func (d *Disk) Flushes() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.log {
		if o.flush() {
			n++
		}
	}
	return n
}

// BeforeFlush gives the moment right in front of the first flush at or behind a moment, or the moment itself if none follows.
func (d *Disk) BeforeFlush(moment int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := moment; n < len(d.log); n++ {
		if d.log[n].flush() {
			return n
		}
	}
	return moment
}

func (d *Disk) write(data []byte, at int64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at+int64(len(data)) > d.size {
		return syscall.ENOSPC
	}
	copy(d.now[at:], data)
	d.log = append(d.log, operation{at: at, data: append(make([]byte, 0, len(data)), data...)})
	return 0
}

func (d *Disk) read(into []byte, at int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at >= d.size {
		return 0
	}
	return copy(into, d.now[at:])
}

func (d *Disk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, operation{})
}

// folder is the file system: one file.
type folder struct {
	fs.Inode
	disk *Disk
}

// OnAdd puts the file in.
func (f *folder) OnAdd(ctx context.Context) {
	f.AddChild(fileName, f.NewPersistentInode(ctx, &file{disk: f.disk}, fs.StableAttr{Mode: syscall.S_IFREG, Ino: 2}), true)
}

type file struct {
	fs.Inode
	disk *Disk
}

// Getattr gives the size.
func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(f.disk.size)
	return 0
}

// Setattr changes nothing.
func (f *file) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return f.Getattr(ctx, h, out)
}

// Open lets anybody in.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) { return nil, 0, 0 }

// Read reads what was written last.
func (f *file) Read(_ context.Context, _ fs.FileHandle, into []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultData(into[:f.disk.read(into, at)]), 0
}

// Write writes, and remembers.
func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	errno := f.disk.write(data, at)
	return uint32(len(data)), errno
}

// Fsync is a flush: what came before is on the disk for good.
func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.disk.flush()
	return 0
}
