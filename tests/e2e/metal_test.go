package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"farshore/dataplane/rescue/bootentry"
	"farshore/dataplane/rescue/medium"
	"farshore/tests/lab/azurite"
	"farshore/tests/lab/kernel"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// The metal's disk, and where QEMU's user network has this host.
const (
	metalSerial = "METAL1"
	metalPath   = "/dev/disk/by-id/serial-" + metalSerial
	hostAddress = "10.0.2.2"
)

// metal is what a machine comes home to by a rescue image. Its disk is blank, and larger than the machine's.
type metal struct {
	*testing.T
	dir     string
	machine string
	config  string       // of a master target, as rescue images are built from
	disk    string       // of the metal
	vars    string       // of its firmware
	network qemu.Network // that it is on when its own disk starts it
}

// needMetal skips, loudly, where rescue images cannot be built or started.
func needMetal(t *testing.T) {
	t.Helper()
	if err := errors.Join(medium.Missing(), qemu.Missing(), kernel.Missing(qemu.AMD64), azurite.Missing()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// newMetal makes metal for a machine with a disk of a size.
func newMetal(t *testing.T, dir, machine string, size int64, config string) *metal {
	t.Helper()
	m := &metal{
		T: t, dir: dir, machine: machine, config: filepath.Join(dir, "master-target.yaml"),
		disk: filepath.Join(dir, "metal.img"), vars: filepath.Join(dir, "metal.vars"),
	}
	err := errors.Join(os.WriteFile(m.config, []byte(config), 0o600), os.WriteFile(m.disk, nil, 0o600), os.Truncate(m.disk, size+64<<20))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// targetConfig is the configuration of a master target on the metal, with a vault in Azurite.
func targetConfig(server *azurite.Server, vaultKey, accountKey string) string {
	seen := strings.Replace(server.Endpoint, "127.0.0.1", hostAddress, 1)
	return fmt.Sprintf("control: unused:1\nkeyFile: %s\nfolders: [/srv]\npollSeconds: 1\nvault:\n  kind: azblob\n  endpoint: %s\n  account: %s\n  credential:\n    kind: shared-key\n    keyFile: %s\n",
		vaultKey, seen, server.Account, accountKey)
}

// target is the name of the master target that the metal becomes.
func (m *metal) target() string { return "rescue-" + m.machine }

// build builds a rescue image as an operator does, for a configuration server on a port of this host, and gives its disk.
func (m *metal) build(name, port, token, pin string) string {
	m.Helper()
	program, err := need.Program(m.Context(), "farshore-dataplane")
	if err != nil {
		m.Fatal(err)
	}
	cache, err := need.Cache()
	if err != nil {
		m.Fatal(err)
	}
	k, err := kernel.Fetch(m.Context(), cache, kernel.Debian12) // it lacks drivers of hardware, which no test here has
	if err != nil {
		m.Fatal(err)
	}
	out, err := need.Run(m.Context(), program, "rescue", "build", "--machine", m.machine, "--control", net.JoinHostPort(hostAddress, port),
		"--token", token, "--ca-pin", pin, "--config", m.config, "--kernel-tree", filepath.Dir(filepath.Dir(k.Image)), "--out", filepath.Join(m.dir, name), "-o", "json")
	if err != nil {
		m.Fatal(err)
	}
	var image medium.Image
	if err := json.Unmarshal([]byte(out), &image); err != nil {
		m.Fatal(err)
	}
	return image.Disk
}

// boot starts the metal: from a rescue medium, or from its own disk.
func (m *metal) boot(name, stick string) *qemu.VM {
	m.Helper()
	machine := qemu.Machine{
		UUID: "6f1c2a10-0000-4000-8000-00000000000b", Firmware: qemu.UEFI, Vars: m.vars, MemoryMiB: 768, Network: m.network, SerialLog: filepath.Join(m.dir, name),
		Disks: []qemu.Disk{{Path: m.disk, Bus: qemu.Virtio, Serial: metalSerial}},
	}
	if stick != "" {
		machine.CPU, machine.MemoryMiB, machine.CPUs, machine.Network, machine.Typed = "max", 1280, 2, qemu.Loopback, true
		machine.Disks = append([]qemu.Disk{{Path: stick, Bus: qemu.SCSI, Snapshot: true}}, machine.Disks...)
	}
	vm, err := qemu.Boot(m.Context(), machine)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(vm.Stop)
	return vm
}

// says waits until the console says something.
func (m *metal) says(vm *qemu.VM, pattern string) {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), patience)
	defer cancel()
	if _, err := vm.WaitFor(ctx, regexp.MustCompile(pattern)); err != nil {
		m.Fatal(err)
	}
}

// agree has a person type the machine's name when the console asks for it. The channel is closed when that was done.
func (m *metal) agree(vm *qemu.VM) (answered chan struct{}) {
	answered = make(chan struct{})
	go func() {
		defer close(answered)
		m.says(vm, "Type the machine's name")
		m.types(vm, m.machine)
	}()
	return answered
}

// lands waits until the rescue system has restarted the metal, and gives what it has said.
func (m *metal) lands(vm *qemu.VM) (console []byte) {
	m.Helper()
	m.says(vm, "Restarting into it")
	ctx, cancel := context.WithTimeout(m.Context(), patience)
	defer cancel()
	err := vm.WaitOff(ctx)
	if err == nil {
		console, err = vm.Serial()
	}
	if err != nil {
		m.Fatal(err)
	}
	return console
}

func (m *metal) types(vm *qemu.VM, line string) {
	m.Helper()
	if err := vm.Type(m.Context(), line); err != nil {
		m.Fatal(err)
	}
}

// entries gives what the firmware tries, in its order, and how many of these start something of the machine's disk.
func (m *metal) entries() (order []string, own int) {
	m.Helper()
	all, err := qemu.Variables(m.vars)
	if err != nil {
		m.Fatal(err)
	}
	numbers, err := bootentry.ParseOrder(all["BootOrder"])
	if err != nil {
		m.Fatal(err)
	}
	for name, body := range all {
		if _, ok := bootentry.ParseName(name); !ok {
			continue
		}
		o, err := bootentry.ParseOption(body)
		if err != nil {
			m.Fatal(err)
		}
		t, ok := o.Target()
		if !ok {
			m.Logf("%s: %q: %x", name, o.Title, body)
		} else {
			own++
			m.Logf("%s: %q starts %s of partition %s: %x", name, o.Title, t.File, t.GUID, body)
		}
	}
	for _, n := range numbers {
		o, err := bootentry.ParseOption(all[bootentry.Name(n)])
		if err != nil {
			m.Fatal(err)
		}
		order = append(order, o.Title)
	}
	return order, own
}

// wantOneEntry wants the firmware to try the machine first, by the only entry that it has for its disk.
func (m *metal) wantOneEntry(when string) {
	m.Helper()
	if order, own := m.entries(); own != 1 || order[0] != m.machine {
		m.Errorf("%s: the firmware has %d entries for the machine's disk, and tries %q", when, own, order)
	}
}
