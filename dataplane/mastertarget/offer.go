package mastertarget

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
)

// firmwareUUID is the UUID that the firmware of a VM on VMware has; empty on anything else, or where it may not be read.
func firmwareUUID() string {
	vendor, err := os.ReadFile("/sys/class/dmi/id/sys_vendor")
	if err != nil || !strings.HasPrefix(string(vendor), "VMware") {
		return ""
	}
	id, err := os.ReadFile("/sys/class/dmi/id/product_uuid")
	if err != nil {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(string(id)))
}

// offered looks at what may be written now. What a device holds is read once, and again when sinks have come or gone.
func (t *Target) offered() (devices []Device, folders []Folder) {
	for _, pattern := range t.deps.Settings.Devices {
		found, _ := filepath.Glob(pattern) // checked when the configuration was read
		for _, path := range found {
			bytes, err := disk.Writable(path)
			d := Device{Path: path, Bytes: bytes}
			if err != nil {
				d.Busy = err.Error()
			} else if about, err := t.about(path); err == nil { // what cannot be read shows when it is taken
				d.Model, d.Serial, d.Holds = about.Model, about.Serial, about.Holds
			}
			devices = append(devices, d)
		}
	}
	for _, path := range t.deps.Settings.Folders {
		var room unix.Statfs_t
		if err := unix.Statfs(path, &room); err == nil {
			folders = append(folders, Folder{Path: path, Free: int64(room.Bavail) * room.Bsize})
		}
	}
	return devices, folders
}

// about describes a device as it was when it was looked at first.
func (t *Target) about(path string) (disk.About, error) {
	t.mu.Lock()
	known, ok := t.known[path]
	t.mu.Unlock()
	if ok {
		return known, nil
	}
	known, err := disk.Describe(path)
	if err == nil {
		t.mu.Lock()
		t.known[path] = known
		t.mu.Unlock()
	}
	return known, err
}

// lookAgain forgets what was known of devices.
func (t *Target) lookAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.known)
}
