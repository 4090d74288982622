package rescue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/rescue/medium"
	"farshore/fault"
)

const (
	efiFolder = "/sys/firmware/efi"
	efivars   = efiFolder + "/efivars"
)

// mounts are what the kernel offers. Everything else lies in the initial RAM file system, which nothing may hide: it holds the
// files that the image was built with.
var mounts = []struct{ kind, at string }{
	{"proc", "/proc"},
	{"sysfs", "/sys"},
	{"devtmpfs", "/dev"},
}

// Prepare makes the system usable: mounts, drivers, a name. Drivers that do not load are passed over and said: what they are for
// may not be there.
func Prepare(log *slog.Logger) error {
	for _, m := range mounts {
		if err := errors.Join(os.MkdirAll(m.at, 0o755), unix.Mount(m.kind, m.at, m.kind, 0, "")); err != nil {
			return stuck("mount "+m.at, err)
		}
	}
	if err := loadDrivers(log); err != nil {
		return err
	}
	if Firmware() == farshore.UEFI {
		if err := unix.Mount("efivarfs", efivars, "efivarfs", 0, ""); err != nil {
			log.Warn("the variables of the firmware cannot be seen", "err", err)
		}
	}
	return nil
}

// Firmware is what started this metal.
func Firmware() farshore.Firmware {
	if _, err := os.Stat(efiFolder); err == nil {
		return farshore.UEFI
	}
	return farshore.BIOS
}

// loadDrivers loads what was packed, in its order.
func loadDrivers(log *slog.Logger) error {
	list, err := os.ReadFile("/" + medium.DriverList)
	if err != nil {
		return stuck("read the list of drivers", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		f, err := os.Open(filepath.Join("/", medium.DriverFolder, name+".ko"))
		if err != nil {
			return stuck("read a driver", err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		if err := errors.Join(err, f.Close()); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EEXIST) {
			log.Warn("a driver does not load", "driver", name, "err", err)
		}
	}
	return nil
}

func stuck(what string, err error) error {
	return &fault.Fault{
		Code: "FS-4125", Kind: fault.Operator, Subject: "rescue system", What: "it could not " + what,
		Remedy: "build the image anew, with another kernel if need be; see docs/operate/failback.md", Err: err,
	}
}

// CommandLine gives the value of a word of the kernel's command line, such as ip=dhcp.
func CommandLine(key string) string {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return ""
	}
	value := ""
	for word := range strings.FieldsSeq(string(line)) {
		if v, ok := strings.CutPrefix(word, key+"="); ok {
			value = v
		}
	}
	return value
}

// Restart starts the metal anew. What was written was flushed before; nothing is synced here.
func Restart() error {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
}
