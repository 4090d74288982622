package armsim

import "context"

// Machine is what a hypervisor needs to know to start a virtual machine.
type Machine struct {
	Name  string
	UUID  string // of its firmware (SMBIOS): the same as long as the machine exists, and no other's
	UEFI  bool
	Disks []string // raw files, the boot disk first; none if it was made from an image
	// CustomData is what a machine that was made from an image runs at its first start.
	CustomData string
	Address    string // of its first interface
	// Isolated: its subnet has a security group, as that of a test has. Else it reaches what stands at home.
	Isolated bool
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
