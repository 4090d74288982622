package rescue

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/sink"
)

const gib = 1 << 30

// Table lists disks for a person.
func Table(disks []Disk) string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "  DISK\tSIZE\tMODEL\tSERIAL\tHOLDS")
	for _, d := range Order(disks) {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", d.Path, size(d.Bytes), or(d.Model, "-"), or(d.Serial, "-"), or(d.Holds, "nothing"))
	}
	_ = w.Flush() // a buffer takes everything
	return out.String()
}

func size(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/gib) }

func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// slack is by how much a device may be smaller than the disk that it is for: sinks allow for less than a MiB.
const slack = 1<<20 - block.SectorSize

// Propose gives each disk of a machine a disk of the metal: the smallest of those that hold nothing and are large enough, and
// only where there is none of these, one that holds something. What finds no place is left out.
func Propose(m farshore.MachineSpec, disks []Disk) map[farshore.DiskID]Disk {
	proposed := map[farshore.DiskID]Disk{}
	left := Order(disks)
	wanted := slices.SortedFunc(slices.Values(m.Disks), func(a, b farshore.DiskSpec) int { // the largest first: it has the least choice
		return int((int64(b.SizeBytes) - int64(a.SizeBytes)) >> 9)
	})
	for _, w := range wanted {
		i := slices.IndexFunc(left, func(d Disk) bool { return d.Bytes+slack >= int64(w.SizeBytes) })
		if i >= 0 {
			proposed[w.ID] = left[i]
			left = slices.Delete(left, i, i+1)
		}
	}
	return proposed
}

// HomeFile writes what is proposed as the file that `farshore reprotect start --home` reads.
func HomeFile(target string, m farshore.MachineSpec, proposed map[farshore.DiskID]Disk) string {
	var out strings.Builder
	fmt.Fprintf(&out, "kind: device\nmasterTarget: %s\ndisks:\n", target)
	for _, d := range m.Disks {
		if p, ok := proposed[d.ID]; ok {
			fmt.Fprintf(&out, "  %q: %s\n", d.ID, p.Path)
			continue
		}
		fmt.Fprintf(&out, "  # %q: no disk of %s is there\n", d.ID, size(int64(d.SizeBytes)))
	}
	return out.String()
}

// mapping shows what would be written where, and what stays as it is.
func mapping(m farshore.MachineID, sinks []sink.Sink, disks []Disk) string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "Machine %s is to come home to these disks:\n", m)
	fmt.Fprintln(w, "  DISK OF THE MACHINE\tSIZE\tIS WRITTEN TO\tSIZE\tMODEL\tSERIAL\tWHICH HOLDS")
	var stay []Disk
	for _, d := range disks {
		if !slices.ContainsFunc(sinks, func(s sink.Sink) bool { return s.Path == d.Path }) {
			stay = append(stay, d)
		}
	}
	for _, s := range sinks {
		i := slices.IndexFunc(disks, func(d Disk) bool { return d.Path == s.Path })
		if i < 0 {
			fmt.Fprintf(w, "  %s\t%s\t%s\tIS NOT THERE\n", s.Disk, size(s.Sectors.Bytes()), s.Path)
			continue
		}
		d := disks[i]
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			s.Disk, size(s.Sectors.Bytes()), s.Path, size(d.Bytes), or(d.Model, "-"), or(d.Serial, "-"), strings.ToUpper(or(d.Holds, "nothing")))
	}
	_ = w.Flush() // a buffer takes everything
	if len(stay) > 0 {
		out.WriteString("These stay as they are:\n" + Table(stay))
	}
	return out.String()
}
