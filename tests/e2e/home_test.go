package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/tests/lab/need"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
)

// loopOf puts an image behind a loop device until the test ends.
func loopOf(r *rig.Rig, image string) string {
	r.Helper()
	out, err := need.Run(r.Context(), "losetup", "--find", "--show", image)
	if err != nil {
		r.Fatal(err)
	}
	device := strings.TrimSpace(out)
	r.Cleanup(func() {
		if _, err := need.Run(context.Background(), "losetup", "--detach", device); err != nil {
			r.Error(err)
		}
	})
	return device
}

// must runs an operation to its end.
func must(r *rig.Rig, args ...string) {
	r.Helper()
	if out, err := r.CLI(r.Context(), append(args, "--yes")...); err != nil {
		r.Fatalf("%v\n%s\ncontrol:\n%s\nagent:\n%s", err, out, r.Tail(stack.Control), r.Tail(stack.Agent))
	}
}

// awaitPointBehind waits for a point behind the newest one, and gives the machine.
func awaitPointBehind(r *rig.Rig, before *farshorev1.Machine) *farshorev1.Machine {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Minute)
	defer cancel()
	m, err := r.AwaitMachine(ctx, func(m *farshorev1.Machine) bool {
		return hub.Position(m.GetLastPoint().GetPosition()).Compare(hub.Position(before.GetLastPoint().GetPosition())) > 0
	})
	if err != nil {
		r.Fatalf("%v\nagent:\n%s", err, r.Tail(stack.Agent))
	}
	return m
}

// scribble writes somewhere on a device, durably.
func scribble(r *rig.Rig, device string, draw *rand.Rand) {
	r.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	for range 16 {
		p := make([]byte, 64<<10)
		for i := range p {
			p[i] = byte(draw.Uint32())
		}
		if _, err := f.WriteAt(p, draw.Int64N(rig.DiskBytes/int64(len(p)))*int64(len(p))); err != nil {
			r.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		r.Fatal(err)
	}
}

func sameBytes(r *rig.Rig, a, b string) {
	r.Helper()
	x, errA := os.Open(a)
	y, errB := os.Open(b)
	if errA != nil || errB != nil {
		r.Fatal(errA, errB)
	}
	defer x.Close()
	defer y.Close()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := 0; at < rig.DiskBytes; at += len(p) {
		if _, err := io.ReadFull(x, p); err != nil {
			r.Fatal(err)
		}
		if _, err := io.ReadFull(y, q); err != nil {
			r.Fatal(err)
		}
		if !bytes.Equal(p, q) {
			r.Fatalf("%s and %s differ in the MiB at %d", a, b, at)
		}
	}
}

// wantLittle says what was sent, and wants that to be little of the disk, and no new generation.
func wantLittle(r *rig.Rig, what string, m *farshorev1.Machine) {
	r.Helper()
	sent, at := m.GetReplication().GetSentBytes(), hub.Position(m.GetLastPoint().GetPosition())
	r.Logf("%s: %d bytes sent of a disk of %d, newest point %v", what, sent, rig.DiskBytes, at)
	if sent > rig.DiskBytes/4 || at.Generation != 1 {
		r.Errorf("%s: %d bytes sent, newest point %v", what, sent, at)
	}
}

// The whole way, with real programs: the machine is failed over, its agent goes on in the recovered disk, the master target
// brings that home into a file, and the agent goes on from there. Each body is a loop device and a copy of the agent's files, as
// an image of the machine's disk would have them.
func TestAMachineGoesOutAndComesHomeWithWhatWasChangedOnly(t *testing.T) {
	r := rig.Up(t, "home-1")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	r.AwaitPoints(3)
	m, err := r.AwaitMachine(t.Context(), func(m *farshorev1.Machine) bool { return m.GetState().GetProtection() == "protected" })
	if err != nil || len(m.GetSpec().GetDisks()) != 1 {
		t.Fatalf("machine %v, %v", m, err)
	}
	r.Writer.Kill()
	disk := m.GetSpec().GetDisks()[0].GetId()
	must(r, "failover", "start", r.Machine)
	must(r, "failover", "commit", r.Machine)
	images, err := filepath.Glob(filepath.Join(r.Dir, "farshore", "disks", "*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("disks of the recovered machine: %v, %v", images, err)
	}
	there := loopOf(r, images[0])
	if err := r.StartBody(t.Context(), "recovered", there); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := r.StartMasterTarget(t.Context(), "", folder+"/"); err != nil {
		t.Fatal(err)
	}
	image, home := filepath.Join(folder, "home.img"), filepath.Join(folder, "home.yaml")
	text := fmt.Sprintf("kind: file\ndisks: {%q: %q}\n", disk, image)
	if err := os.WriteFile(home, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(r, "reprotect", "start", r.Machine, "--home", home, "--points-every", "1s")
	m, err = r.Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantLittle(r, "replicated home", m)
	scribble(r, there, draw)
	must(r, "failback", "start", r.Machine)
	sameBytes(r, there, image)

	again := loopOf(r, image)
	if err := r.StartBody(t.Context(), "home", again); err != nil {
		t.Fatal(err)
	}
	if m, err = r.Show(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(r, "failback", "commit", r.Machine)
	scribble(r, again, draw)
	m = awaitPointBehind(r, m)
	wantLittle(r, "protected from home again", m)
}
