package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/windows"

	"farshore"
)

// maxDrives bounds the numbers that are tried: Windows numbers drives from 0 and leaves holes where drives were taken away.
const maxDrives = 128

// Find lists the physical disks of the machine.
func Find() ([]Source, error) {
	var found []Source
	for n := range maxDrives {
		path := fmt.Sprintf("%s%d", drivePrefix, n)
		d, err := open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the disks: %w", err)
		}
		size, serr := d.Sectors()
		if err := d.Close(); err != nil {
			return nil, err
		}
		if serr == nil && size > 0 { // a reader without a medium has no size
			found = append(found, Source{Path: path, Boot: n == 0})
		}
	}
	return found, nil
}

func firmware() farshore.Firmware {
	const uefi = 2 // FirmwareTypeUefi
	var kind uint32
	ok, _, _ := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetFirmwareType").Call(uintptr(unsafe.Pointer(&kind)))
	if ok != 0 && kind == uefi {
		return farshore.UEFI
	}
	return farshore.BIOS
}

func memoryBytes() uint64 {
	status := struct {
		Length, Load                                                        uint32
		TotalPhys, AvailPhys, TotalPage, AvailPage, TotalVirtual, AvailVirt uint64
		AvailExtended                                                       uint64
	}{}
	status.Length = uint32(unsafe.Sizeof(status))
	if ok, _, _ := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx").Call(uintptr(unsafe.Pointer(&status))); ok == 0 {
		return 0
	}
	return status.TotalPhys
}

func osName() string {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("Windows %d.%d build %d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
}
