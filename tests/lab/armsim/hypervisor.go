package armsim

import "context"

// Machine is what a hypervisor needs to know to start a virtual machine.
type Machine struct {
	Name  string
	UUID  string // of its firmware (SMBIOS): the same as long as the machine exists, and no other's
	UEFI  bool
	Disks []string // raw files, the boot disk first
}

// Hypervisor starts machines and shows their serial consoles.
type Hypervisor interface {
	// Start powers a machine on and returns when it runs. The machine outlives ctx's request; Stop or Close ends it.
	Start(ctx context.Context, m Machine) error
	// Stop powers a machine off. It may be unknown or stopped already.
	Stop(name string)
	// Serial gives what the machine has written to its first serial port.
	Serial(name string) ([]byte, error)
	// Close stops every machine.
	Close() error
}
