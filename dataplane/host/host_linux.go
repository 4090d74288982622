package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BootClock is the time since boot, suspended time included.
func BootClock() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the boot clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// BootID names this boot of the machine; another boot has another name.
func BootID() (string, error) {
	body, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(body)), nil
}

// InstallationID is what the operating system calls this installation of itself; it is empty where it has no name for it.
func InstallationID() (string, error) {
	body, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the machine id: %w", err)
	}
	return strings.TrimSpace(string(body)), nil
}

// BodyID is what the firmware calls this machine (SMBIOS, DSP0134: the system's UUID), whatever is installed on it. It is
// empty where the firmware has no name for it, or tells it to the administrator only.
func BodyID() (string, error) {
	body, err := os.ReadFile("/sys/class/dmi/id/product_uuid")
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("read the UUID of the machine: %w", err)
	}
	return strings.ToLower(strings.TrimSpace(string(body))), nil
}

// MakePrivate makes a folder that only the agent's user, and the administrator, can look into.
func MakePrivate(dir string) error { return os.MkdirAll(dir, 0o700) }

// Lock takes the file for this process, or fails at once. The lock ends with the file's last handle.
func Lock(file *os.File) error {
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return nil
}

// Replace puts a file, whose content is on stable storage, in the place of another. The new name is on stable storage when
// Replace returns nil.
func Replace(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Map maps the first size bytes of the file, shared. The mapping outlives the file's handle.
func Map(file *os.File, size int) (*Mapping, error) {
	bytes, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", file.Name(), err)
	}
	return &Mapping{bytes: bytes}, nil
}

// Reserve gives zeroed memory that costs nothing until it is touched.
func Reserve(size int) (*Mapping, error) {
	bytes, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	return &Mapping{bytes: bytes}, nil
}

// Close lets go of the memory.
func (m *Mapping) Close() error {
	bytes := m.bytes
	m.bytes = nil
	return unix.Munmap(bytes)
}
