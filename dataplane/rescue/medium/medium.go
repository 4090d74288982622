package medium

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"farshore/dataplane/rescue/initrd"
	"farshore/fault"
)

// Where the rescue system finds the drivers in its initial RAM file system: the names in loading order, a line each, and the
// modules.
const (
	DriverList   = "lib/drivers"
	DriverFolder = "lib/drivers.d"
)

// Plan says what to build from.
type Plan struct {
	Kernel   string            // file of the kernel
	Modules  string            // folder of its modules: /lib/modules/VERSION
	Firmware string            // folder of the firmware that devices load
	Program  string            // static, and runs as /init
	Files    map[string][]byte // by their whole paths in the image
	Append   string            // more of the kernel's command line
}

// Image is what was built.
type Image struct {
	Disk    string `json:"disk"`    // to be written to a USB stick, or given as a virtual disk
	Kernel  string `json:"kernel"`  // with Initrd, to be started over the network
	Initrd  string `json:"initrd"`  //
	Command string `json:"command"` // file with the kernel's command line
	Drivers int    `json:"drivers"`
	// Lacking is firmware that packed drivers name and the folder of firmware has not: a device that wants it will not work.
	Lacking []string `json:"lacking,omitempty"`
}

// consoles: the last one that is there is where the kernel speaks; the rescue system speaks on all of them.
const consoles = "console=ttyS0,115200 console=tty0"

// Missing says what is missing on this host to build a rescue image; nil means nothing is.
func Missing() error {
	var missing []string
	for _, name := range []string{"grub-mkimage", "sgdisk", "mkfs.vfat", "mmd", "mcopy"} {
		if _, err := find(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return unbuilt("this host lacks "+strings.Join(missing, ", "), "run: apt-get install grub-efi-amd64-bin grub-common gdisk dosfstools mtools", nil)
}

func unbuilt(what, remedy string, err error) error {
	return &fault.Fault{Code: "FS-4120", Kind: fault.Operator, Subject: "rescue image", What: what, Remedy: remedy, Err: err}
}

// find looks also where system programs live: the path of a user may lack it.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

// Build makes the image in a folder, which must not be there yet. The error is a *fault.Fault (FS-4120), and nothing is left then.
func Build(ctx context.Context, p Plan, folder string) (_ Image, err error) {
	if err := Missing(); err != nil {
		return Image{}, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return Image{}, unbuilt("its folder cannot be made", "name a folder that is not there yet, in one that is", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}()
	image := Image{
		Disk: filepath.Join(folder, "rescue.img"), Kernel: filepath.Join(folder, "vmlinuz"),
		Initrd: filepath.Join(folder, "initrd"), Command: filepath.Join(folder, "cmdline"),
	}
	if err := p.files(&image); err != nil {
		return Image{}, err
	}
	if err := p.disk(ctx, image, folder); err != nil {
		return Image{}, unbuilt("its disk cannot be made", "see what the program says, and that the folder has room", err)
	}
	return image, nil
}

func (p Plan) command() string {
	return strings.TrimSpace("quiet loglevel=3 panic=60 " + consoles + " " + p.Append)
}

// files writes all but the disk.
func (p Plan) files(image *Image) error {
	kernel, err := os.ReadFile(p.Kernel)
	if err != nil {
		return unbuilt("there is no kernel", "name a tree with a kernel and its modules: an unpacked package linux-image-amd64 will do", err)
	}
	packed, err := p.pack(image)
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{image.Kernel: kernel, image.Initrd: packed, image.Command: []byte(p.command() + "\n")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return unbuilt("it cannot be written", "see that the folder has room", err)
		}
	}
	return nil
}

// pack makes the initial RAM file system.
func (p Plan) pack(image *Image) ([]byte, error) {
	modules, err := initrd.Load(p.Modules, drivers)
	if err != nil {
		return nil, unbuilt("the kernel's modules cannot be read", "name a tree that holds the kernel's modules beside it", err)
	}
	program, err := os.ReadFile(p.Program)
	if err != nil {
		return nil, unbuilt("its program cannot be read", "run it from an installed program", err)
	}
	var plain bytes.Buffer
	w := initrd.NewArchive(&plain)
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "etc", "mnt", "var/lib"} {
		w.Directory(dir)
	}
	w.Character("dev/console", 5, 1) // the kernel opens it for /init, before anything is mounted
	for _, name := range modules.Order {
		w.File(DriverFolder+"/"+name+".ko", modules.Bodies[name], 0o644)
	}
	w.File(DriverList, []byte(strings.Join(modules.Order, "\n")+"\n"), 0o644)
	image.Drivers = len(modules.Order)
	if image.Lacking, err = p.packFirmware(w, modules.Firmware); err != nil {
		return nil, err
	}
	w.File("init", program, 0o755)
	for _, path := range slices.Sorted(maps.Keys(p.Files)) {
		w.File(strings.TrimPrefix(path, "/"), p.Files[path], 0o600)
	}
	w.End()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true), zstd.WithWindowSize(8<<20)) // the most that kernels take
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(plain.Bytes(), nil), nil
}

// packFirmware packs what drivers name, and says what is not there.
func (p Plan) packFirmware(w *initrd.Archive, names []string) (lacking []string, err error) {
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		found := ""
		for _, suffix := range []string{"", ".xz", ".zst"} { // the kernel unpacks them itself, if it can
			body, err := os.ReadFile(filepath.Join(p.Firmware, name+suffix))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, unbuilt("firmware "+name+" cannot be read", "see: "+p.Firmware, err)
			}
			found = name + suffix
			w.File("lib/firmware/"+found, body, 0o644)
			break
		}
		if found == "" {
			lacking = append(lacking, name)
		}
	}
	return lacking, nil
}

func run(ctx context.Context, name string, args ...string) error {
	path, err := find(name)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
