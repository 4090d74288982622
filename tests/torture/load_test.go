package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// engines are the ways of fio to write, each a job.
var engines = map[string]string{
	"libaio":  "ioengine=libaio\ndirect=1\niodepth=8\nrw=randwrite\nbsrange=4k-64k",
	"uring":   "ioengine=io_uring\ndirect=1\niodepth=16\nrw=randwrite\nbs=4k",
	"uringb":  "ioengine=io_uring\niodepth=4\nrw=randwrite\nbsrange=1k-32k\nfsync=24",
	"mmap":    "ioengine=mmap\nrw=randwrite\nbs=4k\nfsync=32",
	"psync":   "ioengine=psync\nrw=randwrite\nbsrange=512-16k\nbs_unaligned=1\nfsync=4",
	"psyncd":  "ioengine=psync\nrw=randrw\nrwmixread=20\nbs=8k\nfdatasync=1",
	"osync":   "ioengine=psync\nsync=1\nrw=randwrite\nbsrange=4k-32k",
	"large":   "ioengine=psync\ndirect=1\nrw=write\nbs=1m",
	"trimmer": "ioengine=falloc\nrw=randtrim\nbs=64k",
}

// fileBytes is the size of each job's file on a volume: five of them leave room for the rest.
func fileBytes(v *volume) int64 { return v.bytes / 16 &^ (1<<20 - 1) }

// load is everything that writes to a mounted file system.
type load struct {
	t      testing.TB
	fio    *exec.Cmd
	said   bytes.Buffer
	report string
	stop   context.CancelFunc
	group  sync.WaitGroup
	mu     sync.Mutex
	err    error
	ended  bool
}

// startLoad begins with some of fio's engines and all writers of ours.
func startLoad(t testing.TB, v *volume, rng *rand.Rand) *load {
	t.Helper()
	dir := v.dir
	ctx, stop := context.WithCancel(t.Context())
	l := &load{t: t, stop: stop, report: filepath.Join(t.TempDir(), "fio.json")}
	t.Cleanup(func() { l.end() }) // before the disk is let go of
	l.startFio(v, rng)
	// Stores to mappings are fio's alone: a thread of ours that stops in one, in a freeze, would stop the agent in this process.
	for i, w := range []func(*rand.Rand) error{
		trims(dir), churn(dir), churn(dir), holes(dir, fileBytes(v)),
	} {
		r := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
		l.group.Go(func() { l.work(ctx, w, r) })
	}
	return l
}

// startFio chooses four engines and rates for them, one of them without a limit now and then.
func (l *load) startFio(v *volume, rng *rand.Rand) {
	l.t.Helper()
	names := []string{"libaio", "uring", "uringb", "mmap", "psync", "psyncd", "osync", "large", "trimmer"}
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var jobs strings.Builder
	fmt.Fprintf(&jobs, "[global]\ndirectory=%s\nsize=%d\ntime_based=1\nruntime=3600\nthread=1\nrandrepeat=0\nrandseed=%d\nfallocate=none\nrefill_buffers=1\n",
		v.dir, fileBytes(v), rng.Uint32())
	for _, n := range names[:4] {
		rate := 1 << (16 + rng.IntN(6)) // 64 KiB/s to 2 MiB/s
		fmt.Fprintf(&jobs, "[%s]\n%s\nrate=%d,%d,%d\n", n, engines[n], rate, rate, rate)
	}
	path := filepath.Join(filepath.Dir(l.report), "jobs.fio")
	if err := os.WriteFile(path, []byte(jobs.String()), 0o600); err != nil {
		l.t.Fatal(err)
	}
	fio := exec.CommandContext(context.WithoutCancel(l.t.Context()), "fio", "--output-format=json", "--output="+l.report, path)
	fio.Stdout, fio.Stderr = &l.said, &l.said
	fio.Dir = filepath.Dir(l.report)
	fio.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := fio.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.fio = fio
}

// end ends everything, and gives how many bytes fio has written.
func (l *load) end() (written int64) {
	l.t.Helper()
	if l.ended {
		return 0
	}
	l.ended = true
	l.stop()
	if l.fio == nil {
		return 0
	}
	if err := l.fio.Process.Signal(os.Interrupt); err != nil {
		l.t.Errorf("end fio: %v\n%s", err, l.said.String())
	}
	ended := l.fio.Wait() // its exit code speaks of the interrupt
	l.group.Wait()
	if l.err != nil {
		l.t.Errorf("a writer of the load: %v", l.err)
	}
	content, err := os.ReadFile(l.report)
	if err != nil || len(content) == 0 {
		l.t.Logf("fio was ended before it had begun: %v, %v\n%s", ended, err, l.said.String())
		return 0
	}
	return l.judgeFio(content)
}

// judgeFio sees that every engine has worked.
func (l *load) judgeFio(content []byte) (written int64) {
	l.t.Helper()
	var report struct {
		Jobs []struct {
			Name        string `json:"jobname"`
			Error       int
			Write, Trim struct {
				Bytes int64 `json:"io_bytes"`
			}
		}
	}
	if at := bytes.IndexByte(content, '{'); at >= 0 {
		content = content[at:]
	}
	if err := json.Unmarshal(content, &report); err != nil {
		l.t.Fatalf("read fio's report: %v\n%s\n%s", err, content, l.said.String())
	}
	for _, j := range report.Jobs {
		if j.Error != 0 && unix.Errno(j.Error) != unix.ENOSPC && unix.Errno(j.Error) != unix.EINTR {
			l.t.Errorf("fio's job %s: %v\n%s", j.Name, unix.Errno(j.Error), l.said.String())
		}
		written += j.Write.Bytes + j.Trim.Bytes
	}
	return written
}

// between is the pause of our writers.
const between = 8 * time.Millisecond

func (l *load) work(ctx context.Context, w func(*rand.Rand) error, r *rand.Rand) {
	tick := time.NewTicker(between)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := w(r)
		if ctx.Err() != nil || meets(err) {
			continue
		}
		l.mu.Lock()
		l.err = errors.Join(l.err, err)
		l.mu.Unlock()
		return
	}
}

// meets reports whether an error is one that writers in each other's way meet.
func meets(err error) bool {
	for _, e := range []error{unix.EINTR, unix.ENOSPC, unix.EOPNOTSUPP, unix.ENOTEMPTY, unix.ETXTBSY, fs.ErrNotExist, fs.ErrExist} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err == nil
}

func fill(r *rand.Rand, b []byte) {
	for i := 0; i+8 <= len(b); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
}

// trims discards what the file system does not use, now and then (FITRIM of linux/fs.h).
func trims(dir string) func(*rand.Rand) error {
	return func(r *rand.Rand) error {
		if r.IntN(100) != 0 {
			return nil
		}
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		span := [3]uint64{0, ^uint64(0), 0}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), 0xC0185879, uintptr(unsafe.Pointer(&span))); errno != 0 {
			return errno
		}
		return nil
	}
}

// holes writes, punches, zeroes and allocates ranges of a file.
func holes(dir string, size int64) func(*rand.Rand) error {
	const span = 32 << 10
	b := make([]byte, span)
	return func(r *rand.Rand) (err error) {
		f, err := os.OpenFile(filepath.Join(dir, "holes"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		at := r.Int64N(size/span) * span
		fill(r, b)
		if _, err := f.WriteAt(b[:span-r.IntN(span)], at); err != nil {
			return err
		}
		switch r.IntN(6) {
		case 0:
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, span/2)
		case 1:
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE, at, span)
		case 2:
			return unix.Fallocate(int(f.Fd()), 0, at, 4*span)
		case 3:
			return f.Sync()
		}
		return nil
	}
}

// churn makes, renames and removes files and folders.
func churn(dir string) func(*rand.Rand) error {
	return func(r *rand.Rand) error {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", r.IntN(8)))
		path := filepath.Join(sub, fmt.Sprintf("f%d", r.IntN(40)))
		switch r.IntN(9) {
		case 0:
			return os.MkdirAll(sub, 0o755)
		case 1:
			if r.IntN(10) == 0 {
				return os.RemoveAll(sub)
			}
			return nil
		case 2:
			return os.Rename(path, filepath.Join(dir, fmt.Sprintf("d%d", r.IntN(8)), "moved"))
		case 3:
			return os.Remove(path)
		case 4:
			return os.Symlink(path, filepath.Join(sub, fmt.Sprintf("l%d", r.IntN(40))))
		}
		b := make([]byte, r.IntN(12000))
		fill(r, b)
		return os.WriteFile(path, b, 0o644)
	}
}
