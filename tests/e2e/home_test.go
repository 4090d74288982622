package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/tests/lab/need"
	"farshore/tests/lab/rig"
	"farshore/tests/lab/stack"
	"farshore/tests/lab/vcsim"
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
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Minute)
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
	if err := compare(a, b); err != nil {
		r.Fatal(err)
	}
}

// compare says where two disks differ.
func compare(a, b string) error {
	x, err := os.Open(a)
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return err
	}
	defer y.Close()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := 0; at < rig.DiskBytes; at += len(p) {
		_, errP := io.ReadFull(x, p)
		_, errQ := io.ReadFull(y, q)
		if err := errors.Join(errP, errQ); err != nil {
			return err
		}
		if !bytes.Equal(p, q) {
			return fmt.Errorf("%s and %s differ in the MiB at %d", a, b, at)
		}
	}
	return nil
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

// goOut fails the machine over and lets its agent go on in the recovered disk, which it gives.
func goOut(r *rig.Rig) (disk, there string) {
	r.Helper()
	r.AwaitPoints(3)
	m, err := r.AwaitMachine(r.Context(), func(m *farshorev1.Machine) bool { return m.GetState().GetProtection() == "protected" })
	if err != nil || len(m.GetSpec().GetDisks()) != 1 {
		r.Fatalf("machine %v, %v", m, err)
	}
	r.Writer.Kill()
	return m.GetSpec().GetDisks()[0].GetId(), failOver(r, "recovered")
}

// failOver fails the machine over, commits that, and starts its agent in the recovered disk, which it gives.
func failOver(r *rig.Rig, body string) string {
	r.Helper()
	disks := func() []string {
		images, err := filepath.Glob(filepath.Join(r.Dir, "farshore", "disks", "*"))
		if err != nil {
			r.Fatal(err)
		}
		return images
	}
	before := disks()
	must(r, "failover", "start", r.Machine)
	must(r, "failover", "commit", r.Machine)
	images := slices.DeleteFunc(disks(), func(image string) bool { return slices.Contains(before, image) })
	if len(images) != 1 {
		r.Fatalf("disks of the recovered machine: %v", images)
	}
	there := loopOf(r, images[0])
	if err := r.StartBody(r.Context(), body, there); err != nil {
		r.Fatal(err)
	}
	return there
}

// homeward gives the command that brings the machine home to what a file says.
func homeward(r *rig.Rig, home string) []string {
	r.Helper()
	path := filepath.Join(r.Dir, "home.yaml")
	if err := os.WriteFile(path, []byte(home), 0o600); err != nil {
		r.Fatal(err)
	}
	return []string{"reprotect", "start", r.Machine, "--home", path, "--points-every", "1s"}
}

// reprotect brings the machine home to what a file says.
func reprotect(r *rig.Rig, home string) {
	r.Helper()
	must(r, homeward(r, home)...)
	m, err := r.Show(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	wantLittle(r, "replicated home", m)
}

// goOn commits the failback and writes at home.
func goOn(r *rig.Rig, device string, draw *rand.Rand) {
	r.Helper()
	m, err := r.Show(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	must(r, "failback", "commit", r.Machine)
	scribble(r, device, draw)
	wantLittle(r, "protected from home again", awaitPointBehind(r, m))
}

func drawn(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// The whole way, with real programs: the machine is failed over, its agent goes on in the recovered disk, the master target
// brings that home into a file, and the agent goes on from there. Each body is a loop device and a copy of the agent's files, as
// an image of the machine's disk would have them.
func TestAMachineGoesOutAndComesHomeWithWhatWasChangedOnly(t *testing.T) {
	r, draw := rig.Up(t, "home-1"), drawn(t)
	disk, there := goOut(r)
	folder := t.TempDir()
	if err := r.StartMasterTarget(t.Context(), "", folder+"/"); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(folder, "home.img")
	reprotect(r, fmt.Sprintf("kind: file\ndisks: {%q: %q}\n", disk, image))
	scribble(r, there, draw)
	must(r, "failback", "start", r.Machine)
	sameBytes(r, there, image)
	again := loopOf(r, image)
	if err := r.StartBody(t.Context(), "home", again); err != nil {
		t.Fatal(err)
	}
	goOn(r, again, draw)
}

// The same to vSphere, as the lab's vCenter plays it: the VM is made, its disk attached to the master target, detached and
// started; then the agent goes on in its VMDK.
func TestAMachineComesHomeToVSphere(t *testing.T) {
	devices := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir()) // the simulator keeps its datastore there
	hq, err := vcsim.Start(t.Context(), vcsim.Options{Devices: devices, Loop: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hq.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	target, err := hq.MasterTarget(t.Context(), "mt-1")
	if err != nil {
		t.Fatal(err)
	}
	vcenter := &stack.VCenter{URL: hq.URL(), Thumbprint: hq.Thumbprint(), User: vcsim.User, Password: vcsim.Password, Devices: devices}
	r := rig.UpWith(t, stack.Options{Machine: "home-2", VCenter: vcenter})
	draw := drawn(t)
	_, there := goOut(r)
	if err := r.StartMasterTarget(t.Context(), target, filepath.Join(devices, "scsi-3*")); err != nil {
		t.Fatal(err)
	}
	reprotect(r, fmt.Sprintf("kind: vsphere\nvsphere: {vcenter: hq, datastore: %s, network: %s}\n", vcsim.Datastore, vcsim.Network))
	scribble(r, there, draw)
	failBack(r, hq, there, "home", draw)
	if os.Getenv("ROUNDTRIP") != "" {
		comesHomeAgain(r, hq, draw)
	}
}

// failBack fails the machine back to its VM and commits that.
func failBack(r *rig.Rig, hq *vcsim.Server, there, body string, draw *rand.Rand) {
	r.Helper()
	home := make(chan string, 1)
	go func() { home <- bodyAtHome(r, hq, there, body) }()
	must(r, "failback", "start", r.Machine) // ends when the agent at home has reported
	goOn(r, <-home, draw)
}

// comesHomeAgain loses the VM at home and goes the same way once more: the VM of the first time is written over when a person
// has said so, and only where it differs.
func comesHomeAgain(r *rig.Rig, hq *vcsim.Server, draw *rand.Rand) {
	r.Helper()
	r.Kill(stack.Agent)
	if err := hq.PowerOff(r.Context(), r.Machine); err != nil {
		r.Fatal(err)
	}
	r.AgentState = filepath.Join(r.Dir, "farshore", "agent-home") // what the machine's disk holds of its agent now
	there := failOver(r, "recovered-2")
	home := fmt.Sprintf("kind: vsphere\nvsphere: {vcenter: hq, datastore: %s, network: %s}\n", vcsim.Datastore, vcsim.Network)
	out, err := r.CLI(r.Context(), append(homeward(r, home), "--yes")...)
	if err == nil || !strings.Contains(err.Error()+string(out), "FS-5420") || !strings.Contains(err.Error()+string(out), "overwrite: true") {
		r.Fatalf("without a word the VM of the first time is taken: %v\n%s", err, out)
	}
	reprotect(r, home+"overwrite: true\n")
	m, err := r.Show(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	written := m.GetWayHome().GetWrittenBytes()
	r.Logf("%d bytes written to the VM of the first time", written)
	if written > rig.DiskBytes/2 {
		r.Errorf("%d bytes were written to the VM of the first time, of %d", written, rig.DiskBytes)
	}
	scribble(r, there, draw)
	failBack(r, hq, there, "home-2", draw)
}

// bodyAtHome waits until the machine's VM at home is on, compares its disk with the one at the recovery site, and starts the
// agent in it. It gives the disk.
func bodyAtHome(r *rig.Rig, hq *vcsim.Server, there, body string) string {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for len(hq.DevicesOf(r.Machine)) == 0 {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return ""
		}
	}
	device, err := filepath.EvalSymlinks(hq.DevicesOf(r.Machine)[0])
	if err == nil {
		err = compare(there, device)
	}
	if err == nil {
		err = r.StartBody(r.Context(), body, device)
	}
	if err != nil {
		r.Error(err)
	}
	return device
}
