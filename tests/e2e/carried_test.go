package e2e

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	stepsonnodes "farshore/activities/nodes"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/armsim"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/guest/guesttest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
	"farshore/tests/lab/site"
)

const carriedName = "carried-01"

// carried makes the disk of a machine that carries its own agent, enrolled at a hub. It skips, loudly, where that cannot be done.
func carried(t *testing.T, dir string) (image string, hub *site.Hub) {
	t.Helper()
	if err := qemu.Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	base := guesttest.Image(t)
	s := site.New(t, dir, carriedName)
	hub = s.Hub()
	agent, err := need.Program(t.Context(), "farshore-agent")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	s.CA.NodeIn(t, state, farshore.RoleAgent, carriedName)
	image = filepath.Join(dir, "disk.img")
	if err := guest.Copy(t.Context(), base, image); err != nil {
		t.Fatal(err)
	}
	if err := guest.WithAgent(t.Context(), image, guest.Agent{Program: agent, State: state, Control: net.JoinHostPort(guest.HostName, portOf(t, hub.Address)), Rate: 20}); err != nil {
		t.Fatal(err)
	}
	return image, hub
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestAMachineComesUpWithItsAgentAtTheRecoverySite(t *testing.T) {
	dir := t.TempDir()
	image, hub := carried(t, dir)
	guests := armsim.NewGuests(dir)
	defer func() {
		if err := guests.Close(); err != nil {
			t.Error(err)
		}
	}()
	vm := armsim.Machine{Name: "recovered", UUID: "6f1c2a10-0000-4000-8000-000000000002", Disks: []string{image}}
	if err := guests.Start(t.Context(), vm); err != nil {
		t.Fatal(err)
	}
	steps := stepsonnodes.Steps{Hub: hub.Registry(), Every: time.Second, Now: time.Now}
	body := step(t, steps, activities.AwaitAgent, activities.AwaitAgentIn{Machine: carriedName, Seconds: int(patience.Seconds()) - 60})
	if len(body.Machine.Disks) != 1 || body.Machine.Firmware != farshore.BIOS {
		t.Errorf("it reports %+v", body.Machine)
	}
	text, err := guests.Serial("recovered")
	if err != nil {
		t.Fatal(err)
	}
	verdict := regexp.MustCompile(blockwriter.ConsolePrefix + `.*}`).Find(text)
	if r, err := blockwriter.ParseConsole(string(verdict)); err != nil || !r.OK {
		t.Errorf("it found %+v, %v", r, err)
	}
}
