package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/block"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vhd"
	"farshore/fault"
)

// The forms that a disk can be restored to.
const (
	toRaw    = "raw"
	toVHD    = "vhd"
	toDevice = "device"
)

// writePlan says what write will do, and after it, what it did.
type writePlan struct {
	Point farshore.RecoveryPoint `json:"point"`
	To    string                 `json:"to"`
	Read  int64                  `json:"readBytes"`      // of the journal
	Base  string                 `json:"base,omitempty"` // the point whose snapshots it begins from; without one it begins from nothing
	Disks []writeDisk            `json:"disks"`
	Done  bool                   `json:"done"`

	base *journal.Manifest
}

type writeDisk struct {
	ID         farshore.DiskID `json:"id"`
	Path       string          `json:"path"`
	Bytes      int64           `json:"bytes"`
	Overwrites bool            `json:"overwrites,omitempty"`

	sectors block.Count
}

type writeFlags struct {
	at, to, out, disk, group string
	yes                      bool
	folder                   bool // out is a folder, however many disks there are
}

func (t *tool) writeCommand() *cobra.Command {
	var f writeFlags
	cmd := &cobra.Command{
		Use:   "write MACHINE | --group NAME",
		Short: "Restore the disks of a recovery point, or of every machine at a point that a group shares",
		Long: "Restore the disks of a recovery point to sparse raw images, to fixed VHDs (whole MiB, as Azure wants them) or to a device.\n" +
			"The point is latest, latest-app, an RFC 3339 time (the newest point at or before it) or a position from `points`.\n" +
			"With several disks --out is a folder; with one, or with --disk, it is the file. Nothing is overwritten without --yes.\n" +
			"With --group every machine of the newest such point that can be restored goes into a folder of its own below --out.",
		Example: "  farshore-restore write web-01 --at latest --to vhd --out /restore/web-01 --vault-path /srv/vault --key vault.key\n" +
			"  farshore-restore write web-01 --at 2026-11-23T09:00:00Z --to device --disk S3EVNX0K100 --out /dev/sdb --config /etc/farshore/applier.yaml --key vault.key --yes\n" +
			"  farshore-restore write --group shop --at latest --out /restore/shop --vault-path /srv/vault --key vault.key",
		Args: machineOrGroup(&f.group),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.group != "" {
				return t.writeGroup(cmd, f)
			}
			return t.write(cmd, args[0], f)
		},
	}
	cmd.Flags().StringVar(&f.at, "at", "latest", "which recovery `point`")
	cmd.Flags().StringVar(&f.to, "to", toRaw, "`form`: raw, vhd or device")
	cmd.Flags().StringVar(&f.out, "out", "", "`path` of the file, the folder or the device")
	cmd.Flags().StringVar(&f.group, "group", "", "every machine of a point that this `group` shares")
	cmd.Flags().StringVar(&f.disk, "disk", "", "only the disk with this `id`")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "overwrite what is there")
	return cmd
}

func (t *tool) write(cmd *cobra.Command, name string, f writeFlags) error {
	ctx, talk := cmd.Context(), cmd.ErrOrStderr()
	id, err := farshore.ParseMachineID(name)
	if err != nil {
		return err
	}
	selector, err := farshore.ParseSelector(f.at)
	if err != nil {
		return commandline.Usage(cmd, err.Error())
	}
	if f.out == "" || f.to != toRaw && f.to != toVHD && f.to != toDevice {
		return commandline.Usage(cmd, "give --out and --to raw, vhd or device")
	}
	v, err := t.vault.open(ctx, talk, true)
	if err != nil {
		return err
	}
	plan, err := v.planWrite(ctx, id, selector, f)
	if err != nil {
		return err
	}
	if !f.yes && plan.overwrites() {
		if err := t.print(cmd, plan, func(w io.Writer) error { return listPlan(w, plan) }); err != nil {
			return err
		}
		return &fault.Fault{
			Code: "FS-9002", Kind: fault.Refused, Subject: "write " + name, What: "it would overwrite what is there", Remedy: "if that is meant, add --yes",
		}
	}
	if err := v.restore(ctx, plan, talk); err != nil {
		return err
	}
	plan.Done = true
	return t.print(cmd, plan, func(w io.Writer) error { return listPlan(w, plan) })
}

func (p writePlan) overwrites() bool {
	for _, d := range p.Disks {
		if d.Overwrites {
			return true
		}
	}
	return false
}

// planWrite chooses point, disks and paths. It changes nothing.
func (o *opened) planWrite(ctx context.Context, id farshore.MachineID, s farshore.Selector, f writeFlags) (writePlan, error) {
	point, err := choosePoint(ctx, o, id, s)
	if err != nil {
		return writePlan{}, err
	}
	h, err := o.reader.HeaderAt(ctx, point.Machine, point.Position)
	if err != nil {
		return writePlan{}, err
	}
	disks, err := chooseDisks(h, farshore.DiskID(f.disk))
	if err != nil {
		return writePlan{}, err
	}
	if f.to == toDevice && len(disks) > 1 {
		return writePlan{}, &fault.Fault{
			Code: "FS-9001", Kind: fault.Refused, Subject: "machine " + string(id), What: fmt.Sprintf("it has %d disks and --out names one device", len(disks)),
			Remedy: "name the disk: --disk " + string(disks[0].ID),
		}
	}
	plan := writePlan{Point: point, To: f.to}
	if plan.base, err = o.baseOf(ctx, point); err != nil {
		return writePlan{}, err
	}
	if plan.base != nil {
		plan.Base = plan.base.At.Position.String()
	}
	if plan.Read, err = restoreBytes(ctx, o, point, plan.base); err != nil {
		return writePlan{}, err
	}
	for _, d := range disks {
		w := writeDisk{ID: d.ID, Path: f.out, Bytes: d.Sectors.Bytes(), sectors: d.Sectors}
		if len(disks) > 1 || f.folder {
			w.Path = filepath.Join(f.out, string(d.ID)+"."+f.to)
		}
		_, err := os.Lstat(w.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return writePlan{}, unusableOutput(w.Path, "it cannot be looked at", err)
		}
		w.Overwrites = err == nil
		plan.Disks = append(plan.Disks, w)
	}
	return plan, nil
}

// chooseDisks gives the disks that are part of the point, or the one that is asked for.
func chooseDisks(h segment.Header, only farshore.DiskID) ([]segment.Disk, error) {
	var chosen []segment.Disk
	var ids []farshore.DiskID
	for _, d := range h.Disks {
		if d.Joining {
			continue
		}
		ids = append(ids, d.ID)
		if only == "" || only == d.ID {
			chosen = append(chosen, d)
		}
	}
	if len(chosen) == 0 {
		return nil, &fault.Fault{
			Code: "FS-3517", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s, point %s", h.Machine, h.Position()),
			What: fmt.Sprintf("disk %q is not part of it", only), Remedy: fmt.Sprintf("its disks are %v", ids),
		}
	}
	return chosen, nil
}

// restore does what the plan says.
func (o *opened) restore(ctx context.Context, plan writePlan, talk io.Writer) (err error) {
	r := &replay{opened: o, base: plan.base, point: plan.Point, images: map[farshore.DiskID]*image{}}
	defer func() {
		for _, i := range r.images {
			err = errors.Join(err, i.abandon())
		}
	}()
	for _, d := range plan.Disks {
		if r.images[d.ID], err = d.open(plan); err != nil {
			delete(r.images, d.ID)
			return err
		}
	}
	say(talk, "restore %s of machine %s (%s): %s of journal", plan.Point.Position, plan.Point.Machine, moment(plan.Point.Time), commandline.Size(plan.Read))
	bar := newProgress(talk, "replay", plan.Read)
	defer bar.end()
	if err := r.run(ctx, bar); err != nil {
		return err
	}
	for _, d := range plan.Disks {
		i := r.images[d.ID]
		delete(r.images, d.ID) // finish closes it
		if err := i.finish(); err != nil {
			return err
		}
	}
	return nil
}

func (d writeDisk) open(plan writePlan) (*image, error) {
	if plan.To == toDevice {
		return openDevice(d.Path, d.sectors)
	}
	if err := os.MkdirAll(filepath.Dir(d.Path), 0o750); err != nil {
		return nil, unusableOutput(d.Path, "its folder cannot be made", err)
	}
	i, err := createImage(d.Path, d.sectors)
	if err != nil || plan.To != toVHD {
		return i, err
	}
	sectors := vhd.Align(d.sectors)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s", plan.Point.Machine, d.ID, plan.Point.Position))
	footer := vhd.Footer(sectors, [16]byte(sum[:16]), plan.Point.Time)
	i.footer, i.at = footer[:], sectors.Bytes()
	return i, nil
}

func listPlan(w io.Writer, plan writePlan) error {
	l := &lines{w: w}
	l.add("point\t%s\t%s\t%s consistent", plan.Point.Position, moment(plan.Point.Time), plan.Point.Consistency)
	for _, d := range plan.Disks {
		verb := "write"
		switch {
		case plan.Done:
			verb = "written"
		case d.Overwrites:
			verb = "OVERWRITE"
		}
		l.add("%s\t%s\t%s\tdisk %s", verb, d.Path, commandline.Size(d.Bytes), d.ID)
	}
	return l.err
}
