package qemu

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"farshore/tests/lab/need"
)

// Firmware is what starts the boot disk.
type Firmware uint8

// The firmwares.
const (
	BIOS Firmware = iota + 1 // SeaBIOS
	UEFI                     // OVMF without secure boot
)

// Bus is how a disk hangs on the machine.
type Bus string

// The buses; all of them can boot.
const (
	Virtio Bus = "virtio" // virtio-blk
	SCSI   Bus = "scsi"   // virtio-scsi
	PVSCSI Bus = "pvscsi" // VMware's paravirtual SCSI
	NVMe   Bus = "nvme"
	IDE    Bus = "ide" // PIIX; at most four disks
)

// Network is what a machine is plugged into.
type Network uint8

// The networks. DHCP gives 10.0.2.15 in both of the latter.
const (
	None     Network = iota // no network card
	Isolated                // a network with nobody else on it
	Loopback                // the loopback services of this host are at 10.0.2.2, and nothing else is
)

// NIC is the model of the network card.
type NIC string

// The models.
const (
	VirtioNet NIC = "virtio-net-pci"
	VMXNet3   NIC = "vmxnet3"
)

// DefaultMemoryMiB is enough for the lab's guest with a blockwriter.
const DefaultMemoryMiB = 512

// Disk is one disk of a machine.
type Disk struct {
	Path     string
	Format   string // "raw", "vpc" or "vmdk"; empty means raw
	Bus      Bus
	Snapshot bool // leave the file as it is: writes are dropped at the end
}

// Machine says what to boot.
type Machine struct {
	Firmware  Firmware
	Disks     []Disk // the first is the boot disk
	MemoryMiB int    // 0 means [DefaultMemoryMiB]
	CPUs      int    // 0 means 1
	Network   Network
	NIC       NIC    // empty means [VirtioNet]
	SerialLog string // what the first serial port prints; made anew. QEMU's own words go to the same name with ".qemu"
}

// firmwareCode and firmwareVars are OVMF's two flash images, as Debian and Ubuntu install them.
const (
	firmwareCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

const program = "qemu-system-x86_64"

// Missing says what is missing here to boot machines; nil means nothing is.
func Missing() error {
	return need.Programs("a virtual machine of the lab", program)
}

func (m Machine) check() error {
	if len(m.Disks) == 0 || m.SerialLog == "" {
		return errors.New("a machine needs a disk and a serial log")
	}
	if m.Firmware != BIOS && m.Firmware != UEFI {
		return fmt.Errorf("%d is no firmware", m.Firmware)
	}
	for _, d := range m.Disks {
		if _, err := os.Stat(d.Path); err != nil {
			return fmt.Errorf("look for a disk: %w", err)
		}
	}
	return nil
}

// vars is where the machine's own copy of the UEFI variables is kept.
func (m Machine) vars() string { return m.SerialLog + ".vars" }

// arguments are QEMU's.
func (m Machine) arguments() ([]string, error) {
	memory, cpus := m.MemoryMiB, m.CPUs
	if memory == 0 {
		memory = DefaultMemoryMiB
	}
	if cpus == 0 {
		cpus = 1
	}
	args := []string{
		// The plain CPU model: a quarter cheaper to emulate than "max", measured on the lab's guest.
		"-accel", "tcg,thread=multi", "-machine", "pc", "-cpu", "qemu64", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "file:" + m.SerialLog,
	}
	if m.Firmware == UEFI {
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+firmwareCode,
			"-drive", "if=pflash,format=raw,unit=1,file="+escape(m.vars()))
	}
	for n, d := range m.Disks {
		disk, err := d.arguments(n)
		if err != nil {
			return nil, err
		}
		args = append(args, disk...)
	}
	network, err := m.networkArguments()
	return append(args, network...), err
}

func (d Disk) arguments(n int) ([]string, error) {
	id := "disk" + strconv.Itoa(n)
	format := d.Format
	if format == "" {
		format = "raw"
	}
	drive := fmt.Sprintf("if=none,id=%s,format=%s,cache=unsafe,discard=unmap,file.filename=%s", id, format, escape(d.Path))
	if d.Snapshot {
		drive += ",snapshot=on"
	}
	boot := fmt.Sprintf(",drive=%s,bootindex=%d", id, n)
	args := []string{"-drive", drive}
	switch d.Bus {
	case Virtio:
		return append(args, "-device", "virtio-blk-pci"+boot), nil
	case SCSI:
		return append(args, "-device", "virtio-scsi-pci,id=bus-"+id, "-device", "scsi-hd,bus=bus-"+id+".0"+boot), nil
	case PVSCSI:
		return append(args, "-device", "pvscsi,id=bus-"+id, "-device", "scsi-hd,bus=bus-"+id+".0"+boot), nil
	case NVMe:
		return append(args, "-device", "nvme,serial="+id+boot), nil
	case IDE:
		return append(args, "-device", "ide-hd"+boot), nil
	}
	return nil, fmt.Errorf("%q is no bus", d.Bus)
}

// escape doubles commas, which separate QEMU's options.
func escape(path string) string {
	out := ""
	for _, r := range path {
		if out += string(r); r == ',' {
			out += ","
		}
	}
	return out
}

func (m Machine) networkArguments() ([]string, error) {
	nic := m.NIC
	if nic == "" {
		nic = VirtioNet
	}
	// romfile: a machine of the lab never boots from the network, so the card's boot ROM need not be there.
	card := string(nic) + ",netdev=net0,romfile="
	switch m.Network {
	case None:
		return nil, nil
	case Isolated:
		return []string{"-netdev", "user,id=net0,restrict=on", "-device", card}, nil
	case Loopback:
		return []string{"-netdev", "user,id=net0", "-device", card}, nil
	}
	return nil, fmt.Errorf("%d is no network", m.Network)
}
