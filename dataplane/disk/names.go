package disk

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/readiness/volume"
)

// Names is what the disks of a machine are called. A disk keeps its name in another body of the machine, where its hardware
// calls it otherwise: there it is known by what is on it, and else by its size. A wrong guess costs a copy, never a byte: in
// another body every disk is compared before anything of it counts.
type Names struct {
	Version int    `json:"version"`
	Body    string `json:"body"` // whose hardware the names are of
	Disks   []Name `json:"disks,omitempty"`
}

// NamesVersion is the version of [Names] that this program writes.
const NamesVersion = 1

// Name is what one disk is called, and what it is known by.
type Name struct {
	ID       farshore.DiskID `json:"id"`
	Hardware string          `json:"hardware,omitempty"` // wwn-..., serial-..., or else name-...
	Content  string          `json:"content,omitempty"`  // gpt-..., mbr-..., or what stands on the bare disk, as xfs-UUID
	Sectors  block.Count     `json:"sectors"`
}

// slack is by how much a disk may have grown on its way into another body: images are cut to whole MiB.
const slack = block.Count(1 << 20 / block.SectorSize)

// maxNames bounds how many disks are remembered; those that were seen last stay.
const maxNames = 256

// name names the disks that are there, in their order, and remembers them.
func (n *Names) name(body string, devices []*Device) ([]farshore.DiskID, error) {
	found := make([]Name, len(devices))
	for i, d := range devices {
		var err error
		if found[i], err = look(d); err != nil {
			return nil, err
		}
	}
	left := n.recognise(body, found)
	ids := make([]farshore.DiskID, len(found))
	for i := range found {
		if found[i].ID == "" {
			id, err := Identify(devices[i])
			if err != nil {
				return nil, err
			}
			found[i].ID = id
		}
		ids[i] = found[i].ID
	}
	left = slices.DeleteFunc(left, func(k Name) bool { return slices.Contains(ids, k.ID) })
	n.Version, n.Body = NamesVersion, body
	n.Disks = append(found, left[:min(len(left), max(0, maxNames-len(found)))]...)
	return ids, nil
}

// nameless reports whether the hardware does not call the disk anything: the name of its node may be another's tomorrow.
func (n Name) nameless() bool { return strings.HasPrefix(n.Hardware, nodePrefix) }

// recognise gives the disks that are known their names, and returns the names of disks that are not there. In the body that
// the names are of, hardware decides, and for what has none content, or the node's name as long as there is no content; in
// another one, content and then size.
func (n *Names) recognise(body string, found []Name) (left []Name) {
	moved := n.Body != body
	left = slices.Clone(n.Disks)
	match(found, &left, func(f, k Name) bool { return !moved && !f.nameless() && f.Hardware == k.Hardware })
	match(found, &left, func(f, k Name) bool {
		return (moved || f.nameless()) && f.Content != "" && f.Content == k.Content
	})
	match(found, &left, func(f, k Name) bool {
		return !moved && f.nameless() && f.Hardware == k.Hardware && (f.Content == "" || k.Content == "")
	})
	if moved {
		match(found, &left, func(f, k Name) bool { return f.Sectors >= k.Sectors && f.Sectors < k.Sectors+slack })
		for i := range left {
			left[i].Hardware = "" // of a body that this is not
		}
	}
	return left
}

// match gives known names to disks that have none yet, where a disk and a name fit each other and nothing else. It takes
// the names that it gave out of the list.
func match(found []Name, names *[]Name, fits func(found, known Name) bool) {
	all := slices.Clone(*names)
	fitting := func(k Name) (disks []int) {
		for i, f := range found {
			if f.ID == "" && fits(f, k) {
				disks = append(disks, i)
			}
		}
		return disks
	}
	given := map[int]farshore.DiskID{}
	*names = slices.DeleteFunc(*names, func(k Name) bool {
		disks := fitting(k)
		if len(disks) != 1 {
			return false
		}
		rivals := slices.DeleteFunc(slices.Clone(all), func(other Name) bool { return !fits(found[disks[0]], other) })
		if len(rivals) != 1 {
			return false
		}
		given[disks[0]] = k.ID
		return true
	})
	for i, id := range given {
		found[i].ID = id
	}
}

// look tells what a disk could be known by.
func look(d *Device) (Name, error) {
	n := Name{Hardware: clean(cmp.Or(hardwareName(d), nodeName(d)))}
	var err error
	if n.Sectors, err = d.Sectors(); err != nil {
		return Name{}, err
	}
	if n.Content, err = tableName(d); err != nil || n.Content != "" {
		return n, err
	}
	v, err := volume.Identify(io.NewSectionReader(d, 0, n.Sectors.Bytes()), n.Sectors.Bytes())
	if err == nil && v.UUID != "" {
		n.Content = clean(v.Type + "-" + v.UUID)
	}
	return n, nil // what cannot be read has nothing known on it
}
