package disk

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"

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

// Take describes this machine with the given disks. The devices stay open until [Inventory.Close]. names says what the
// disks were called before, and is brought up to date; body is the machine that the disks are in now. Two disks of one
// identity are a fault (FS-1004): a stream could not tell them apart.
func Take(id farshore.MachineID, sources []Source, body string, names *Names) (*Inventory, error) {
	inventory := &Inventory{Spec: host(id)}
	if err := inventory.take(sources, body, names); err != nil {
		return nil, errors.Join(err, inventory.Close())
	}
	return inventory, nil
}

func (v *Inventory) take(sources []Source, body string, names *Names) error {
	for _, s := range sources {
		d, err := Open(s.Path)
		if err != nil {
			return err
		}
		v.Devices = append(v.Devices, d)
	}
	ids, err := names.name(body, v.Devices)
	if err != nil {
		return err
	}
	for i, s := range sources {
		sectors, err := v.Devices[i].Sectors()
		if err != nil {
			return err
		}
		if j := slices.Index(ids[:i], ids[i]); j >= 0 {
			return &fault.Fault{
				Code: "FS-1004", Kind: fault.Operator, Subject: "disk " + s.Path,
				What:   fmt.Sprintf("it has the same identity, %s, as %s", ids[i], sources[j].Path),
				Remedy: "give the disks different serial numbers or partition table GUIDs (a VMware guest needs disk.EnableUUID)",
			}
		}
		v.Spec.Disks = append(v.Spec.Disks, farshore.DiskSpec{ID: ids[i], SizeBytes: uint64(sectors.Bytes()), Boot: s.Boot, Path: s.Path})
	}
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
