package disk

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"farshore"
	"farshore/dataplane/windows/drive"
	"farshore/fault"
)

// Find lists the physical drives of the machine. The error is a *fault.Fault (FS-1056).
func Find() ([]Source, error) {
	drives, err := drive.Find(drive.Local{})
	if err != nil {
		return nil, &fault.Fault{
			Code: "FS-1056", Kind: fault.Operator, Subject: "physical drives", What: "they cannot be listed",
			Remedy: "run it as an administrator; a single disk can be named in the configuration file", Err: err,
		}
	}
	var found []Source
	for _, d := range drives {
		found = append(found, Source{Path: drive.Path(d.Number), Boot: d.Starts})
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

const versionKey = `SOFTWARE\Microsoft\Windows NT\CurrentVersion`

// osName is the product with its build, as "winver" shows them.
func osName() string {
	v := windows.RtlGetVersion()
	build := fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, versionKey, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return "Windows " + build
	}
	defer key.Close() //nolint:errcheck // only read
	name, _, err := key.GetStringValue("ProductName")
	if err != nil {
		name = "Windows"
	}
	if revision, _, err := key.GetIntegerValue("UBR"); err == nil {
		build = fmt.Sprintf("%s.%d", build, revision)
	}
	return name + " " + build
}
