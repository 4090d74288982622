package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const maxLoopTries = 64

// Loop is a block device made of a file. The tracker's self-test writes to one; nothing else in the product does.
type Loop struct {
	Path string // of the device node
	node *os.File
}

// AttachLoop makes a loop device of the file. It needs root and the loop driver.
func AttachLoop(path string) (*Loop, error) {
	backing, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("attach a loop device: %w", err)
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("attach a loop device: %w", err)
	}
	defer control.Close()
	for range maxLoopTries { // another process may take the free device first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := configure(fmt.Sprintf("/dev/loop%d", n), backing)
		if err == nil {
			return loop, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach a loop device to %s: %w", path, err)
		}
	}
	return nil, fmt.Errorf("attach a loop device to %s: %d devices were taken away", path, maxLoopTries)
}

func configure(node string, backing *os.File) (*Loop, error) {
	device, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(backing.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR // it goes with whoever holds it, also when that is killed
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return &Loop{Path: node, node: device}, nil
}

// Node is the open device, for writing.
func (l *Loop) Node() *os.File { return l.node }

// Detach takes the device away from its file.
func (l *Loop) Detach() error {
	err := unix.IoctlSetInt(int(l.node.Fd()), unix.LOOP_CLR_FD, 0)
	if err = errors.Join(err, l.node.Close()); err != nil {
		return fmt.Errorf("detach %s: %w", l.Path, err)
	}
	return nil
}
