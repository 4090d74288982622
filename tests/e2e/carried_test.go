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
	"farshore/activities"
	stepsonnodes "farshore/activities/nodes"
	"farshore/activities/recovery"
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

// body waits for a body of the machine whose agent speaks, other than those that are known. Without it, it shows what the
// body has printed.
func (c *carried) body(others ...string) activities.AwaitAgentOut {
	c.Helper()
	started := time.Now()
	steps := stepsonnodes.Steps{Hub: c.hub.Registry(), Every: time.Second, Now: time.Now}
	out := step(c.T, steps, activities.AwaitAgent, activities.AwaitAgentIn{Machine: carriedName, Others: others, Seconds: int(patience.Seconds()) - 60})
	c.Logf("the agent in body %s spoke after %.0f s", out.Instance, time.Since(started).Seconds())
	return out
}

// replicate has a body protected until it has a recovery point behind an epoch, made after it was asked for.
func (c *carried) replicate(b activities.AwaitAgentOut, behind farshore.Epoch, console func() ([]byte, error)) farshore.Position {
	c.Helper()
	var disks []string
	for _, d := range b.Machine.Disks {
		disks = append(disks, string(d.ID))
	}
	server := net.JoinHostPort(guest.HostName, c.port)
	c.hub.Desire(&farshorev1.AgentDesired{Instance: b.Instance, Protect: true, Disks: disks, ProcessServers: []string{server}, CrashEverySeconds: 5})
	started := time.Now()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	o, err := c.hub.Await(ctx, func(o *farshorev1.AgentObserved) bool {
		return o.GetInstance() == b.Instance && o.GetLastPoint().GetPosition().GetEpoch() > uint32(behind)
	})
	if err != nil {
		text, unread := console()
		c.Fatalf("no recovery point: %v; it observes %v\n%s (%v)", err, o, text[max(0, len(text)-8000):], unread)
	}
	p := o.GetLastPoint().GetPosition()
	at := farshore.Position{Generation: farshore.Generation(p.GetGeneration()), Epoch: farshore.Epoch(p.GetEpoch()), Seq: farshore.Seq(p.GetSeq())}
	c.Logf("point %v of body %s after %.0f s: %d bytes sent, grade %s", at, b.Instance, time.Since(started).Seconds(), o.GetSentBytes(), o.GetGrade())
	return at
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

// recover boots a disk as the recovery site would, and gives its console.
func (c *carried) recover(disk string) (console func() ([]byte, error)) {
	c.Helper()
	guests := armsim.NewGuests(c.dir)
	c.Cleanup(func() {
		if err := guests.Close(); err != nil {
			c.Error(err)
		}
	})
	vm := armsim.Machine{Name: "recovered", UUID: "6f1c2a10-0000-4000-8000-000000000002", Disks: []string{disk}}
	if err := guests.Start(c.Context(), vm); err != nil {
		c.Fatal(err)
	}
	return func() ([]byte, error) { return guests.Serial("recovered") }
}

func TestAMachineComesUpWithItsAgentAtTheRecoverySite(t *testing.T) {
	c := newCarried(t)
	console := c.recover(c.image)
	b := c.body()
	if r := c.verdict(console); !r.OK || len(b.Machine.Disks) != 1 || b.Machine.Firmware != farshore.BIOS {
		t.Errorf("it found %+v and reports %+v", r, b.Machine)
	}
}

func TestAMachineGoesOnWithItsStreamFromAnotherBody(t *testing.T) {
	if os.Getenv("ROUNDTRIP") == "" {
		t.Skip("SKIPPED: a guest replicates its disk twice, which takes minutes; run: make roundtrip")
	}
	c := newCarried(t)
	source := c.source()
	first := c.body()
	point := c.replicate(first, 0, source.Serial)
	source.Stop()
	recovered := filepath.Join(c.dir, "recovered.img")
	c.restore(point, recovered)

	console := c.recover(recovered)
	second := c.body(first.Instance)
	if found := c.verdict(console); !found.OK || !found.Found {
		t.Errorf("the other body found its disk like this: %+v", found)
	}
	if a, b := first.Machine.Disks[0].ID, second.Machine.Disks[0].ID; a != b {
		t.Errorf("its disk is called %s here, and was called %s", b, a)
	}
	c.goOn(second, console)
}

// goOn lets a body go on with the stream, and looks at what it has sent: a point of what it wrote itself, in order.
func (c *carried) goOn(b activities.AwaitAgentOut, console func() ([]byte, error)) {
	c.Helper()
	run := activities.NewRun(activities.ReprotectRun, carriedName, "op-1")
	released := step(c.T, recovery.Steps{Claims: c.site.Claims(), Hub: c.hub.Registry()}, activities.Release, activities.ReleaseIn{Run: run, Instance: b.Instance})
	point := c.replicate(b, released.Epoch, console)
	newest := filepath.Join(c.dir, "newest.img")
	c.restore(point, newest)
	d, err := guest.Attach(c.Context(), newest)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := d.Detach(context.WithoutCancel(c.Context())); err != nil {
			c.Error(err)
		}
	})
	report, err := blockwriter.VerifyDir(filepath.Join(d.Root, "var/lib/blockwriter"), blockwriter.Question{})
	if err != nil || !report.OK || !report.Found || report.OlderRuns == 0 {
		c.Errorf("what the other body wrote is restored as %+v (%v)", report, err)
	}
	c.Logf("restored from the point of the other body: %+v", report)
}

// restore writes a point to an image with nothing but the vault and its key.
func (c *carried) restore(at farshore.Position, to string) {
	c.Helper()
	program, err := need.Program(c.Context(), "farshore-restore")
	if err == nil {
		_, err = need.Run(c.Context(), program, "write", carriedName, "--at", at.String(), "--to", "raw", "--out", to, "--yes",
			"--vault-path", c.site.Vault, "--key", c.site.KeyFile)
	}
	if err != nil {
		c.Fatal(err)
	}
}
