package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/guest/guesttest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/stack"
)

// BenchmarkInitialReplication compares the processor time of Farshore's initial replication (agent and process server
// together: tracked, compressed, encrypted, sent by TLS, durable in a vault in a folder) with that of qemu-img convert
// (a plain local copy) and restic (a local, encrypted, compressed repository) on the same image.
func BenchmarkInitialReplication(b *testing.B) {
	if err := need.Root("this benchmark"); err != nil {
		b.Skipf("SKIPPED: %v", err)
	}
	if err := need.Programs("this benchmark", "qemu-img", "restic"); err != nil {
		b.Skipf("SKIPPED: %v", err)
	}
	dir := b.TempDir()
	image := source(b, dir)
	gib := float64(allocated(b, image)) / (1 << 30)
	for range b.N {
		own := farshoreCPU(b, filepath.Join(dir, "farshore"), image)
		plain := commandCPU(b, nil, "qemu-img", "convert", "-f", "raw", "-O", "raw", image, filepath.Join(dir, "copy.img"))
		repository := filepath.Join(dir, "restic")
		password := []string{"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=" + repository}
		commandCPU(b, password, "restic", "init", "--quiet")
		peer := commandCPU(b, password, "restic", "backup", "--quiet", "--no-cache", image)
		b.Logf("\nCPU seconds per GiB of %.2f GiB allocated\n  farshore (agent + process server)  %.2f\n  qemu-img convert                   %.2f  (farshore takes %.2f times that)\n  restic backup                      %.2f  (farshore takes %.2f times that)",
			gib, own.Seconds()/gib, plain.Seconds()/gib, own.Seconds()/plain.Seconds(), peer.Seconds()/gib, own.Seconds()/peer.Seconds())
		b.ReportMetric(own.Seconds()/gib, "cpu-s/GiB")
		b.ReportMetric(own.Seconds()/peer.Seconds(), "x-restic")
		b.ReportMetric(own.Seconds()/plain.Seconds(), "x-qemu-img")
	}
}

// source is a copy of the lab's guest.
func source(b *testing.B, dir string) string {
	b.Helper()
	own := filepath.Join(dir, "source.img")
	if err := guest.Copy(b.Context(), guesttest.Image(b), own); err != nil {
		b.Fatal(err)
	}
	return own
}

// allocated is how much of a sparse file holds data.
func allocated(b *testing.B, path string) int64 {
	b.Helper()
	out, err := need.Run(b.Context(), "stat", "--format", "%b", path)
	if err != nil {
		b.Fatal(err)
	}
	blocks, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return blocks * 512
}

// commandCPU runs a program and gives the processor time that it and its children took.
func commandCPU(b *testing.B, env []string, name string, args ...string) time.Duration {
	b.Helper()
	command := exec.CommandContext(b.Context(), name, args...)
	command.Env = append(os.Environ(), env...)
	if out, err := command.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, out)
	}
	return command.ProcessState.UserTime() + command.ProcessState.SystemTime()
}

// farshoreCPU replicates the image for the first time and gives the processor time of agent and process server.
func farshoreCPU(b *testing.B, dir, image string) time.Duration {
	b.Helper()
	device, err := need.Run(b.Context(), "losetup", "--find", "--show", image)
	if err != nil {
		b.Fatal(err)
	}
	device = strings.TrimSpace(device)
	defer func() {
		if _, err := need.Run(context.WithoutCancel(b.Context()), "losetup", "--detach", device); err != nil {
			b.Error(err)
		}
	}()
	s, err := stack.Up(b.Context(), stack.Options{Dir: dir, Machine: "bench-1", Sources: []string{device}, FileVault: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	if err := s.StartAgent(b.Context()); err != nil {
		b.Fatal(err)
	}
	before := cpu(b, s.PID(stack.Agent)) + cpu(b, s.PID(stack.ProcessServer))
	if err := s.Enable(b.Context(), time.Minute); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	if _, err := s.AwaitMachine(ctx, func(m *farshorev1.Machine) bool { return m.GetLastPoint() != nil }); err != nil {
		b.Fatal(err)
	}
	return cpu(b, s.PID(stack.Agent)) + cpu(b, s.PID(stack.ProcessServer)) - before
}

// cpu is the processor time of a running process, from /proc/PID/stat.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	const ticksPerSecond = 100 // USER_HZ
	return time.Duration(ticks) * time.Second / ticksPerSecond
}
