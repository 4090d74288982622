package drive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Local is the system that this program runs on.
type Local struct{}

var _ System = Local{}

// Drive opens a drive.
func (Local) Drive(number uint32) (Handle, error) { return open(Path(number)) }

// Volume opens a volume or a shadow copy. The device is meant, not its root folder, so no backslash ends its name.
func (Local) Volume(name string) (Handle, error) { return open(strings.TrimSuffix(name, `\`)) }

func open(path string) (Handle, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(name, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_NO_BUFFERING, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return handle(h), nil
}

// Volumes names the volumes.
func (Local) Volumes() (names []string, err error) {
	var name [windows.MAX_PATH]uint16
	find, err := windows.FindFirstVolume(&name[0], uint32(len(name)))
	if err != nil {
		return nil, fmt.Errorf("begin with the volumes: %w", err)
	}
	defer func() { err = errors.Join(err, windows.FindVolumeClose(find)) }()
	for err == nil {
		names = append(names, windows.UTF16ToString(name[:]))
		err = windows.FindNextVolume(find, &name[0], uint32(len(name)))
	}
	if errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		err = nil
	}
	return names, err
}

// SystemVolume names the volume that Windows runs from.
func (Local) SystemVolume() (string, error) {
	dir, err := windows.GetSystemWindowsDirectory()
	if err != nil {
		return "", err
	}
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(dir) + `\`)
	if err != nil {
		return "", err
	}
	var name [windows.MAX_PATH]uint16
	if err := windows.GetVolumeNameForVolumeMountPoint(root, &name[0], uint32(len(name))); err != nil {
		return "", fmt.Errorf("name the volume of %s: %w", dir, err)
	}
	return windows.UTF16ToString(name[:]), nil
}

// handle is an open device, used by calls that say the offset: it is safe for concurrent use.
type handle windows.Handle

func (h handle) Control(code uint32, in, out []byte) (int, error) {
	var n uint32
	err := windows.DeviceIoControl(windows.Handle(h), code, unsafe.SliceData(in), uint32(len(in)), unsafe.SliceData(out), uint32(len(out)), &n, nil)
	if errors.Is(err, windows.ERROR_MORE_DATA) || errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) {
		return 0, ErrMore
	}
	return int(n), err
}

func (h handle) ReadAt(p []byte, offset int64) (int, error) {
	at := windows.Overlapped{Offset: uint32(offset), OffsetHigh: uint32(offset >> 32)}
	var n uint32
	err := windows.ReadFile(windows.Handle(h), p, &n, &at)
	if errors.Is(err, windows.ERROR_HANDLE_EOF) || err == nil && int(n) < len(p) {
		err = io.EOF
	}
	return int(n), err
}

func (h handle) Close() error { return windows.CloseHandle(windows.Handle(h)) }
