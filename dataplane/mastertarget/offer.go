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

// offered looks at what may be written now.
func (s Settings) offered() (devices []Device, folders []Folder) {
	for _, pattern := range s.Devices {
		found, _ := filepath.Glob(pattern) // checked when the configuration was read
		for _, path := range found {
			bytes, err := disk.Writable(path)
			d := Device{Path: path, Bytes: bytes}
			if err != nil {
				d.Busy = err.Error()
			}
			devices = append(devices, d)
		}
	}
	for _, path := range s.Folders {
		var room unix.Statfs_t
		if err := unix.Statfs(path, &room); err == nil {
			folders = append(folders, Folder{Path: path, Free: int64(room.Bavail) * room.Bsize})
		}
	}
	return devices, folders
}
