package freespace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/disk/freespace"
	"farshore/fault"
)

const diskBytes = 320 << 20

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "watchdog" {
		if err := disk.ServeWatchdog(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// What is called free is worth nothing: a copy of the frozen disk with rubbish in all of it mounts, passes fsck, and holds
// every file.
func TestACopyWithRubbishInTheFreeSpaceIsASoundFileSystem(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		for _, partition := range []bool{false, true} {
			name := kind + " on the disk"
			if partition {
				name = kind + " on a partition"
			}
			t.Run(name, func(t *testing.T) {
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				r := source(seed)
				loop := disktest.NewLoop(t, diskBytes)
				node, start := loop.Path, int64(0)
				if partition {
					node, start = partitioned(t, loop)
				}
				mnt, _ := disktest.Mount(t, node, kind)
				aged(t, mnt, r)
				image, free := poisoned(t, loop.Path, r)
				if free < diskBytes/4 {
					t.Errorf("%d of %d bytes are free, want more on a disk that is half empty", free, diskBytes)
				}
				t.Logf("%d of %d MiB are free", free>>20, diskBytes>>20)
				compareFiles(t, kind, mnt, image, start)
			})
		}
	}
}

// randomness is a source of numbers and, faster, of rubbish.
type randomness struct {
	*rand.Rand
	bytes *rand.ChaCha8
}

func source(seed uint64) *randomness {
	bytes := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	return &randomness{rand.New(rand.NewPCG(seed, 0)), bytes}
}

func (r *randomness) fill(b []byte) { r.bytes.Read(b) } // never returns an error

// aged fills a file system and takes much away again, without waiting for anything to be written.
func aged(t *testing.T, mnt string, r *randomness) {
	t.Helper()
	for i := range 100 {
		body := make([]byte, 1+r.IntN(2<<20))
		r.fill(body)
		dir := filepath.Join(mnt, fmt.Sprintf("dir-%d", r.IntN(8)))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(mnt, "dir-*", "file-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		switch r.IntN(3) {
		case 0:
			err = os.Remove(path)
		case 1:
			err = os.Truncate(path, int64(r.IntN(1<<20)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// poisoned copies the disk while its file systems are frozen and fills what they call free with rubbish.
func poisoned(t *testing.T, node string, r *randomness) (image string, bytes int64) {
	t.Helper()
	d := disktest.Open(t, node)
	set, err := take(t, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	image = copied(t, d) // nothing was written since the freeze
	out, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for e := range set.All() {
		rubbish := make([]byte, e.Count.Bytes())
		r.fill(rubbish)
		if _, err := out.WriteAt(rubbish, e.Start.Offset()); err != nil {
			t.Fatal(err)
		}
	}
	return image, set.Sectors().Bytes()
}

// copied copies a disk as it is.
func copied(t *testing.T, d *disk.Device) (image string) {
	t.Helper()
	image = filepath.Join(disktest.Dir(t), "copy.img")
	out, err := os.Create(image)
	if err == nil {
		_, err = io.Copy(out, io.NewSectionReader(d, 0, diskBytes))
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// question is what is asked for the free space.
type question struct {
	device *disk.Device
	at     disk.Standing
}

// take gives the free space of the only file system of a disk, asked in a freeze that lasts until the end of the test.
func take(t *testing.T, d *disk.Device, change func(*question)) (*block.Set, error) {
	t.Helper()
	direct, others, err := d.Standing()
	if err != nil || len(direct) != 1 || len(others) != 0 {
		t.Fatalf("file systems on the disk: %+v, on others above it %+v, %v", direct, others, err)
	}
	at := direct[0]
	q := question{device: d, at: at}
	if change != nil {
		change(&q)
	}
	r, err := freespace.Open(q.device, q.at)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if n, err := r.Look(t.Context()); err != nil || n == 0 {
		t.Fatalf("a look before the freeze: %d sectors, %v", n, err)
	}
	f := disk.NewFreezer(os.Args[0], "watchdog")
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := f.Freeze(t.Context(), []disk.FileSystem{at.FileSystem}, time.Hour); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if held, err := f.Thaw(context.WithoutCancel(t.Context())); err != nil || !held {
			t.Errorf("the freeze was held to the end: %v, %v", held, err)
		}
	})
	return r.Take(t.Context())
}

// compareFiles mounts the image, compares every file, and has it examined.
func compareFiles(t *testing.T, kind, mnt, image string, start int64) {
	t.Helper()
	part := image
	if start > 0 {
		part = image + ".part"
		if out, err := exec.CommandContext(t.Context(), "dd", "if="+image, "of="+part, "bs=1M", fmt.Sprintf("skip=%d", start>>20)).CombinedOutput(); err != nil {
			t.Fatalf("cut out the partition: %v\n%s", err, out)
		}
	}
	loop, err := disk.AttachLoop(part)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Detach() // its file goes with the test
	second := filepath.Join(filepath.Dir(image), "mnt")
	if err := os.Mkdir(second, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(loop.Path, second, kind, 0, map[string]string{"xfs": "nouuid"}[kind]); err != nil {
		t.Fatalf("mount the copy: %v", err)
	}
	files := 0
	err = filepath.WalkDir(mnt, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files++
		want, err1 := os.ReadFile(path)
		got, err2 := os.ReadFile(filepath.Join(second, strings.TrimPrefix(path, mnt)))
		if err1 != nil || err2 != nil || !bytes.Equal(want, got) {
			t.Errorf("%s differs in the copy: %v, %v", path, err1, err2)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files were compared: %v", files, err)
	}
	if err := unix.Unmount(second, 0); err != nil {
		t.Fatal(err)
	}
	checker := map[string][]string{"ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"}}[kind]
	if out, err := exec.CommandContext(t.Context(), checker[0], append(checker[1:], loop.Path)...).CombinedOutput(); err != nil {
		t.Errorf("%s of the copy: %v\n%s", checker[0], err, out)
	}
}

// partitioned tells the kernel of one partition from 1 MiB on, and gives its node.
func partitioned(t *testing.T, loop *disk.Loop) (node string, start int64) {
	t.Helper()
	start = 1 << 20
	partition := unix.BlkpgPartition{Start: start, Length: diskBytes - start, Pno: 1}
	argument := unix.BlkpgIoctlArg{Op: unix.BLKPG_ADD_PARTITION, Datalen: int32(unsafe.Sizeof(partition)), Data: (*byte)(unsafe.Pointer(&partition))}
	ask := func() unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, loop.Node().Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&argument)))
		return errno
	}
	if errno := ask(); errno != 0 {
		t.Skipf("SKIPPED: the kernel makes no partition on a loop device: %v", errno)
	}
	name := filepath.Base(loop.Path) + "p1"
	number, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(loop.Path), name, "dev"))
	if err != nil {
		t.Fatal(err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(number), "%d:%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		argument.Op = unix.BLKPG_DEL_PARTITION
		if errno := ask(); errno != 0 {
			t.Errorf("delete the partition: %v", errno)
		}
	})
	node = filepath.Join(disktest.Dir(t), name)
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil {
		t.Fatal(err)
	}
	return node, start
}

// The answer of a file system is believed only where it agrees with what the disk holds at that place.
func TestAnAnswerThatDoesNotFitTheDiskIsNotBelieved(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			loop := disktest.NewLoop(t, diskBytes)
			mnt, _ := disktest.Mount(t, loop.Path, kind)
			aged(t, mnt, source(1))
			d := disktest.Open(t, loop.Path)
			systems, err := disk.FileSystems(d)
			if err == nil {
				err = disk.Flush(systems)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := copied(t, d)
			if err := os.RemoveAll(filepath.Join(mnt, "dir-1")); err != nil {
				t.Fatal(err)
			}
			t.Run("the disk as it was before files were removed", func(t *testing.T) {
				_, err := take(t, d, func(r *question) { r.device = disktest.Open(t, before) })
				refused(t, err)
			})
			t.Run("a place one block off", func(t *testing.T) {
				_, err := take(t, d, func(r *question) { r.at.Extent.Start += 8 })
				refused(t, err)
			})
		})
	}
}

func refused(t *testing.T, err error) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != "FS-1030" {
		t.Fatalf("%v, want FS-1030", err)
	}
	t.Log(err)
}

func TestAFileSystemThatIsHiddenOrOfAnotherKindIsNotAsked(t *testing.T) {
	loop := disktest.NewLoop(t, 32<<20)
	mnt, _ := disktest.Mount(t, loop.Path, "ext4")
	d := disktest.Open(t, loop.Path)
	direct, _, err := d.Standing()
	if err != nil || len(direct) != 1 {
		t.Fatalf("%+v, %v", direct, err)
	}
	other := direct[0]
	other.Type = "btrfs"
	_, err = freespace.Open(d, other)
	refused(t, err)
	if err := unix.Mount("none", mnt, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	_, err = freespace.Open(d, direct[0])
	refused(t, err)
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Fatal(err)
	}
}
