package host

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// BootClock is the time since boot, time asleep included. It moves in steps of up to 16 ms.
func BootClock() (time.Duration, error) { return windows.DurationSinceBoot(), nil }

// timeOfDay is SYSTEM_TIMEOFDAY_INFORMATION. Setting the clock moves BootTime and BootTimeBias by the same amount, so their
// difference is the instant of boot by the clock as it was then.
type timeOfDay struct {
	BootTime      int64
	CurrentTime   int64
	TimeZoneBias  int64
	TimeZoneID    uint32
	_             uint32
	BootTimeBias  uint64
	SleepTimeBias uint64
}

const systemTimeOfDayInformation = 3

// BootID names this boot of the machine, by its instant in units of 100 ns. A start out of hibernation, Fast Startup
// included, goes on with the boot it was.
func BootID() (string, error) {
	var t timeOfDay
	var n uint32
	if err := windows.NtQuerySystemInformation(systemTimeOfDayInformation, unsafe.Pointer(&t), uint32(unsafe.Sizeof(t)), &n); err != nil {
		return "", fmt.Errorf("ask when the system was started: %w", err)
	}
	return fmt.Sprintf("boot-%016x", uint64(t.BootTime)-t.BootTimeBias), nil
}

// InstallationID is what the operating system calls this installation of itself; it is empty where it has no name for it.
func InstallationID() (string, error) {
	return registered(`SOFTWARE\Microsoft\Cryptography`, "MachineGuid")
}

// BodyID is what the firmware calls this machine (SMBIOS, DSP0134: the system's UUID), whatever is installed on it, as the
// system noted it when it last started. It is empty where there is no such note.
func BodyID() (string, error) {
	id, err := registered(`SYSTEM\HardwareConfig`, "LastConfig")
	return strings.ToLower(strings.Trim(id, "{}")), err
}

// registered reads a text of the machine's registry; it is empty if there is none.
func registered(path, value string) (string, error) {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if errors.Is(err, registry.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s of the registry: %w", path, err)
	}
	defer key.Close() //nolint:errcheck // only read
	text, _, err := key.GetStringValue(value)
	if err != nil && !errors.Is(err, registry.ErrNotExist) {
		return "", fmt.Errorf("read %s of the registry: %w", value, err)
	}
	return text, nil
}

// privateAccess lets the system and the administrators in, and inherits nothing from the folder above: below %ProgramData%
// everybody could read.
const privateAccess = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"

// MakePrivate makes a folder, and those above it, that only the system and the administrators can look into. One that is
// there is left as it is.
func MakePrivate(dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	if above := filepath.Dir(dir); above != dir {
		if err := MakePrivate(above); err != nil {
			return err
		}
	}
	descriptor, err := windows.SecurityDescriptorFromString(privateAccess)
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	with := windows.SecurityAttributes{SecurityDescriptor: descriptor}
	with.Length = uint32(unsafe.Sizeof(with))
	if err := windows.CreateDirectory(name, &with); err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// Lock takes the file for this process, or fails at once. The lock ends with the file's last handle. It lies far behind any
// content: Windows keeps others from bytes that are locked.
func Lock(file *os.File) error {
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(file.Fd()), how, 0, 1, 0, &windows.Overlapped{OffsetHigh: math.MaxInt32})
	if err != nil {
		return fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return nil
}

// Replace puts a file, whose content is on stable storage, in the place of another. NTFS keeps names in its own log, which
// MOVEFILE_WRITE_THROUGH waits for.
func Replace(from, to string) error {
	old, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	name, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if err := windows.MoveFileEx(old, name, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// Map maps the first size bytes of the file, shared. The mapping outlives the file's handle.
func Map(file *os.File, size int) (*Mapping, error) {
	section, err := windows.CreateFileMapping(windows.Handle(file.Fd()), nil, windows.PAGE_READWRITE, uint32(uint64(size)>>32), uint32(size), nil)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", file.Name(), err)
	}
	m, err := view(section, size)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", file.Name(), err)
	}
	return m, nil
}

// Reserve gives zeroed memory that costs nothing but a promise of the system until it is touched.
func Reserve(size int) (*Mapping, error) {
	section, err := windows.CreateFileMapping(windows.InvalidHandle, nil, windows.PAGE_READWRITE, uint32(uint64(size)>>32), uint32(size), nil)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	m, err := view(section, size)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	return m, nil
}

func view(section windows.Handle, size int) (*Mapping, error) {
	at, err := windows.MapViewOfFile(section, windows.FILE_MAP_READ|windows.FILE_MAP_WRITE, 0, 0, uintptr(size))
	if err != nil {
		return nil, errors.Join(err, windows.CloseHandle(section))
	}
	// The address is of memory outside Go's heap; reading it through a pointer to it keeps vet's rule for uintptr.
	base := *(*unsafe.Pointer)(unsafe.Pointer(&at))
	return &Mapping{bytes: unsafe.Slice((*byte)(base), size), section: uintptr(section)}, nil
}

// Close lets go of the memory.
func (m *Mapping) Close() error {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(m.bytes)))
	m.bytes = nil
	return errors.Join(windows.UnmapViewOfFile(at), windows.CloseHandle(windows.Handle(m.section)))
}
