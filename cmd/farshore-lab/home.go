package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/qemu"
	"farshore/tests/lab/stack"
	"farshore/tests/lab/vcsim"
)

// home is where the machine comes home to: the lab's vCenter, with a VM for the master target.
type home struct {
	hq      *vcsim.Server
	dir     string
	devices string // stands for /dev/disk/by-id of the master target's VM
}

func openHome(ctx context.Context, dir string) (*home, error) {
	h := &home{dir: filepath.Join(dir, "home"), devices: filepath.Join(dir, "home", "devices")}
	datastore := filepath.Join(h.dir, "datastore")
	for _, folder := range []string{h.devices, datastore} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, fmt.Errorf("make a folder of home: %w", err)
		}
	}
	if err := os.Setenv("TMPDIR", datastore); err != nil { // the simulator keeps its datastore there
		return nil, fmt.Errorf("give the datastore its place: %w", err)
	}
	var err error
	if h.hq, err = vcsim.Start(ctx, vcsim.Options{Devices: h.devices, Loop: true, Guests: h.dir}); err != nil {
		return nil, err
	}
	return h, nil
}

// vcenter is how the configuration server reaches it.
func (h *home) vcenter() *stack.VCenter {
	return &stack.VCenter{URL: h.hq.URL(), Thumbprint: h.hq.Thumbprint(), User: vcsim.User, Password: vcsim.Password, Devices: h.devices}
}

// file writes down where the machine comes home to, as an operator does.
func (h *home) file() (string, error) {
	path := filepath.Join(h.dir, "home.yaml")
	text := fmt.Sprintf("kind: vsphere\nvsphere: {vcenter: hq, datastore: %s, network: %s}\n", vcsim.Datastore, vcsim.Network)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// verdict waits for what the machine finds on its disk when it starts at home.
func (h *home) verdict(ctx context.Context) (blockwriter.Report, error) {
	var vm *qemu.VM
	if vm = h.hq.Guest(machine); vm == nil {
		return blockwriter.Report{}, errors.New("the machine is not on at home")
	}
	ctx, cancel := context.WithTimeout(ctx, verdictTimeout)
	defer cancel()
	line, err := vm.WaitFor(ctx, verdict)
	if err != nil {
		return blockwriter.Report{}, err
	}
	return blockwriter.ParseConsole(verdict.FindString(line))
}

// reprotect replicates the machine home.
func (d *demo) reprotect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wayTimeout)
	defer cancel()
	target, err := d.home.hq.MasterTarget(ctx, "master-target-1")
	if err != nil {
		return err
	}
	d.screen.say("a master target runs in a VM of home's vCenter; it writes what comes home")
	if err := d.stack.StartMasterTarget(ctx, target, filepath.Join(d.home.devices, "scsi-3*")); err != nil {
		return err
	}
	file, err := d.home.file()
	if err != nil {
		return err
	}
	began := time.Now()
	m, err := d.operate(ctx, "reprotect", "start", machine, "--home", file, "--points-every", pointsEvery.String())
	if err != nil {
		return err
	}
	d.facts.reprotectTook = time.Since(began)
	d.screen.say("its disk at home holds a clean state of it after %s; the agent in the recovered machine sent %s for that", d.facts.reprotectTook.Round(time.Second), commandline.Size(m.GetReplication().GetSentBytes()))
	return d.showPoints(ctx, 3)
}

// failback starts the machine at home and lets it judge its disk.
func (d *demo) failback(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wayTimeout)
	defer cancel()
	m, err := d.stack.Show(ctx)
	if err != nil {
		return err
	}
	d.facts.homeBytes = m.GetReplication().GetSentBytes()
	began := time.Now()
	m, err = d.operate(ctx, "failback", "start", machine)
	if err != nil {
		return err
	}
	report, err := d.home.verdict(ctx)
	if err == nil {
		err = sound(report)
	}
	if err != nil {
		return err
	}
	if !m.GetFailback().GetSeen() {
		return fmt.Errorf("the agent at home was not seen: %v", m.GetFailback().GetNotes())
	}
	d.facts.failbackTook, d.facts.compared = time.Since(began), m.GetFailback().GetComparedBytes()
	d.screen.say("%s compared before it was started, none of it different", commandline.Size(d.facts.compared))
	d.screen.say("it runs at home, on VMware's controller and card, and finds its disk sound: %d blocks, the last writes those of the recovery site", report.Stamped)
	return nil
}

// protectAgain protects the machine from home again.
func (d *demo) protectAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wayTimeout)
	defer cancel()
	m, err := d.stack.Show(ctx)
	if err != nil {
		return err
	}
	newest := hub.Position(m.GetLastPoint().GetPosition())
	if _, err := d.operate(ctx, "failback", "commit", machine); err != nil {
		return err
	}
	m, err = d.stack.AwaitMachine(ctx, func(m *farshorev1.Machine) bool {
		if r := m.GetReplication(); r.GetCopyTotalBytes() > 0 {
			d.copying("looked at", r)
		}
		return hub.Position(m.GetLastPoint().GetPosition()).Compare(newest) > 0 && m.GetState().GetProtection() == "protected"
	})
	if err != nil {
		return err
	}
	d.facts.againBytes = m.GetReplication().GetSentBytes()
	d.screen.say("protected from home again: %s sent, no full copy", commandline.Size(d.facts.againBytes))
	return d.showPoints(ctx, 3)
}

// operate starts an operation, tells its steps, and gives the machine when its run has ended.
func (d *demo) operate(ctx context.Context, args ...string) (*farshorev1.Machine, error) {
	begun, err := d.stack.Begin(ctx, args...)
	if err != nil {
		return nil, err
	}
	if err := d.follow(ctx, begun.GetWorkflow(), stack.Completed); err != nil { // a commit has the run of what it commits
		return nil, err
	}
	return d.stack.Show(ctx)
}

var verdict = regexp.MustCompile(blockwriter.ConsolePrefix + `.*\}`)
