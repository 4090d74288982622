package rescue

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/readiness/volume"
	"farshore/dataplane/rescue/medium"
)

// Patterns are the durable names that [Disks] gives.
var Patterns = []string{byID + "/*", byPath + "/*"}

const (
	byID   = "/dev/disk/by-id"
	byPath = "/dev/disk/by-path"
)

// Disk is one disk of the metal.
type Disk struct {
	Path   string // its durable name
	Node   string // "vda"
	Bytes  int64
	Model  string
	Serial string
	Holds  string // in a few words; empty: nothing
}

// Disks looks at the disks that are there, the rescue medium left out, and sees that each has a durable name: by what it calls
// itself, else by the place where it is plugged in.
func Disks() ([]Disk, error) {
	found, err := disk.Find()
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	var all []Disk
	for _, f := range found {
		d, ok, err := look(f.Path)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		name, err := disk.Hardware(f.Path)
		if err != nil {
			return nil, err
		}
		d.Path = durable(name, d.Node, taken)
		taken[d.Path] = true
		if err := link(f.Path, d.Path); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// look tells what a disk is and holds; ok is false for the medium that this system came from.
func look(path string) (d Disk, ok bool, err error) {
	about, err := disk.Describe(path)
	if err != nil {
		return Disk{}, false, err
	}
	dev, err := disk.Open(path)
	if err != nil {
		return Disk{}, false, err
	}
	defer dev.Close() //nolint:errcheck // it was only read
	ours, err := isMedium(dev)
	if err != nil || ours {
		return Disk{}, false, err
	}
	return Disk{
		Node: filepath.Base(path), Bytes: about.Bytes, Model: about.Model, Serial: about.Serial, Holds: about.Holds,
	}, true, nil
}

// isMedium knows a rescue medium by the volume id of its EFI system partition.
func isMedium(r io.ReaderAt) (bool, error) {
	table, err := volume.ReadTable(r)
	if err != nil {
		return false, nil //nolint:nilerr // a damaged table is not one that we made
	}
	for _, p := range table.Partitions {
		if p.Type != volume.TypeESP {
			continue
		}
		v, err := volume.Identify(io.NewSectionReader(r, p.At, p.Bytes), p.Bytes)
		if err == nil && v.UUID == medium.VolumeID {
			return true, nil
		}
	}
	return false, nil
}

// unfit is what a name in /dev may not hold.
var unfit = regexp.MustCompile(`[^A-Za-z0-9._:+-]+`)

// durable names a disk; taken are the names of others.
func durable(hardware, node string, taken map[string]bool) string {
	if !strings.HasPrefix(hardware, "name-") {
		id := strings.Trim(unfit.ReplaceAllString(strings.TrimSpace(hardware), "_"), "_")
		if hex, ok := strings.CutPrefix(id, "wwn-"); ok && !strings.HasPrefix(hex, "0x") {
			id = "wwn-0x" + hex // as udev writes it
		}
		if path := byID + "/" + id; !taken[path] {
			return path
		}
	}
	place, err := os.Readlink("/sys/block/" + node)
	if err != nil {
		place = node
	}
	return byPath + "/" + placeName(place)
}

// numbered are parts of a place that count discoveries, and may be others at the next start.
var numbered = regexp.MustCompile(`^(virtio|host|rport-|target|session|nvme|block|nvme-subsystem)[0-9:.-]*$`)

// placeName makes a name of where a disk is plugged in: "../devices/pci0000:00/0000:00:04.0/virtio1/block/vda".
func placeName(place string) string {
	var parts []string
	all := strings.Split(strings.TrimPrefix(filepath.Clean(place), "../devices/"), "/")
	for _, part := range all[:max(1, len(all)-1)] {
		if !numbered.MatchString(part) {
			parts = append(parts, part)
		}
	}
	return unfit.ReplaceAllString(strings.Join(parts, "-"), "_")
}

// link makes a name lead to a node, whatever it led to before.
func link(node, name string) error {
	if now, err := os.Readlink(name); err == nil && now == node {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("name a disk: %w", err)
	}
	if err := os.Symlink(node, name+".new"); err != nil {
		return fmt.Errorf("name a disk: %w", err)
	}
	return os.Rename(name+".new", name)
}

// Order puts disks into the order in which they are proposed: those that hold nothing first, then the smaller ones.
func Order(disks []Disk) []Disk {
	return slices.SortedFunc(slices.Values(disks), func(a, b Disk) int {
		return cmp.Or(cmp.Compare(holding(a), holding(b)), cmp.Compare(a.Bytes, b.Bytes), strings.Compare(a.Path, b.Path))
	})
}

func holding(d Disk) int {
	if d.Holds == "" {
		return 0
	}
	return 1
}

// KeepNames names disks as they come, until ctx is done. Disks that have a name are left alone.
func KeepNames(ctx context.Context, log *slog.Logger) error {
	for known, over := "", ctx.Err(); over == nil; over = host.Pause(ctx, lookEvery) {
		found, err := disk.Find()
		now := fmt.Sprint(found)
		if err == nil && now != known {
			_, err = Disks()
		}
		if known = now; err != nil {
			log.Warn("the disks cannot be looked at", "err", err)
		}
	}
	return nil
}
