package disk

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"farshore"
	"farshore/fault"
)

// Source names one disk of the machine in the agent's configuration.
type Source struct {
	Path string
	Boot bool // firmware starts from it
}

// Inventory is the machine with its disks open, in the order of their specs.
type Inventory struct {
	Spec    farshore.MachineSpec
	Devices []*Device
}

// Take describes this machine with the given disks. The devices stay open until [Inventory.Close]. Two disks of one
// identity are a fault (FS-1004): a stream could not tell them apart.
func Take(id farshore.MachineID, sources []Source) (*Inventory, error) {
	inventory := &Inventory{Spec: host(id)}
	for _, s := range sources {
		if err := inventory.add(s); err != nil {
			return nil, errors.Join(err, inventory.Close())
		}
	}
	return inventory, nil
}

func (v *Inventory) add(s Source) error {
	d, err := Open(s.Path)
	if err != nil {
		return err
	}
	v.Devices = append(v.Devices, d)
	sectors, err := d.Sectors()
	if err != nil {
		return err
	}
	id, err := Identify(d)
	if err != nil {
		return err
	}
	for _, other := range v.Spec.Disks {
		if other.ID == id {
			return &fault.Fault{
				Code: "FS-1004", Kind: fault.Operator, Subject: "disk " + s.Path,
				What:   fmt.Sprintf("it has the same identity, %s, as %s", id, other.Path),
				Remedy: "give the disks different serial numbers or partition table GUIDs (a VMware guest needs disk.EnableUUID)",
			}
		}
	}
	v.Spec.Disks = append(v.Spec.Disks, farshore.DiskSpec{
		ID: id, SizeBytes: uint64(sectors.Bytes()), Boot: s.Boot, Path: s.Path,
	})
	return nil
}

// Close closes the devices.
func (v *Inventory) Close() error {
	var err error
	for _, d := range v.Devices {
		err = errors.Join(err, d.Close())
	}
	v.Devices = nil
	return err
}

// host describes the machine without its disks. What cannot be learned is left empty: a description never stops
// replication.
func host(id farshore.MachineID) farshore.MachineSpec {
	spec := farshore.MachineSpec{
		ID: id, OS: runtime.GOOS, OSName: osName(), Firmware: firmware(), CPUs: runtime.NumCPU(), MemoryBytes: memoryBytes(), NICs: nics(),
	}
	if name, err := os.Hostname(); err == nil {
		spec.Hostname = name
	}
	return spec
}

func nics() []farshore.NICSpec {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var specs []farshore.NICSpec
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		nic := farshore.NICSpec{Name: i.Name, MAC: i.HardwareAddr.String()}
		addresses, err := i.Addrs()
		if err != nil {
			addresses = nil
		}
		for _, a := range addresses {
			nic.Addresses = append(nic.Addresses, a.String())
		}
		specs = append(specs, nic)
	}
	return specs
}
