package drive

import "io"

// System is where drives and volumes are opened.
type System interface {
	// Drive opens \\.\PhysicalDriveN past the cache; the error is fs.ErrNotExist where there is none of that number.
	Drive(number uint32) (Handle, error)
	// Volumes names the volumes, mounted or not: \\?\Volume{GUID}\.
	Volumes() ([]string, error)
	// Volume opens a volume or a shadow copy of one past the cache, by its name.
	Volume(name string) (Handle, error)
	// SystemVolume names the volume that Windows runs from.
	SystemVolume() (string, error)
}

// Handle is an open drive or volume.
type Handle interface {
	io.ReaderAt // whole sectors, into memory aligned to them
	io.Closer
	// Control is DeviceIoControl: it answers into out and gives how much. The error is [ErrMore] if out is too small.
	Control(code uint32, in, out []byte) (n int, err error)
}

// The requests that are made (winioctl.h, ntddvol.h).
const (
	getLength        = 0x7405c  // IOCTL_DISK_GET_LENGTH_INFO
	getLayout        = 0x70050  // IOCTL_DISK_GET_DRIVE_LAYOUT_EX
	queryProperty    = 0x2d1400 // IOCTL_STORAGE_QUERY_PROPERTY
	volumeExtents    = 0x560000 // IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS
	allowAllOfVolume = 0x90083  // FSCTL_ALLOW_EXTENDED_DASD_IO
)
