package disk

// hardwareName is empty: the partition table names the disk.
func hardwareName(*Device) string { return "" }

func backingName(d *Device) string { return d.path }
