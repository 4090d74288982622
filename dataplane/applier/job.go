package applier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vhd"
	"farshore/fault"
)

const footerSectors = block.Count(vhd.FooterBytes / block.SectorSize)

// do works on a job until it is done, cannot be done, or ctx is over. What is transient is tried again for ever.
func (a *Applier) do(ctx context.Context, j Job) {
	for {
		err := a.try(ctx, j)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			a.observed.job(j.ID, func(o *JobObserved) { o.State, o.Fault = Done, nil })
			a.deps.Log.Info("job done", "job", j.ID, "run", j.Run, "machine", j.Machine, "position", j.Position.String())
			a.changed()
			return
		}
		f := faultOf("job "+j.ID, err)
		state := Running
		if f.Kind != fault.Transient {
			state = Failed
		}
		a.observed.job(j.ID, func(o *JobObserved) { o.State, o.Fault = state, f })
		a.deps.Log.Error("job stands still", "job", j.ID, "run", j.Run, "code", f.Code, "err", err)
		a.changed()
		if state == Failed && j.Machine != "" {
			if err := a.letGo(ctx, j); err != nil {
				a.deps.Log.Error("a pin of a job that failed stays", "job", j.ID, "run", j.Run, "machine", j.Machine, "err", err)
			}
		}
		if state == Failed || host.Pause(ctx, pauseTransient) != nil {
			return
		}
	}
}

func (a *Applier) try(ctx context.Context, j Job) error {
	if _, err := farshore.ParseRunID(string(j.Run)); err != nil {
		return err
	}
	switch j.Kind {
	case Materialise:
		if _, err := farshore.ParseMachineID(string(j.Machine)); err != nil {
			return err
		}
		return a.materialise(ctx, j)
	case Discard:
		if j.Machine != "" { // a pin of a job that was broken off
			if err := a.letGo(ctx, j); err != nil {
				return err
			}
		}
		return a.discard(ctx, j.Run)
	case Scrub:
		if _, err := farshore.ParseMachineID(string(j.Machine)); err != nil {
			return err
		}
		return a.scrub(ctx, j)
	}
	return &fault.Fault{Code: "FS-4007", Kind: fault.Refused, Subject: "job " + j.ID, What: "this applier does not know its kind", Remedy: "upgrade the applier"}
}

// discard removes the disks of a run.
func (a *Applier) discard(ctx context.Context, run farshore.RunID) error {
	return a.removeDisks(ctx, runPrefix(run), func(farshore.DiskID) bool { return true })
}

func (a *Applier) removeDisks(ctx context.Context, prefix string, which func(farshore.DiskID) bool) error {
	var names []string
	for e, err := range a.deps.Replicas.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if which(farshore.DiskID(strings.TrimSuffix(strings.TrimPrefix(e.Name, prefix), ".vhd"))) {
			names = append(names, e.Name)
		}
	}
	for _, name := range names {
		if err := a.deps.Replicas.Remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// materialise makes the disks of a run hold exactly the position.
func (a *Applier) materialise(ctx context.Context, j Job) (err error) {
	stream := chain.Stream{Vault: a.deps.Journal.Vault, Machine: j.Machine, Generation: j.Position.Generation}
	if err := a.hold(ctx, j); err != nil {
		return err
	}
	target, err := a.target(ctx, j)
	if err != nil {
		return err
	}
	boot, err := a.bootDisk(ctx, j.Machine, target)
	if err != nil {
		return err
	}
	if err := a.lay(ctx, stream, j, target); err != nil {
		return err
	}
	r, err := openReplica(ctx, a.writing(), stream, runPrefix(j.Run))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := a.replay(ctx, r, j); err != nil {
		return err
	}
	disks, err := r.finish(ctx, target, boot)
	if err != nil {
		return err
	}
	a.observed.job(j.ID, func(o *JobObserved) { o.Disks, o.DoneBytes = disks, o.TotalBytes })
	return a.letGo(ctx, j)
}

// hold pins what a job reads, until the job is over.
func (a *Applier) hold(ctx context.Context, j Job) error {
	if err := a.letGo(ctx, j); err != nil { // of the point that the run had before
		return err
	}
	return a.deps.Journal.Hold(ctx, journal.Pin{
		Machine: j.Machine, Position: j.Position.String(), Holder: journal.HolderOf(j.Run), Why: "job " + j.ID + " makes its disks", Time: a.deps.now().UTC(),
	})
}

func (a *Applier) letGo(ctx context.Context, j Job) error {
	return a.deps.Journal.LetGo(ctx, j.Machine, journal.HolderOf(j.Run))
}

// target finds the segment whose end the job wants. It must be a recovery point.
func (a *Applier) target(ctx context.Context, j Job) (segment.Header, error) {
	h, err := a.deps.Journal.HeaderAt(ctx, j.Machine, j.Position)
	if f, ok := fault.As(err); ok && f.Code == "FS-3516" {
		return segment.Header{}, noPoint(j, "the journal has no such segment")
	}
	if err != nil {
		return segment.Header{}, err
	}
	if h.Seal || !h.Clean() || h.Position() != j.Position || h.Machine != j.Machine {
		return segment.Header{}, noPoint(j, "the segment there ends with no state that can be recovered")
	}
	return h, nil
}

func noPoint(j Job, what string) error {
	return &fault.Fault{
		Code: "FS-4003", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s at %v", j.Machine, j.Position), What: what,
		Remedy: fmt.Sprintf("choose another recovery point: farshore point list %s", j.Machine),
	}
}

// bootDisk asks the machine's spec. A single disk is the one to boot from, whatever that says.
func (a *Applier) bootDisk(ctx context.Context, m farshore.MachineID, h segment.Header) (farshore.DiskID, error) {
	if len(h.Disks) == 1 {
		return h.Disks[0].ID, nil
	}
	spec, err := a.deps.Journal.Spec(ctx, m)
	if f, ok := fault.As(err); ok && f.Code == "FS-3512" {
		return "", nil
	}
	for _, d := range spec.Disks {
		if d.Boot {
			return d.ID, err
		}
	}
	return "", err
}

// lay sees that every disk of the point is there in the run, at or before the position: a sound one is kept, anything
// else is removed and cloned from the newest whole checkpoint, or made empty where the checkpoint does not have it.
func (a *Applier) lay(ctx context.Context, stream chain.Stream, j Job, target segment.Header) error {
	lock := a.clones(j.Machine)
	lock.RLock() // the checkpoint is not pruned meanwhile
	defer lock.RUnlock()
	m, base, err := a.newest(ctx, stream, j.Position)
	if err != nil {
		return err
	}
	wanted := map[farshore.DiskID]block.Count{}
	for _, d := range target.Disks {
		if !d.Joining {
			wanted[d.ID] = d.Sectors
		}
	}
	prefix := runPrefix(j.Run)
	if err := a.removeDisks(ctx, prefix, func(id farshore.DiskID) bool { return wanted[id] == 0 }); err != nil {
		return err
	}
	for id, sectors := range wanted {
		name := prefix + string(id) + ".vhd"
		sound, err := a.sound(ctx, name, stream, j)
		if err != nil {
			return err
		}
		if sound {
			continue
		}
		if err := a.deps.Replicas.Remove(ctx, name); err != nil {
			return err
		}
		if err := a.prove(ctx, base, id); err != nil {
			return err
		}
		if err := a.clone(ctx, m, source{stream: stream, disk: id, base: base, sectors: sectors}, name); err != nil {
			return err
		}
	}
	return nil
}

// sound reports whether a disk of the run can be brought to the job's position from where it is.
func (a *Applier) sound(ctx context.Context, name string, stream chain.Stream, j Job) (bool, error) {
	d, err := a.deps.Replicas.Open(ctx, name)
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	stored, err := d.State(ctx)
	if err := errors.Join(err, d.Close()); err != nil {
		return false, err
	}
	s, ok, err := parseState(name, stored)
	if err != nil || !ok {
		return false, nil // broken off between creation and first state, or not ours: made again
	}
	at, err := s.applied(stream)
	return err == nil && s.Vault == stream.Vault.String() && s.Machine == string(stream.Machine) &&
		at.At.Position.Generation == stream.Generation && at.Reaches(j.Position) &&
		(s.Target == "" || s.Target == j.Position.String()), nil
}

// source is where a disk of a run comes from.
type source struct {
	stream  chain.Stream
	disk    farshore.DiskID
	base    chain.Link
	sectors block.Count
	fill    func(context.Context, farshore.DiskID, vault.ReplicaDisk) error // what it holds at the base; nil: zeros
}

// clone makes one disk of a run.
func (a *Applier) clone(ctx context.Context, m manifest, from source, name string) error {
	i := slices.IndexFunc(m.Disks, func(d snapshotDisk) bool { return d.Disk == from.disk })
	if i < 0 {
		return a.empty(ctx, from, name)
	}
	d, err := a.deps.Replicas.Open(ctx, chain.ReplicaPrefix(from.stream.Machine, from.stream.Generation)+string(from.disk)+".vhd")
	if err != nil {
		return err
	}
	return errors.Join(d.CloneTo(ctx, m.Disks[i].Snapshot, name), d.Close())
}

// empty makes a disk of zeros that stands at the base: whatever the stream writes to it comes behind.
func (a *Applier) empty(ctx context.Context, from source, name string) (err error) {
	if err := a.deps.Replicas.Create(ctx, name, from.sectors); err != nil {
		return err
	}
	d, err := a.deps.Replicas.Open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Fence(ctx); err != nil {
		return err
	}
	if from.fill != nil {
		if err := from.fill(ctx, from.disk, d); err != nil {
			return err
		}
	}
	r := &replica{stream: from.stream}
	made := &disk{ReplicaDisk: d, id: from.disk}
	r.place(made, from.base)
	return r.store(ctx, made)
}

// replay applies the journal up to the job's position.
func (a *Applier) replay(ctx context.Context, r *replica, j Job) error {
	total, err := a.journalBytes(ctx, j, r.start().Position)
	if err != nil {
		return err
	}
	a.observed.job(j.ID, func(o *JobObserved) { o.TotalBytes, o.DoneBytes = total, 0 })
	for {
		w, err := gather(ctx, a.deps.Journal, gathering{from: r.start(), limit: j.Position})
		if err != nil {
			return err
		}
		if len(w.segments) == 0 {
			break
		}
		w.disks = r.mine(w.disks)
		if _, err := r.apply(ctx, w); err != nil {
			return err
		}
		a.observed.job(j.ID, func(o *JobObserved) { o.DoneBytes += w.sealed })
	}
	if !r.settled(j.Position) {
		return noPoint(j, fmt.Sprintf("the readable part of the journal ends at %v", r.start().Position))
	}
	return nil
}

// journalBytes is the size of the segments to replay.
func (a *Applier) journalBytes(ctx context.Context, j Job, from farshore.Position) (int64, error) {
	var total int64
	last := chain.NameOf(j.Machine, j.Position)
	for e, err := range a.deps.Store.List(ctx, chain.JournalPrefix(j.Machine, j.Position.Generation), chain.NameOf(j.Machine, from)) {
		if err != nil {
			return 0, err
		}
		if e.Name > last {
			break
		}
		total += e.Size
	}
	return total, nil
}

// finish puts the footers behind the disks and says what was made, boot disk first.
func (r *replica) finish(ctx context.Context, target segment.Header, boot farshore.DiskID) ([]MadeDisk, error) {
	var disks []MadeDisk
	for _, s := range target.Disks {
		d := r.disks[s.ID]
		if d == nil { // joining: no part of the point
			continue
		}
		if !d.state.Made {
			if err := r.finishDisk(ctx, d, s.Sectors, target); err != nil {
				return nil, err
			}
		}
		disks = append(disks, MadeDisk{Disk: d.id, URL: d.URL(), SizeBytes: (d.Sectors() - footerSectors).Bytes(), Boot: d.id == boot})
	}
	slices.SortFunc(disks, func(x, y MadeDisk) int {
		if x.Boot != y.Boot {
			if x.Boot {
				return -1
			}
			return 1
		}
		return strings.Compare(string(x.Disk), string(y.Disk))
	})
	return disks, nil
}

// finishDisk puts the footer behind a disk of so many sectors.
func (r *replica) finishDisk(ctx context.Context, d *disk, sectors block.Count, target segment.Header) error {
	d.state.Target = target.Position().String() // from here on it serves this position only: its size is no longer the stream's
	if err := r.store(ctx, d); err != nil {
		return err
	}
	aligned := vhd.Align(sectors)
	if grown := aligned + footerSectors; grown != d.Sectors() {
		if err := d.Resize(ctx, grown); err != nil {
			return err
		}
	}
	name := sha256.Sum256([]byte(d.Name())) // the same footer every time
	last := vhd.Footer(aligned, [16]byte(name[:16]), target.UTC)
	if err := d.WriteAt(ctx, last[:], block.Sector(aligned)); err != nil {
		return err
	}
	d.state.Made = true
	return r.store(ctx, d)
}
