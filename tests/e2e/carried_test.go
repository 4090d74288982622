package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/armsim"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
	"farshore/tests/lab/site"
)

// carried is a machine that carries its own agent, and the site that protects it.
type carried struct {
	*testing.T
	dir   string
	site  *site.Site
	hub   *site.Hub
	image string // its disk
	port  string // of the process server
}

const carriedName = "carried-01"

// newCarried makes the machine's disk, with an agent that has been enrolled. It skips, loudly, where that cannot be done.
func newCarried(t *testing.T) *carried {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: two guests are booted and one of them replicates its disk")
	}
	if err := errors.Join(guest.Missing(), qemu.Missing()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	dir := t.TempDir()
	c := &carried{T: t, dir: dir, site: site.New(t, dir, carriedName), image: filepath.Join(dir, "disk.img")}
	c.hub = c.site.Hub()
	address, _ := c.site.Serve()
	c.port = portOf(t, address)
	cache, err := need.Cache()
	if err != nil {
		t.Fatal(err)
	}
	base, err := guest.Build(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := need.Program(t.Context(), "farshore-agent")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	c.site.CA.NodeIn(t, state, farshore.RoleAgent, carriedName)
	if err := guest.Copy(t.Context(), base, c.image); err != nil {
		t.Fatal(err)
	}
	err = guest.WithAgent(t.Context(), c.image, guest.Agent{
		Program: agent, State: state, Control: net.JoinHostPort(guest.HostName, portOf(t, c.hub.Address)), Rate: 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// source powers the protected machine on.
func (c *carried) source() *qemu.VM {
	c.Helper()
	vm, err := qemu.Boot(c.Context(), qemu.Machine{
		UUID: "6f1c2a10-0000-4000-8000-000000000001", Firmware: qemu.BIOS, Disks: []qemu.Disk{{Path: c.image, Bus: qemu.Virtio, Serial: "boot"}},
		MemoryMiB: 768, Network: qemu.Loopback, SerialLog: filepath.Join(c.dir, "source.serial"),
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(vm.Stop)
	return vm
}

// patience is for a shared machine: a boot takes half a minute on an idle one.
const patience = 10 * time.Minute

// await waits for a word of the machine's agent that was said since a time. Without it, it shows what the body has printed.
func (c *carried) await(since time.Time, console func() ([]byte, error), what string, wanted func(*farshorev1.AgentObserved) bool) *farshorev1.AgentObserved {
	c.Helper()
	started := time.Now()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	id := farshore.Identity{Role: farshore.RoleAgent, Name: carriedName}
	for {
		changed := c.hub.Registry().Changed()
		report, at, ok := c.hub.Registry().Observed(id)
		if ok && at.After(since) && wanted(report.GetAgent()) {
			c.Logf("%s after %.0f s", what, time.Since(started).Seconds())
			return report.GetAgent()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			text, err := console()
			c.Fatalf("%s: %v; it observes %v\n%s (%v)", what, ctx.Err(), report.GetAgent(), text[max(0, len(text)-8000):], err)
		}
	}
}

// replicate has the source protected until it has a recovery point.
func (c *carried) replicate(vm *qemu.VM, machine *farshorev1.MachineSpec) *farshorev1.RecoveryPoint {
	c.Helper()
	var disks []string
	for _, d := range machine.GetDisks() {
		disks = append(disks, d.GetId())
	}
	server := net.JoinHostPort(guest.HostName, c.port)
	c.hub.Desire(&farshorev1.AgentDesired{Protect: true, Disks: disks, ProcessServers: []string{server}, CrashEverySeconds: 5})
	o := c.await(time.Time{}, vm.Serial, "a recovery point of the source", func(o *farshorev1.AgentObserved) bool { return o.GetLastPoint() != nil })
	c.Logf("%d bytes sent, grade %s, point %v", o.GetSentBytes(), o.GetGrade(), o.GetLastPoint().GetPosition())
	return o.GetLastPoint()
}

// verdict is what the machine prints about its disk while it starts.
func (c *carried) verdict(console func() ([]byte, error)) blockwriter.Report {
	c.Helper()
	text, err := console()
	if err != nil {
		c.Fatal(err)
	}
	line := regexp.MustCompile(blockwriter.ConsolePrefix + `.*}`).FindString(string(text))
	r, err := blockwriter.ParseConsole(line)
	if err != nil {
		c.Fatal(err)
	}
	return r
}

// The short form copies the source's disk; with ROUNDTRIP set it is replicated, and restored from the vault.
func TestAMachineInAnotherBodyComesUpWithItsAgent(t *testing.T) {
	c := newCarried(t)
	source := c.source()
	first := c.await(time.Time{}, source.Serial, "a report of the source", func(o *farshorev1.AgentObserved) bool { return len(o.GetMachine().GetDisks()) > 0 })
	recovered := filepath.Join(c.dir, "recovered.img")
	if os.Getenv("ROUNDTRIP") == "" {
		source.Stop()
		if err := guest.Copy(t.Context(), c.image, recovered); err != nil {
			t.Fatal(err)
		}
	} else {
		point := c.replicate(source, first.GetMachine())
		source.Stop()
		c.restore(point, recovered)
	}

	guests := armsim.NewGuests(c.dir)
	t.Cleanup(func() {
		if err := guests.Close(); err != nil {
			t.Error(err)
		}
	})
	started := time.Now()
	vm := armsim.Machine{Name: "recovered", UUID: "6f1c2a10-0000-4000-8000-000000000002", Disks: []string{recovered}}
	if err := guests.Start(t.Context(), vm); err != nil {
		t.Fatal(err)
	}
	console := func() ([]byte, error) { return guests.Serial("recovered") }
	second := c.await(started, console, "a report of the other body", func(o *farshorev1.AgentObserved) bool { return len(o.GetMachine().GetDisks()) > 0 })
	if r := c.verdict(console); !r.OK {
		t.Errorf("the other body found its disk like this: %+v", r)
	}
	if a, b := first.GetMachine().GetDisks()[0], second.GetMachine().GetDisks()[0]; a.GetId() != b.GetId() {
		t.Errorf("its disk is called %s here, and was called %s", b.GetId(), a.GetId())
	}
}

// restore writes a point to an image with nothing but the vault and its key.
func (c *carried) restore(point *farshorev1.RecoveryPoint, to string) {
	c.Helper()
	program, err := need.Program(c.Context(), "farshore-restore")
	if err != nil {
		c.Fatal(err)
	}
	p := point.GetPosition()
	at := farshore.Position{Generation: farshore.Generation(p.GetGeneration()), Epoch: farshore.Epoch(p.GetEpoch()), Seq: farshore.Seq(p.GetSeq())}
	if _, err := need.Run(c.Context(), program, "write", carriedName, "--at", at.String(), "--to", "raw", "--out", to, "--yes", "--vault-path", c.site.Vault, "--key", c.site.KeyFile); err != nil {
		c.Fatal(err)
	}
}
