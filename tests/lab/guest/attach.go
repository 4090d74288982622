package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"farshore/fault"
	"farshore/tests/lab/need"
)

// Disk is an attached image: a whole disk of this machine, with a mounted file system.
type Disk struct {
	Image  string // the file behind it
	Device string // the whole disk: "/dev/loop3"
	Root   string // where its file system is mounted
}

// Attach puts a bootable image behind a loop device and mounts its root partition on a directory beside the image.
func Attach(ctx context.Context, image string) (*Disk, error) {
	return attach(ctx, image, RootPartition)
}

// FileSystem names what [Plain] can make.
type FileSystem string

// The file systems of plain disks.
const (
	Ext4 FileSystem = "ext4"
	XFS  FileSystem = "xfs"
)

// Plain makes an image of a size at a path with one file system on the whole disk, and attaches it.
func Plain(ctx context.Context, image string, sizeBytes int64, system FileSystem) (*Disk, error) {
	if err := need.Root("a plain disk of the lab"); err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(image, nil, 0o644), os.Truncate(image, sizeBytes)); err != nil {
		return nil, fmt.Errorf("make a plain disk: %w", err)
	}
	mkfs := []string{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image}
	if system == XFS {
		mkfs = []string{"mkfs.xfs", "-q", "-f", image}
	}
	if _, err := need.Run(ctx, mkfs[0], mkfs[1:]...); err != nil {
		return nil, err
	}
	return attach(ctx, image, 0)
}

// attach mounts partition n of an image, or the whole of it if n is 0.
func attach(ctx context.Context, image string, n int) (_ *Disk, err error) {
	if err := need.Root("an attached disk of the lab"); err != nil {
		return nil, err
	}
	image, err = filepath.Abs(image)
	if err != nil {
		return nil, fmt.Errorf("attach an image: %w", err)
	}
	if devices, err := loopsOf(image); err != nil || len(devices) > 0 {
		return nil, errors.Join(err, attachedAlready(image, devices))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Release(context.WithoutCancel(ctx), image))
		}
	}()
	out, err := need.Run(ctx, "losetup", "--find", "--show", image)
	if err != nil {
		return nil, err
	}
	d := &Disk{Image: image, Device: strings.TrimSpace(out), Root: mountPoint(image)}
	node := d.Device
	if n > 0 {
		if node, err = partition(ctx, d.Device, n); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(d.Root, 0o755); err != nil {
		return nil, fmt.Errorf("make the mount point: %w", err)
	}
	if _, err := need.Run(ctx, "mount", node, d.Root); err != nil {
		return nil, err
	}
	return d, nil
}

func mountPoint(image string) string { return image + ".mnt" }

func attachedAlready(image string, devices []string) error {
	if len(devices) == 0 {
		return nil
	}
	return &fault.Fault{
		Code: "FS-9304", Kind: fault.Refused, Subject: image,
		What: "is attached already, as " + strings.Join(devices, ", "), Remedy: "detach it first, or use a copy of the image",
	}
}

// partition announces the partitions of a disk to the kernel and gives the node of one of them.
func partition(ctx context.Context, device string, n int) (string, error) {
	if _, err := need.Run(ctx, "partx", "--update", device); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%sp%d", filepath.Base(device), n)
	raw, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), name, "dev"))
	if err != nil {
		return "", fmt.Errorf("find partition %d of %s: %w", n, device, err)
	}
	node := filepath.Join(filepath.Dir(device), name)
	if _, err := os.Stat(node); err == nil {
		return node, nil
	}
	major, minor, err := parseDev(strings.TrimSpace(string(raw)))
	if err != nil {
		return "", err
	}
	// Without devtmpfs nobody else makes the node.
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return "", fmt.Errorf("make the node %s: %w", node, err)
	}
	return node, nil
}

func parseDev(text string) (major, minor uint32, err error) {
	a, b, _ := strings.Cut(text, ":")
	x, err1 := strconv.ParseUint(a, 10, 32)
	y, err2 := strconv.ParseUint(b, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, fmt.Errorf("read the device number %q: %w", text, err)
	}
	return uint32(x), uint32(y), nil
}

// Detach unmounts the disk and frees its loop device. Calling it again does nothing.
func (d *Disk) Detach(ctx context.Context) error { return Release(ctx, d.Image) }

// Release unmounts and detaches whatever is attached of an image, by this process or by one that died.
func Release(ctx context.Context, image string) error {
	image, err := filepath.Abs(image)
	if err != nil {
		return fmt.Errorf("release an image: %w", err)
	}
	devices, err := loopsOf(image)
	if err != nil {
		return err
	}
	for _, device := range devices {
		if err := releaseDevice(ctx, device); err != nil {
			return err
		}
	}
	if err := os.Remove(mountPoint(image)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the mount point: %w", err)
	}
	return nil
}

func releaseDevice(ctx context.Context, device string) error {
	numbers, nodes, err := numbersOf(device)
	if err != nil {
		return err
	}
	mounts, err := mountsOf(numbers)
	if err != nil {
		return err
	}
	slices.Reverse(mounts) // the last mounted first
	for _, at := range mounts {
		if _, err := need.Run(ctx, "umount", at); err != nil {
			return err
		}
	}
	if len(nodes) > 0 {
		if _, err := need.Run(ctx, "partx", "--delete", device); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		if err := os.Remove(node); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the node %s: %w", node, err)
		}
	}
	_, err = need.Run(ctx, "losetup", "--detach", device)
	return err
}

// loopsOf lists the loop devices that have the image behind them.
func loopsOf(image string) ([]string, error) {
	backings, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, fmt.Errorf("list loop devices: %w", err)
	}
	var devices []string
	for _, path := range backings {
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // detached just now
		}
		if err != nil {
			return nil, fmt.Errorf("list loop devices: %w", err)
		}
		if file := strings.TrimSpace(string(raw)); strings.TrimSuffix(file, " (deleted)") == image {
			devices = append(devices, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(path))))
		}
	}
	return devices, nil
}

// numbersOf gives the device numbers of a disk and of its partitions, and the partitions' nodes.
func numbersOf(device string) (numbers, nodes []string, err error) {
	base := filepath.Base(device)
	paths, err := filepath.Glob(filepath.Join("/sys/block", base, base+"p*", "dev"))
	if err != nil {
		return nil, nil, fmt.Errorf("list the partitions of %s: %w", device, err)
	}
	for _, path := range append(paths, filepath.Join("/sys/block", base, "dev")) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("read a device number: %w", err)
		}
		numbers = append(numbers, strings.TrimSpace(string(raw)))
	}
	for _, path := range paths {
		nodes = append(nodes, "/dev/"+filepath.Base(filepath.Dir(path)))
	}
	return numbers, nodes, nil
}

// mountsOf lists where file systems on these devices are mounted, in the order of mounting.
func mountsOf(numbers []string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && slices.Contains(numbers, fields[2]) {
			mounts = append(mounts, strings.ReplaceAll(fields[4], `\040`, " "))
		}
	}
	if err := errors.Join(lines.Err(), f.Close()); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return mounts, nil
}
