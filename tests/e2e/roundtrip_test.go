package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/armsim"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/guest/guesttest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
	"farshore/tests/lab/stack"
	"farshore/tests/lab/vcsim"
)

// traveller is a machine with its own agent on its disk, and all of Farshore around it, with a vCenter at home.
type traveller struct {
	*testing.T
	*stack.Stack
	dir      string
	firmware qemu.Firmware // of the source; Farshore gives each body the same
	image    string        // of the source's disk
	hq       *vcsim.Server
	there    *armsim.Guests // the recovery site's hypervisor
}

// The machine's writer does so many operations in each boot, then the machine is quiet.
const (
	travellerRate = 20
	travellerOps  = 1500
)

// patience is for a shared machine: a boot takes half a minute on an idle one.
const patience = 15 * time.Minute

func newTraveller(t *testing.T, machine string, firmware qemu.Firmware) *traveller {
	t.Helper()
	if err := errors.Join(guest.Missing(), qemu.Missing()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	w := &traveller{T: t, dir: t.TempDir(), firmware: firmware}
	w.image = filepath.Join(w.dir, "source.img")
	w.there = armsim.NewGuests(w.folder("there"))
	w.startVCenter()
	devices := w.folder("devices")
	s, err := stack.Up(t.Context(), stack.Options{
		Dir: filepath.Join(w.dir, "farshore"), Machine: machine, Host: guest.HostName, Hypervisor: w.there, Say: func(what string) { t.Log(what) },
		VCenter: &stack.VCenter{URL: w.hq.URL(), Thumbprint: w.hq.Thumbprint(), User: vcsim.User, Password: vcsim.Password, Devices: devices},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Stack = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w.makeDisk()
	return w
}

func (w *traveller) folder(name string) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		w.Fatal(err)
	}
	return path
}

func (w *traveller) startVCenter() {
	w.Helper()
	w.Setenv("TMPDIR", w.folder("datastore")) // the simulator keeps its datastore there
	var err error
	w.hq, err = vcsim.Start(w.Context(), vcsim.Options{Devices: w.folder("devices"), Loop: true, Guests: w.folder("home")})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := w.hq.Close(context.Background()); err != nil {
			w.Error(err)
		}
	})
}

// makeDisk makes the machine's disk, with its agent enrolled.
func (w *traveller) makeDisk() {
	w.Helper()
	base := guesttest.Image(w)
	state, err := w.EnrolAgent(w.Context())
	if err == nil {
		err = guest.Copy(w.Context(), base, w.image)
	}
	if err == nil {
		err = guest.WithAgent(w.Context(), w.image, guest.Agent{
			Program: filepath.Join(w.Bin, "farshore-agent"), State: state, Control: w.Reached(w.Ports.Control), Rate: travellerRate, Ops: travellerOps,
		})
	}
	if err != nil {
		w.Fatal(err)
	}
}

// must runs an operation of the operator to its end.
func (w *traveller) must(args ...string) {
	w.Helper()
	began := time.Now()
	out, err := w.CLI(w.Context(), append(args, "--yes")...)
	if err != nil {
		w.Fatalf("%v\n%s\ncontrol:\n%s", err, out, w.Tail(stack.Control))
	}
	w.Logf("farshore %v: %s", args, time.Since(began).Round(time.Second))
}

// await waits until the machine is as wanted.
func (w *traveller) await(what string, wanted func(*farshorev1.Machine) bool) *farshorev1.Machine {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	began := time.Now()
	m, err := w.AwaitMachine(ctx, wanted)
	if err != nil {
		w.Fatalf("%s: %v\ncontrol:\n%s\nprocess server:\n%s", what, err, w.Tail(stack.Control), w.Tail(stack.ProcessServer))
	}
	w.Logf("%s after %s: %d bytes sent, newest point %v", what, time.Since(began).Round(time.Second), m.GetReplication().GetSentBytes(),
		hub.Position(m.GetLastPoint().GetPosition()))
	return m
}

// protect powers the source on and replicates it, until there are points of what it writes.
func (w *traveller) protect() *qemu.VM {
	w.Helper()
	source, err := qemu.Boot(w.Context(), qemu.Machine{
		UUID: "6f1c2a10-0000-4000-8000-000000000001", Firmware: w.firmware, Disks: []qemu.Disk{{Path: w.image, Bus: qemu.Virtio, Serial: "boot"}},
		MemoryMiB: 768, Network: qemu.Loopback, SerialLog: filepath.Join(w.dir, "source.serial"),
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(source.Stop)
	w.await("its agent reports", func(m *farshorev1.Machine) bool { return len(m.GetSpec().GetDisks()) == 1 })
	if err := w.Enable(w.Context(), 5*time.Second); err != nil {
		w.Fatal(err)
	}
	w.await("protected", func(m *farshorev1.Machine) bool {
		return m.GetLastPoint() != nil && m.GetState().GetProtection() == "protected"
	})
	w.pointBehind()
	return source
}

// pointBehind waits for a point that is not there yet.
func (w *traveller) pointBehind() *farshorev1.Machine {
	w.Helper()
	m, err := w.Show(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	newest := hub.Position(m.GetLastPoint().GetPosition())
	return w.await("a new point", func(m *farshorev1.Machine) bool {
		return hub.Position(m.GetLastPoint().GetPosition()).Compare(newest) > 0
	})
}

// verdict is what a machine printed about its disk when it started: each body finds what the one before it has written.
func (w *traveller) verdict(where string, console []byte) {
	w.Helper()
	line := regexp.MustCompile(blockwriter.ConsolePrefix + `.*}`).Find(console)
	r, err := blockwriter.ParseConsole(string(line))
	if err != nil || !r.OK || !r.Found || r.Violations > 0 {
		w.Errorf("%s it found its disk like this: %+v, %v", where, r, err)
	}
	w.Logf("%s it found %d stamped blocks, the last write %d", where, r.Stamped, r.LastSeq)
}

// console is what the only machine of a hypervisor has printed.
func (w *traveller) console(folder string) []byte {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.serial"))
	if err != nil || len(files) != 1 {
		w.Fatalf("consoles in %s: %v, %v", folder, files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		w.Fatal(err)
	}
	return text
}

// home is the file with the bytes of the machine's VMDK.
func (w *traveller) home() string {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "datastore", "*", "*", w.Machine, "*-flat.vmdk"))
	if err != nil || len(files) != 1 {
		w.Fatalf("VMDKs of the machine: %v, %v", files, err)
	}
	return files[0]
}

// differences restores the newest point with nothing but the vault and its key, and compares it with the disk at home.
func (w *traveller) differences(m *farshorev1.Machine, home string) (differing, compared int) {
	w.Helper()
	restored := filepath.Join(w.dir, "restored.img")
	at := hub.Position(m.GetLastPoint().GetPosition()).String()
	args := []string{"write", w.Machine, "--at", at, "--to", "raw", "--out", restored, "--yes"}
	_, err := need.Run(w.Context(), filepath.Join(w.Bin, "farshore-restore"), append(args, w.VaultFlags()...)...)
	if err == nil {
		differing, compared, err = guest.Differences(w.Context(), home, restored)
	}
	if err = errors.Join(err, os.Remove(restored)); err != nil {
		w.Fatal(err)
	}
	w.Logf("%d of %d blocks differ between the disk at home and %s", differing, compared, at)
	return differing, compared
}

// The whole way with nothing left out: the machine is a guest that carries its own agent, and each body boots from the disk that
// Farshore made for it.
func TestAMachineThatCarriesItsAgentGoesOutAndComesHome(t *testing.T) {
	if os.Getenv("ROUNDTRIP") == "" {
		t.Skip("SKIPPED: three guests boot one after the other and replicate their disk, by each firmware; run: make roundtrip")
	}
	t.Run("BIOS", func(t *testing.T) { goesOutAndComesHome(newTraveller(t, "traveller-1", qemu.BIOS)) })
	t.Run("UEFI", func(t *testing.T) { goesOutAndComesHome(newTraveller(t, "traveller-2", qemu.UEFI)) })
}

func goesOutAndComesHome(w *traveller) {
	w.goOut()
	target, err := w.hq.MasterTarget(w.Context(), "mt-1")
	if err == nil {
		err = w.StartMasterTarget(w.Context(), target, filepath.Join(w.dir, "devices", "scsi-3*"))
	}
	if err != nil {
		w.Fatal(err)
	}
	w.reprotect(fmt.Sprintf("kind: vsphere\nvsphere: {vcenter: hq, datastore: %s, network: %s}\n", vcsim.Datastore, vcsim.Network))
	w.must("failback", "start", w.Machine) // ends when the agent at home has reported
	w.verdict("at home", w.console(filepath.Join(w.dir, "home")))
	w.goOn(w.home(), w.hq.Guest(w.Machine))
}

// goOut protects the machine, loses its site, and has it run at the recovery site.
func (w *traveller) goOut() {
	w.Helper()
	source := w.protect()
	source.Stop()
	w.must("failover", "start", w.Machine)
	w.must("failover", "commit", w.Machine)
}

// reprotect brings the machine home to what a file says, while it runs at the recovery site.
func (w *traveller) reprotect(home string) {
	w.Helper()
	path := filepath.Join(w.dir, "home.yaml")
	if err := os.WriteFile(path, []byte(home), 0o600); err != nil {
		w.Fatal(err)
	}
	w.must("reprotect", "start", w.Machine, "--home", path, "--points-every", "5s")
	w.little("home", w.pointBehind().GetReplication().GetSentBytes())
	w.verdict("at the recovery site", w.console(filepath.Join(w.dir, "there")))
}

// goOn commits the failback to a disk, with which the machine runs, and sees it through to rest.
func (w *traveller) goOn(disk string, body *qemu.VM) {
	w.Helper()
	w.must("failback", "commit", w.Machine)
	w.little("from home again", w.pointBehind().GetReplication().GetSentBytes())
	w.settle(disk, body)
}

// little wants that what was sent is little of the disk.
func (w *traveller) little(where string, sent uint64) {
	w.Helper()
	w.Logf("sent %s: %d bytes of a disk of %d", where, sent, guest.DiskBytes)
	if sent > guest.DiskBytes/20 {
		w.Errorf("sent %s: %d bytes, want little of %d", where, sent, guest.DiskBytes)
	}
}

// still is how long a disk has not been written to when its machine counts as quiet.
const still = 20 * time.Second

// settle waits until the machine at home has done what it had to do and its newest point is its disk; then it stops it, and
// wants that no block of the disk it leaves differs from the newest point.
func (w *traveller) settle(disk string, body *qemu.VM) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	tick := time.NewTicker(still)
	defer tick.Stop()
	for differing := -1; differing != 0; {
		select {
		case <-ctx.Done():
			w.Fatalf("the machine at home does not come to rest: %d blocks differ", differing)
		case <-tick.C:
		}
		state, err := os.Stat(disk)
		m, asked := w.Show(ctx)
		if err := errors.Join(err, asked); err != nil {
			w.Fatal(err)
		}
		if time.Since(state.ModTime()) > still {
			differing, _ = w.differences(m, disk)
		}
	}
	body.Stop()
	m, err := w.Show(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if differing, compared := w.differences(m, disk); differing != 0 || compared == 0 {
		w.Errorf("%d of %d blocks differ at the end", differing, compared)
	}
}
