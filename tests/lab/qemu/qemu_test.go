package qemu_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"farshore/tests/blockwriter"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/guest/guesttest"
	"farshore/tests/lab/qemu"
)

var (
	loginPrompt = regexp.MustCompile(`login: ?$`)
	verifyLine  = regexp.MustCompile(blockwriter.ConsolePrefix + `.*}$`)
)

// guestImage gives the bootable image, or skips loudly.
func guestImage(t *testing.T) string {
	t.Helper()
	if err := qemu.Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	return guesttest.Image(t)
}

// boot starts a machine that the test's end stops.
func boot(t *testing.T, m qemu.Machine) *qemu.VM {
	t.Helper()
	vm, err := qemu.Boot(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Stop)
	return vm
}

// report waits for the guest's verdict on its disk and then for its login prompt.
func report(t *testing.T, vm *qemu.VM) blockwriter.Report {
	t.Helper()
	started := time.Now()
	line, err := vm.WaitFor(t.Context(), verifyLine)
	if err == nil {
		_, err = vm.WaitFor(t.Context(), loginPrompt)
	}
	if err != nil {
		t.Fatal(err)
	}
	cpu, err := vm.CPU()
	t.Logf("login prompt after %.1f s, %.1f s of processor time (%v)", time.Since(started).Seconds(), cpu.Seconds(), err)
	r, err := blockwriter.ParseConsole(line)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// virtio is in TestARecoveredGuestVerifiesWhatWasWrittenToItsDisk.
func TestTheGuestBootsFromEveryControllerByBothFirmwares(t *testing.T) {
	image := guestImage(t)
	rows := []struct {
		name string
		m    qemu.Machine
	}{
		{"BIOS, IDE", qemu.Machine{Firmware: qemu.BIOS, Disks: []qemu.Disk{{Bus: qemu.IDE}}}},
		{"BIOS, PVSCSI, VMXNET3", qemu.Machine{Firmware: qemu.BIOS, Disks: []qemu.Disk{{Bus: qemu.PVSCSI}}, Network: qemu.Isolated, NIC: qemu.VMXNet3}},
		{"UEFI, NVMe", qemu.Machine{Firmware: qemu.UEFI, Disks: []qemu.Disk{{Bus: qemu.NVMe}}}},
		{"UEFI, PVSCSI, VMXNET3", qemu.Machine{Firmware: qemu.UEFI, Disks: []qemu.Disk{{Bus: qemu.PVSCSI}}, Network: qemu.Isolated, NIC: qemu.VMXNet3}},
		{"UEFI, SCSI, network", qemu.Machine{Firmware: qemu.UEFI, Disks: []qemu.Disk{{Bus: qemu.SCSI}}, Network: qemu.Isolated}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := row.m
			if err := qemu.MissingPVSCSI(); err != nil && m.Firmware == qemu.UEFI && m.Disks[0].Bus == qemu.PVSCSI {
				t.Skipf("SKIPPED: %v", err)
			}
			m.Disks[0].Path, m.Disks[0].Snapshot = image, true
			m.SerialLog = filepath.Join(t.TempDir(), "serial.log")
			if r := report(t, boot(t, m)); !r.OK || r.Found {
				t.Errorf("a fresh disk is reported as %+v", r)
			}
		})
	}
}

func TestARecoveredGuestVerifiesWhatWasWrittenToItsDisk(t *testing.T) {
	image := guestImage(t)
	dir := t.TempDir()
	copied, log := filepath.Join(dir, "disk.img"), filepath.Join(dir, "log")
	if err := guest.Copy(t.Context(), image, copied); err != nil {
		t.Fatal(err)
	}
	disk, err := guest.Attach(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Detach(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	w, err := blockwriter.New(blockwriter.Options{Dir: filepath.Join(disk.Root, "var/lib/blockwriter"), Log: log, Seed: 1, Ops: 500})
	if err == nil {
		err = w.Run(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	// Power cut: the disk as it is, while the file system is still mounted.
	cut := filepath.Join(dir, "cut.img")
	copyDevice(t, disk.Device, cut)
	vm := boot(t, qemu.Machine{Firmware: qemu.BIOS, Disks: []qemu.Disk{{Path: cut, Bus: qemu.Virtio}}, SerialLog: filepath.Join(dir, "serial.log")})
	r := report(t, vm)
	runs, err := blockwriter.ReadLog(log)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := runs[0].AckedBy(time.Time{})
	if !r.OK || !r.Found || r.LastSeq < want.Seq-1 || r.Stamped == 0 {
		t.Errorf("the guest reports %+v; %d was acknowledged", r, want.Seq)
	}
	vm.Stop()
	if vm.Running() {
		t.Error("the machine runs after Stop")
	}
}

// copyDevice reads a device past the page cache of the mounted file system by way of the loop's backing file, which
// holds exactly what reached the disk.
func copyDevice(t *testing.T, device, to string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Copy(t.Context(), strings.TrimSpace(string(raw)), to); err != nil {
		t.Fatal(err)
	}
}

func TestAMachineThatCannotStartSaysWhy(t *testing.T) {
	if err := qemu.Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	m := qemu.Machine{Firmware: qemu.BIOS, Disks: []qemu.Disk{{Path: disk, Bus: qemu.Virtio, Format: "nonsense"}}, SerialLog: filepath.Join(dir, "serial.log")}
	if _, err := qemu.Boot(t.Context(), m); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("Boot = %v, want QEMU's complaint about the format", err)
	}
}

func TestAnUnbootableDiskEndsTheWaitWithTheConsole(t *testing.T) {
	if err := qemu.Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	vm := boot(t, qemu.Machine{Firmware: qemu.BIOS, Disks: []qemu.Disk{{Path: disk, Bus: qemu.IDE}}, SerialLog: filepath.Join(dir, "serial.log")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := vm.WaitFor(ctx, loginPrompt); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitFor = %v, want %v", err, context.Canceled)
	}
	vm.Stop()
	if _, err := vm.WaitFor(t.Context(), loginPrompt); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("WaitFor on a stopped machine = %v", err)
	}
}
