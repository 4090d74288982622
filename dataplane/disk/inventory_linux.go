package disk

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"farshore"
)

// Find lists the physical disks of the machine; the one that holds /boot, or else the root file system, is the boot disk.
func Find() ([]Source, error) {
	names, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, fmt.Errorf("list the disks: %w", err)
	}
	var found []Source
	for _, n := range names {
		if path := filepath.Join("/dev", strings.ReplaceAll(n.Name(), "!", "/")); physical(n.Name()) {
			found = append(found, Source{Path: path})
		}
	}
	return found, markBoot(found)
}

// physical tells disks from what is made of them: loop and RAM disks, device mapper, md, and readers without a medium.
// Memory that can be written past the block layer is none either.
func physical(name string) bool {
	dir := filepath.Join("/sys/block", name)
	for _, made := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"} {
		if strings.HasPrefix(name, made) {
			return false
		}
	}
	return !directAccess(dir) && attribute(filepath.Join(dir, "size")) != "0" && attribute(filepath.Join(dir, "hidden")) != "1"
}

func markBoot(sources []Source) error {
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("find the boot disk: %w", err)
	}
	mounts := parseMounts(string(body))
	for _, point := range []string{"/boot", "/"} {
		for i := range sources {
			if standsOn(mounts, point, nodeNumber(sources[i].Path)) {
				sources[i].Boot = true
				return nil
			}
		}
	}
	return nil
}

func standsOn(mounts []FileSystem, point, number string) bool {
	numbers := map[string]bool{}
	gather("/sys/dev/block/"+number, numbers, 0)
	for _, m := range mounts {
		if m.MountPoint == point && (numbers[m.number] || numbers[nodeNumber(m.Source)]) {
			return true
		}
	}
	return false
}

func firmware() farshore.Firmware {
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		return farshore.UEFI
	}
	return farshore.BIOS
}

func memoryBytes() uint64 {
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return 0
	}
	return uint64(memory.Totalram) * uint64(memory.Unit)
}

func osName() string { return prettyName("/etc/os-release") }

func prettyName(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"'`)
		}
	}
	return ""
}
