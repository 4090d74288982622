package qemu

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	PVSCSI Bus = "pvscsi" // VMware's paravirtual SCSI; by UEFI see MissingPVSCSI
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

// Arch is the processor's architecture, in Go's words.
type Arch string

// The architectures.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
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
	Snapshot bool   // leave the file as it is: writes are dropped at the end
	FUA      bool   // SCSI: the disk knows forced unit access (DPOFUA)
	Serial   string // serial number; empty means none, but for NVMe, which must have one
}

// Direct is a kernel that is booted without a boot loader.
type Direct struct {
	Kernel string // bzImage on amd64, Image on arm64
	Initrd string
	Append string // the kernel's command line, besides its console
}

// Machine says what to boot.
type Machine struct {
	Arch      Arch   // empty means [AMD64]
	UUID      string // of the machine, as its firmware tells it (SMBIOS); empty means none
	Firmware  Firmware
	Direct    *Direct // boots this instead of a disk, on every feature that the emulator has
	Disks     []Disk  // the first is the boot disk
	MemoryMiB int     // 0 means [DefaultMemoryMiB]
	CPUs      int     // 0 means 1
	Network   Network
	NIC       NIC    // empty means [VirtioNet]
	CPU       string // model; empty means the cheapest to emulate, which has no instructions for ciphers
	Vars      string // file of the UEFI variables: kept from boot to boot, made if it is not there; empty means fresh ones
	Typed     bool   // somebody types on the first serial port: see [VM.Type]
	SerialLog string // what the first serial port prints; made anew. QEMU's own words go to the same name with ".qemu"
	ReportLog string // what the guest writes to the virtio serial port "report"; empty means there is none
}

// firmwareCode and firmwareVars are OVMF's two flash images, as Debian and Ubuntu install them.
const (
	firmwareCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// programs are QEMU's, one for each architecture.
var programs = map[Arch]string{AMD64: "qemu-system-x86_64", ARM64: "qemu-system-aarch64"}

// Missing says what is missing here to boot machines; nil means nothing is.
func Missing() error { return MissingFor(AMD64) }

// MissingFor says what is missing here to boot machines of an architecture.
func MissingFor(arch Arch) error {
	return need.Programs("a virtual machine of the lab", programs[arch])
}

// MissingPVSCSI says what is missing here to start by UEFI from a disk on PVSCSI.
func MissingPVSCSI() error {
	_, err := pvscsiROM()
	return err
}

// pvscsiROM is the file with a driver that the card brings along.
func pvscsiROM() (string, error) {
	cache, err := need.Cache()
	if err != nil {
		return "", err
	}
	rom := filepath.Join(cache, "pvscsi.rom")
	if _, err := os.Stat(rom); err != nil {
		return "", fmt.Errorf("OVMF has no driver for pvscsi; to build one: tests/lab/qemu/pvscsi-rom.sh .cache/lab/pvscsi.rom: %w", err)
	}
	return rom, nil
}

func (m Machine) arch() Arch {
	if m.Arch == "" {
		return AMD64
	}
	return m.Arch
}

func (m Machine) check() error {
	if len(m.Disks) == 0 && m.Direct == nil || m.SerialLog == "" {
		return errors.New("a machine needs a disk or a kernel, and a serial log")
	}
	if programs[m.arch()] == "" || m.arch() != AMD64 && m.Direct == nil {
		return fmt.Errorf("a machine of architecture %q cannot boot like this", m.Arch)
	}
	if m.Direct == nil && m.Firmware != BIOS && m.Firmware != UEFI {
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
func (m Machine) vars() string { return cmp.Or(m.Vars, m.SerialLog+".vars") }

// keyboard is the socket on which the first serial port hears.
func (m Machine) keyboard() string { return m.SerialLog + ".in" }

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
		"-accel", "tcg,thread=multi", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
	}
	if m.Typed {
		args = append(args, "-chardev", "socket,id=typed,server=on,wait=off,path="+escape(m.keyboard())+",logfile="+escape(m.SerialLog), "-serial", "chardev:typed")
	} else {
		args = append(args, "-serial", "file:"+m.SerialLog)
	}
	args = append(args, m.board()...)
	if m.UUID != "" {
		args = append(args, "-uuid", m.UUID)
	}
	if m.Firmware == UEFI {
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+firmwareCode,
			"-drive", "if=pflash,format=raw,unit=1,file="+escape(m.vars()))
	}
	for n, d := range m.Disks {
		disk, err := d.arguments(n, m.Direct == nil)
		if err != nil {
			return nil, err
		}
		args = append(args, disk...)
	}
	network, err := m.networkArguments()
	return append(args, network...), err
}

// board is the machine's model and what it starts from.
func (m Machine) board() []string {
	board, console := "pc", "ttyS0"
	if m.arch() == ARM64 {
		board, console = "virt", "ttyAMA0"
	}
	if m.Direct == nil {
		// The plain CPU model: a quarter cheaper to emulate than "max", measured on the lab's guest.
		return []string{"-machine", board, "-cpu", cmp.Or(m.CPU, "qemu64")}
	}
	args := []string{
		"-machine", board, "-cpu", "max", "-kernel", m.Direct.Kernel, "-initrd", m.Direct.Initrd,
		"-append", "console=" + console + " " + m.Direct.Append,
	}
	if m.ReportLog != "" {
		args = append(args, "-device", "virtio-serial-pci", "-chardev", "file,id=report,path="+escape(m.ReportLog),
			"-device", "virtserialport,chardev=report,name=report")
	}
	return args
}

func (d Disk) arguments(n int, bootable bool) ([]string, error) {
	id := "disk" + strconv.Itoa(n)
	format := d.Format
	if format == "" {
		format = "raw"
	}
	drive := fmt.Sprintf("if=none,id=%s,format=%s,cache=unsafe,discard=unmap,file.filename=%s", id, format, escape(d.Path))
	if d.Snapshot {
		drive += ",snapshot=on"
	}
	boot, fua := ",drive="+id, ""
	serial := id
	if d.Serial != "" {
		boot, serial = boot+",serial="+d.Serial, d.Serial
	}
	if bootable { // a kernel that is given has the first place
		boot += fmt.Sprintf(",bootindex=%d", n)
	}
	if d.FUA {
		fua = ",dpofua=on"
	}
	args := []string{"-drive", drive}
	switch d.Bus {
	case Virtio:
		return append(args, "-device", "virtio-blk-pci"+boot), nil
	case SCSI:
		return append(args, "-device", "virtio-scsi-pci,id=bus-"+id, "-device", "scsi-hd,bus=bus-"+id+".0"+boot+fua), nil
	case PVSCSI:
		card := "pvscsi,id=bus-" + id
		if rom, err := pvscsiROM(); err == nil { // without it, too, a machine starts by BIOS
			card += ",romfile=" + escape(rom)
		}
		return append(args, "-device", card, "-device", "scsi-hd,bus=bus-"+id+".0"+boot), nil
	case NVMe:
		return append(args, "-device", "nvme"+withSerial(boot, serial)), nil
	case IDE:
		return append(args, "-device", "ide-hd"+boot), nil
	}
	return nil, fmt.Errorf("%q is no bus", d.Bus)
}

// withSerial adds a serial number to properties that have none.
func withSerial(properties, serial string) string {
	if strings.Contains(properties, ",serial=") {
		return properties
	}
	return properties + ",serial=" + serial
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
