package disk

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/fault"
)

// Source names one disk of the machine in the agent's configuration.
type Source struct {
	Path string
	Boot bool // firmware starts from it
}

// Find lists the physical disks of the machine; the one that holds /boot, or else the root file system, is the boot disk.
func Find() ([]Source, error) {
	names, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, fmt.Errorf("list the disks: %w", err)
	}
	var found []Source
	for _, n := range names {
		if path := filepath.Join("/dev", strings.ReplaceAll(n.Name(), "!", "/")); physical(n.Name()) {
			found = append(found, Source{Path: path})
		}
	}
	return found, markBoot(found)
}

// physical tells disks from what is made of them: loop and RAM disks, device mapper, md, and readers without a medium.
func physical(name string) bool {
	dir := filepath.Join("/sys/block", name)
	for _, made := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"} {
		if strings.HasPrefix(name, made) {
			return false
		}
	}
	return attribute(filepath.Join(dir, "size")) != "0" && attribute(filepath.Join(dir, "hidden")) != "1"
}

func markBoot(sources []Source) error {
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("find the boot disk: %w", err)
	}
	mounts := parseMounts(string(body))
	for _, point := range []string{"/boot", "/"} {
		for i := range sources {
			if standsOn(mounts, point, nodeNumber(sources[i].Path)) {
				sources[i].Boot = true
				return nil
			}
		}
	}
	return nil
}

func standsOn(mounts []FileSystem, point, number string) bool {
	numbers := map[string]bool{}
	gather("/sys/dev/block/"+number, numbers, 0)
	for _, m := range mounts {
		if m.MountPoint == point && (numbers[m.number] || numbers[nodeNumber(m.Source)]) {
			return true
		}
	}
	return false
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
		ID: id, OS: runtime.GOOS, OSName: osName("/etc/os-release"), Firmware: farshore.BIOS, CPUs: runtime.NumCPU(), NICs: nics(),
	}
	if name, err := os.Hostname(); err == nil {
		spec.Hostname = name
	}
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		spec.Firmware = farshore.UEFI
	}
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err == nil {
		spec.MemoryBytes = uint64(memory.Totalram) * uint64(memory.Unit)
	}
	return spec
}

func osName(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"'`)
		}
	}
	return ""
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
