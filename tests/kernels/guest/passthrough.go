package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
)

// passthrough writes past the block layer: no tracker can know where, so it must say that there is a gap.
func passthrough(t *testing.T, at place) {
	write := map[bool]func(*os.File, int64, []byte) error{true: writeNVMe, false: writeSCSI}[strings.Contains(at.node, "nvme")]
	if strings.Contains(at.node, "/vd") {
		t.Skip("SKIPPED: virtio-blk passes no commands through")
	}
	device := disktest.Open(t, at.node)
	d := open(t, farshore.DiskID("passed-"+at.kind), device)
	if gap, err := d.Check(true); gap != "" || err != nil {
		t.Fatalf("before: %q, %v", gap, err)
	}
	f, err := os.OpenFile(at.node, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := disk.Buffer(4096)
	for i := range data {
		data[i] = byte(i * 3)
	}
	const offset = 128 * kib
	if err := errors.Join(write(f, offset, data), f.Close()); err != nil {
		t.Fatal(err)
	}
	got := disk.Buffer(4096)
	if _, err := device.ReadAt(got, offset); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the passed write is not on the disk (%v)", err)
	}
	gap, err := d.Check(false)
	if gap == "" || err != nil {
		t.Errorf("a write that was passed through is no gap: %q, %v", gap, err)
	}
	if err := d.Renew(); err != nil {
		t.Error(err)
	}
	if again, err := d.Check(true); again != "" || err != nil {
		t.Errorf("after the gap was answered: %q, %v", again, err)
	}
	report(t, "passthrough", map[string]any{"Disk": at.kind, "Gap": gap})
}

// sgHeader is struct sg_io_hdr (scsi/sg.h).
type sgHeader struct {
	interfaceID, direction        int32
	commandLen, maxSense          uint8
	vectors                       uint16
	transferLen                   uint32
	transfer, command, sense      uintptr
	timeoutMs, flags              uint32
	packID                        int32
	userPointer                   uintptr
	status, maskedStatus, message uint8
	senseWritten                  uint8
	hostStatus, driverStatus      uint16
	residual                      int32
	durationMs, about             uint32
}

// writeSCSI sends WRITE(10) by SG_IO.
func writeSCSI(f *os.File, offset int64, data []byte) error {
	lba, count := uint32(offset/512), uint16(len(data)/512)
	command := []byte{0x2a, 0, byte(lba >> 24), byte(lba >> 16), byte(lba >> 8), byte(lba), 0, byte(count >> 8), byte(count), 0}
	sense := make([]byte, 32)
	h := sgHeader{
		interfaceID: 'S', direction: -2, commandLen: uint8(len(command)), maxSense: uint8(len(sense)), transferLen: uint32(len(data)),
		transfer: uintptr(unsafe.Pointer(&data[0])), command: uintptr(unsafe.Pointer(&command[0])), sense: uintptr(unsafe.Pointer(&sense[0])),
		timeoutMs: 60000,
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x2285, uintptr(unsafe.Pointer(&h))); errno != 0 {
		return fmt.Errorf("send WRITE(10): %w", errno)
	}
	if h.status != 0 || h.hostStatus != 0 || h.driverStatus != 0 {
		return fmt.Errorf("WRITE(10) ended with status %d, host %d, driver %d", h.status, h.hostStatus, h.driverStatus)
	}
	return nil
}

// nvmeIO is struct nvme_user_io (linux/nvme_ioctl.h).
type nvmeIO struct {
	opcode, flags      uint8
	control            uint16
	blocks, reserved   uint16
	metadata, address  uint64
	start              uint64
	dataset, reference uint32
	tag, mask          uint16
}

// writeNVMe sends a write command by NVME_IOCTL_SUBMIT_IO.
func writeNVMe(f *os.File, offset int64, data []byte) error {
	io := nvmeIO{opcode: 1, blocks: uint16(len(data)/512 - 1), address: uint64(uintptr(unsafe.Pointer(&data[0]))), start: uint64(offset / 512)}
	request := uintptr(1<<30 | unsafe.Sizeof(io)<<16 | 'N'<<8 | 0x42)
	if status, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&io))); errno != 0 || status != 0 {
		return fmt.Errorf("send an NVMe write: status %d, %w", status, errno)
	}
	return nil
}
