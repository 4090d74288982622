package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
	"farshore/tests/lab/stack"
)

// DiskBytes is the size of the disk under test.
const DiskBytes = 48 << 20

// Rig is a disk with a writer, and a Farshore that protects it.
type Rig struct {
	*testing.T
	*stack.Stack
	Dir    string
	Device string
	Writer *process.Process
	log    string
}

// Up makes the disk, lets the writer begin, runs all of Farshore with its vault in a folder, and waits for the first
// recovery point. It skips, loudly, where that cannot be done. Everything ends with the test.
func Up(t *testing.T, machine string) *Rig {
	t.Helper()
	return UpWith(t, stack.Options{Machine: machine})
}

// UpWith is Up with more than a machine: with places that it may come home to, and what there is at the recovery site.
func UpWith(t *testing.T, o stack.Options) *Rig {
	t.Helper()
	r := Bare(t)
	r.Writer = r.startWriter()
	r.Protect(o)
	return r
}

// Bare makes the disk, and nobody writes it yet. It skips where UpWith does.
func Bare(t *testing.T) *Rig {
	t.Helper()
	ready(t)
	r := &Rig{T: t, Dir: t.TempDir()}
	r.Device = r.loop()
	return r
}

// Protect runs all of Farshore for the disk and waits for the first recovery point.
func (r *Rig) Protect(o stack.Options) {
	t := r.T
	t.Helper()
	o.Dir, o.Sources, o.FileVault = filepath.Join(r.Dir, "farshore"), []string{r.Device}, true
	s, err := stack.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r.Stack = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Enable(t.Context(), time.Second); err != nil {
		t.Fatalf("%v\n%s", err, s.Tail(stack.Control))
	}
	r.AwaitPoints(1)
}

// ready skips where the whole cannot run: no root, no programs.
func ready(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: it takes minutes; run without -short")
	}
	if err := need.Root("an end-to-end test"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	root, err := need.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "bin", "farshore-temporal")); err != nil {
		t.Skip("SKIPPED: the programs are not built; run: make build")
	}
}

// loop puts a new image behind a loop device.
func (r *Rig) loop() string {
	r.Helper()
	image := filepath.Join(r.Dir, "source.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		r.Fatal(err)
	}
	if err := os.Truncate(image, DiskBytes); err != nil {
		r.Fatal(err)
	}
	out, err := need.Run(r.Context(), "losetup", "--find", "--show", image)
	if err != nil {
		r.Fatal(err)
	}
	device := string(bytes.TrimSpace([]byte(out)))
	r.Cleanup(func() {
		if _, err := need.Run(context.Background(), "losetup", "--detach", device); err != nil {
			r.Error(err)
		}
	})
	return device
}

// startWriter runs the blockwriter on the device, one write at a time, with its log beside.
func (r *Rig) startWriter() *process.Process {
	r.Helper()
	cache, err := need.Cache()
	if err != nil {
		r.Fatal(err)
	}
	program, err := guest.Blockwriter(r.Context(), cache)
	if err != nil {
		r.Fatal(err)
	}
	r.log = filepath.Join(r.Dir, "writer.log")
	p, err := process.Start(r.Context(), process.Spec{
		Name: "writer", LogPath: filepath.Join(r.Dir, "writer.out"), Ready: func(context.Context) error { _, err := os.Stat(r.log); return err },
		Command: []string{program, "write", "--device", r.Device, "--log", r.log, "--rate", "40"},
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(p.Kill)
	return p
}

// Restore runs farshore-restore with nothing but the vault and its key.
func (r *Rig) Restore(args ...string) []byte {
	r.Helper()
	command := exec.CommandContext(r.Context(), filepath.Join(r.Bin, "farshore-restore"), append(args, r.VaultFlags()...)...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		r.Fatalf("farshore-restore %v: %v\n%s", args, err, said.String())
	}
	return out
}

// VaultPoints lists the recovery points that the vault alone knows, oldest first.
func (r *Rig) VaultPoints() []farshore.RecoveryPoint {
	r.Helper()
	var points []farshore.RecoveryPoint
	if err := json.Unmarshal(r.Restore("points", r.Machine, "-o", "json"), &points); err != nil {
		r.Fatal(err)
	}
	return points
}

// Acknowledged is what the writer was told to be durable, so far.
func (r *Rig) Acknowledged() blockwriter.Run {
	r.Helper()
	runs, err := blockwriter.ReadLog(r.log)
	if err != nil || len(runs) == 0 {
		r.Fatalf("read the writer's log: %d runs, %v", len(runs), err)
	}
	return runs[0]
}

// AwaitPoints waits until there are so many recovery points.
func (r *Rig) AwaitPoints(n int) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Minute)
	defer cancel()
	last := 0
	_, err := r.AwaitMachine(ctx, func(*farshorev1.Machine) bool {
		points, err := r.Points(ctx)
		last = len(points)
		return err == nil && len(points) >= n
	})
	if err != nil {
		r.Fatalf("%v\n%d points; agent:\n%s\nprocess server:\n%s", err, last, r.Tail(stack.Agent), r.Tail(stack.ProcessServer))
	}
}

// Check restores a point and compares it, byte for byte, with what the writer's log says about the last write on it. It
// gives the number of that write.
func (r *Rig) Check(point string) uint64 {
	r.Helper()
	restored, expected := filepath.Join(r.Dir, "restored.img"), filepath.Join(r.Dir, "expected.img")
	r.Restore("write", r.Machine, "--at", point, "--to", "raw", "--out", restored, "--yes")
	report, err := blockwriter.VerifyDevicePaths([]string{restored}, blockwriter.Question{})
	if err != nil || !report.OK || report.Torn {
		r.Fatalf("point %s: %v\n%v", point, err, report)
	}
	if err := blockwriter.Replay(r.Acknowledged(), report.LastSeq, DiskBytes, []string{expected}); err != nil {
		r.Fatalf("point %s: %v", point, err)
	}
	if at, same := firstDifference(r.T, restored, expected); !same {
		r.Fatalf("point %s (last write %d): restored and expected differ at byte %d", point, report.LastSeq, at)
	}
	return report.LastSeq
}

// firstDifference compares two files.
func firstDifference(t *testing.T, a, b string) (offset int64, same bool) {
	t.Helper()
	x, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for ; ; offset += int64(len(p)) {
		n, errA := io.ReadFull(x, p)
		m, errB := io.ReadFull(y, q)
		if n != m || !bytes.Equal(p[:n], q[:m]) {
			for i := range min(n, m) {
				if p[i] != q[i] {
					return offset + int64(i), false
				}
			}
			return offset + int64(min(n, m)), false
		}
		if errA != nil || errB != nil {
			return 0, fmt.Sprint(errA) == fmt.Sprint(errB)
		}
	}
}
