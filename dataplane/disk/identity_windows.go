package disk

import "farshore/dataplane/windows/drive"

// hardwareName is what the drive calls itself, or the name of its partition table.
func hardwareName(d *Device) string {
	if !d.node {
		return ""
	}
	return drive.Name(d.drive)
}

func backingName(d *Device) string { return d.path }
