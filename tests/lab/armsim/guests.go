package armsim

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"farshore/tests/lab/qemu"
)

// Guests is a hypervisor that really boots machines, in QEMU: generation 1 by BIOS from IDE, generation 2 by UEFI from
// SCSI, as Azure does. What they write stays on their disks. A machine that is not isolated finds this host's loopback
// services where guest.HostName of its hosts file points, as if the recovery site were connected to home.
type Guests struct {
	dir string // for serial consoles

	mu       sync.Mutex
	machines map[string]*qemu.VM
}

// memoryMiB is enough for the lab's guest with an agent.
const memoryMiB = 768

// NewGuests makes the hypervisor; consoles are kept in dir.
func NewGuests(dir string) *Guests {
	return &Guests{dir: dir, machines: map[string]*qemu.VM{}}
}

// SerialLog is the file that a machine's console is kept in, also after it is gone.
func (g *Guests) SerialLog(name string) string { return filepath.Join(g.dir, name+".serial") }

// Start implements [Hypervisor].
func (g *Guests) Start(ctx context.Context, m Machine) error {
	machine := qemu.Machine{UUID: m.UUID, Firmware: qemu.BIOS, MemoryMiB: memoryMiB, Network: qemu.Loopback, SerialLog: g.SerialLog(m.Name)}
	if m.Isolated {
		machine.Network = qemu.Isolated
	}
	bus := qemu.IDE
	if m.UEFI {
		machine.Firmware, bus = qemu.UEFI, qemu.SCSI
	}
	for _, path := range m.Disks {
		machine.Disks = append(machine.Disks, qemu.Disk{Path: path, Bus: bus})
	}
	vm, err := qemu.Boot(ctx, machine)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.machines[m.Name] = vm
	return nil
}

// Stop implements [Hypervisor].
func (g *Guests) Stop(name string) {
	g.mu.Lock()
	vm := g.machines[name]
	delete(g.machines, name)
	g.mu.Unlock()
	if vm != nil {
		vm.Stop()
	}
}

// Serial implements [Hypervisor].
func (g *Guests) Serial(name string) ([]byte, error) {
	g.mu.Lock()
	vm := g.machines[name]
	g.mu.Unlock()
	if vm == nil {
		return nil, fmt.Errorf("machine %s is not on", name)
	}
	return vm.Serial()
}

// Close implements [Hypervisor].
func (g *Guests) Close() error {
	g.mu.Lock()
	machines := g.machines
	g.machines = map[string]*qemu.VM{}
	g.mu.Unlock()
	for _, vm := range machines {
		vm.Stop()
	}
	return nil
}
