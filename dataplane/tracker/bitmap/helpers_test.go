package bitmap

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func parse(id string) (farshore.DiskID, error) { return farshore.ParseDiskID(id) }

// resize grows the file behind the loop device and tells the driver.
func resize(loop *disk.Loop, bytes int64) error {
	info, err := unix.IoctlLoopGetStatus64(int(loop.Node().Fd()))
	if err != nil {
		return err
	}
	path := unix.ByteSliceToString(info.File_name[:])
	return errors.Join(os.Truncate(path, bytes), unix.IoctlSetInt(int(loop.Node().Fd()), unix.LOOP_SET_CAPACITY, 0))
}
