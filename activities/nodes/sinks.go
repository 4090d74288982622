package nodes

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// openPatience is how long a master target may take to find disks that were attached to it just now.
const openPatience = 2 * time.Minute

func masterTarget(name string) farshore.Identity {
	return farshore.Identity{Role: farshore.RoleMasterTarget, Name: name}
}

// setSinks changes the machines that a master target brings home.
func (s Steps) setSinks(ctx context.Context, name string, change func([]*farshorev1.MachineSinks) []*farshorev1.MachineSinks) error {
	return s.Hub.SetDesired(ctx, masterTarget(name), func(doc *farshorev1.SyncResponse) {
		d := doc.GetMasterTarget()
		if d == nil {
			d = &farshorev1.MasterTargetDesired{}
		}
		d.Machines = change(d.GetMachines())
		doc.Desired = &farshorev1.SyncResponse_MasterTarget{MasterTarget: d}
	})
}

func indexSinks(all []*farshorev1.MachineSinks, m farshore.MachineID) int {
	return slices.IndexFunc(all, func(s *farshorev1.MachineSinks) bool { return s.GetMachine() == string(m) })
}

// sinksOf is what a master target last reported of a machine; nil if nothing.
func (s Steps) sinksOf(name string, m farshore.MachineID) *farshorev1.SinksObserved {
	report, _, _ := s.Hub.Observed(masterTarget(name))
	for _, o := range report.GetMasterTarget().GetMachines() {
		if o.GetMachine() == string(m) {
			return o
		}
	}
	return nil
}

func (s Steps) chooseMasterTarget(_ context.Context, in activities.ChooseMasterTargetIn) (activities.ChooseMasterTargetOut, error) {
	all, err := s.Hub.Enrolled(farshore.RoleMasterTarget)
	if err != nil {
		return activities.ChooseMasterTargetOut{}, err
	}
	var fit []target
	var why []string
	for _, id := range all {
		if in.Home.MasterTarget != "" && in.Home.MasterTarget != id.Name {
			continue
		}
		t, err := s.target(id, in.Run.Machine)
		if err != nil {
			return activities.ChooseMasterTargetOut{}, err
		}
		if t.unfit == "" {
			t.unfit = t.lacks(in.Machine, in.Home)
		}
		if t.unfit != "" {
			why = append(why, id.Name+": "+t.unfit)
			continue
		}
		fit = append(fit, t)
	}
	if len(fit) == 0 {
		return activities.ChooseMasterTargetOut{}, noMasterTarget(in, why)
	}
	best := slices.MinFunc(fit, func(a, b target) int {
		return cmp.Or(cmp.Compare(a.load, b.load), -cmp.Compare(a.free(), b.free()), cmp.Compare(a.name, b.name))
	})
	return activities.ChooseMasterTargetOut{Name: best.name, VM: best.observed.GetVm()}, nil
}

func noMasterTarget(in activities.ChooseMasterTargetIn, why []string) error {
	f := &fault.Fault{
		Code: "FS-4117", Kind: fault.Operator, Subject: "machine " + string(in.Run.Machine), What: "no master target can write its disks",
		Remedy: "see docs/operate/failback.md: enrol one, or let one offer the devices or folders of the failback target",
	}
	switch {
	case len(why) > 0:
		f.What += fmt.Sprintf(": %v", why)
	case in.Home.MasterTarget != "":
		f.What += ": none is named " + in.Home.MasterTarget
	default:
		f.What += ": none has enrolled"
	}
	return f
}

// target is a master target as machines are placed on it.
type target struct {
	name     string
	observed *farshorev1.MasterTargetObserved
	load     uint64            // bytes of the disks of other machines
	taken    map[string]string // machines by the paths of their disks
	unfit    string
}

func (s Steps) target(id farshore.Identity, m farshore.MachineID) (target, error) {
	t := target{name: id.Name, taken: map[string]string{}}
	report, at, ok := s.Hub.Observed(id)
	if t.observed = report.GetMasterTarget(); !ok || t.observed == nil || s.Now().Sub(at) > lostAfter {
		t.unfit = "it does not report"
		return t, nil
	}
	doc, _, err := s.Hub.Desired(id)
	for _, other := range doc.GetMasterTarget().GetMachines() {
		for _, k := range other.GetSinks() {
			if other.GetMachine() != string(m) {
				t.load += k.GetSizeBytes()
				t.taken[k.GetPath()] = other.GetMachine()
			}
		}
	}
	return t, err
}

func (t target) free() (bytes uint64) {
	for _, f := range t.observed.GetFolders() {
		bytes = max(bytes, f.GetFreeBytes())
	}
	return bytes
}

// lacks says what a machine's disks need and the master target has not; nothing if it has all.
func (t target) lacks(m farshore.MachineSpec, home farshore.Home) string {
	if home.Kind == farshore.HomeVSphere {
		if t.observed.GetVm() == "" {
			return "it runs in no VM on vSphere"
		}
		return ""
	}
	need := map[string]uint64{}
	for _, d := range m.Disks {
		path := home.Disks[d.ID]
		if path == "" {
			return fmt.Sprintf("the failback target names nothing for disk %s", d.ID)
		}
		if other := t.taken[path]; other != "" {
			return fmt.Sprintf("%s is given to it for machine %s", path, other)
		}
		if home.Kind == farshore.HomeDevice {
			if what := t.device(path, d.SizeBytes); what != "" {
				return what
			}
			continue
		}
		need[filepath.Dir(path)] += d.SizeBytes
	}
	for folder, bytes := range need {
		i := slices.IndexFunc(t.observed.GetFolders(), func(f *farshorev1.OfferedFolder) bool { return f.GetPath() == folder })
		if i < 0 {
			return "it does not offer the folder " + folder
		}
		if free := t.observed.GetFolders()[i].GetFreeBytes(); free < bytes && !t.holds(m.ID) {
			return fmt.Sprintf("%d bytes are free in %s, the disks may need %d", free, folder, bytes)
		}
	}
	return ""
}

// holds reports whether a machine's disks are there already.
func (t target) holds(m farshore.MachineID) bool {
	return slices.ContainsFunc(t.observed.GetMachines(), func(o *farshorev1.SinksObserved) bool { return o.GetMachine() == string(m) })
}

func (t target) device(path string, bytes uint64) string {
	i := slices.IndexFunc(t.observed.GetDevices(), func(d *farshorev1.OfferedDevice) bool { return d.GetPath() == path })
	if i < 0 {
		return "it does not offer the device " + path
	}
	switch d := t.observed.GetDevices()[i]; {
	case d.GetBusy() != "":
		return path + ": " + d.GetBusy()
	case d.GetSizeBytes() < bytes:
		return fmt.Sprintf("%s has %d bytes, the disk has %d", path, d.GetSizeBytes(), bytes)
	}
	return ""
}

// openSinks has a master target take the disks. Asked again, it goes on where it was, and follows the stream again if it was
// to finish.
func (s Steps) openSinks(ctx context.Context, in activities.SinksIn) (activities.None, error) {
	wanted := &farshorev1.MachineSinks{Machine: string(in.Run.Machine), Run: string(in.Run.ID), Touched: in.Touched}
	for _, k := range in.Sinks {
		wanted.Sinks = append(wanted.Sinks, &farshorev1.SinkDesired{
			Disk: string(k.Disk), Kind: string(k.Kind), Path: k.Path, SizeBytes: k.SizeBytes, Overwrite: k.Overwrite,
		})
	}
	err := s.setSinks(ctx, in.MasterTarget, func(all []*farshorev1.MachineSinks) []*farshorev1.MachineSinks {
		if i := indexSinks(all, in.Run.Machine); i >= 0 {
			all[i] = wanted
			return all
		}
		return append(all, wanted)
	})
	if err != nil {
		return activities.None{}, err
	}
	looks := max(1, int(openPatience/s.Every))
	return activities.None{}, activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		o := s.sinksOf(in.MasterTarget, in.Run.Machine)
		if !same(o, wanted) {
			return activities.Progress{What: "waiting for master target " + in.MasterTarget}, false, nil
		}
		f := hub.Fault(o.GetFault())
		if looks--; f != nil && (f.Kind == fault.Refused || f.Kind != fault.Transient && looks <= 0) {
			return activities.Progress{}, false, f
		}
		return activities.Progress{What: saying(o, "master target "+in.MasterTarget+" takes the disks")}, o.GetOpen(), nil
	})
}

// same reports whether a master target acts on the disks that are wanted.
func same(o *farshorev1.SinksObserved, wanted *farshorev1.MachineSinks) bool {
	return o.GetRun() == wanted.GetRun() && slices.EqualFunc(o.GetSinks(), wanted.GetSinks(), func(a, b *farshorev1.SinkDesired) bool {
		return a.GetDisk() == b.GetDisk() && a.GetKind() == b.GetKind() && a.GetPath() == b.GetPath() && a.GetSizeBytes() == b.GetSizeBytes() &&
			a.GetOverwrite() == b.GetOverwrite()
	})
}

// saying is what a master target does, or what stands in its way.
func saying(o *farshorev1.SinksObserved, does string) string {
	if f := o.GetFault(); f != nil {
		return hub.Fault(f).Error()
	}
	return does
}

// hopeless gives a fault that does not pass by itself, nor when somebody makes room.
func hopeless(o *farshorev1.SinksObserved) error {
	if f := hub.Fault(o.GetFault()); f != nil && (f.Kind == fault.Refused || f.Kind == fault.Corrupt) {
		return f
	}
	return nil
}

func (s Steps) awaitSinks(ctx context.Context, in activities.AwaitSinksIn) (activities.SinksAt, error) {
	if err := s.mustHave(in.MasterTarget, in.Run); err != nil {
		return activities.SinksAt{}, err
	}
	var at activities.SinksAt
	err := activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		o := s.sinksOf(in.MasterTarget, in.Run.Machine)
		at = activities.SinksAt{Position: hub.Position(o.GetClean()), Bytes: o.GetWrittenBytes()}
		if o.GetRun() == string(in.Run.ID) && at.Position.Epoch >= in.Epoch && at.Position.Epoch > 0 {
			return activities.Progress{}, true, nil
		}
		return activities.Progress{
			What: saying(o, fmt.Sprintf("master target %s is at %v", in.MasterTarget, hub.Position(o.GetApplied()))), DoneBytes: o.GetWrittenBytes(),
		}, false, hopeless(o)
	})
	return at, err
}

// mustHave makes sure that a master target was given a run's disks.
func (s Steps) mustHave(name string, run activities.Run) error {
	doc, _, err := s.Hub.Desired(masterTarget(name))
	if err != nil {
		return err
	}
	all := doc.GetMasterTarget().GetMachines()
	if i := indexSinks(all, run.Machine); i < 0 || all[i].GetRun() != string(run.ID) {
		return &fault.Fault{
			Code: "FS-4118", Kind: fault.Refused, Subject: "master target " + name, What: fmt.Sprintf("run %s gave it no disks of machine %s", run.ID, run.Machine),
			Remedy: "start the operation again",
		}
	}
	return nil
}

func (s Steps) finishSinks(ctx context.Context, in activities.FinishSinksIn) (activities.FinishedSinks, error) {
	if err := s.mustHave(in.MasterTarget, in.Run); err != nil {
		return activities.FinishedSinks{}, err
	}
	err := s.setSinks(ctx, in.MasterTarget, func(all []*farshorev1.MachineSinks) []*farshorev1.MachineSinks {
		if i := indexSinks(all, in.Run.Machine); i >= 0 {
			all[i].Finish = hub.PositionMessage(in.Position)
		}
		return all
	})
	if err != nil {
		return activities.FinishedSinks{}, err
	}
	var out activities.FinishedSinks
	err = activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		o := s.sinksOf(in.MasterTarget, in.Run.Machine)
		out = activities.FinishedSinks{Position: hub.Position(o.GetFinished()), ComparedBytes: o.GetComparedBytes(), DifferentBytes: o.GetDifferentBytes()}
		if o.GetRun() == string(in.Run.ID) && out.Position == in.Position {
			return activities.Progress{}, true, nil
		}
		does := fmt.Sprintf("master target %s is at %v", in.MasterTarget, hub.Position(o.GetApplied()))
		if o.GetTotalBytes() > 0 {
			does = "master target " + in.MasterTarget + " compares"
		}
		if hub.Position(o.GetFinish()) != in.Position { // it does not know yet
			return activities.Progress{What: "waiting for master target " + in.MasterTarget}, false, nil
		}
		return activities.Progress{What: saying(o, does), DoneBytes: o.GetComparedBytes(), TotalBytes: o.GetTotalBytes()}, false, hopeless(o)
	})
	return out, err
}

// closeSinks waits until the master target reports the machine no more while it acts on a document that does not name it:
// before it does so, it has made sure that it acts on no older one again.
func (s Steps) closeSinks(ctx context.Context, in activities.SinksIn) (activities.None, error) {
	id := masterTarget(in.MasterTarget)
	err := s.setSinks(ctx, in.MasterTarget, func(all []*farshorev1.MachineSinks) []*farshorev1.MachineSinks {
		return slices.DeleteFunc(all, func(m *farshorev1.MachineSinks) bool { return m.GetMachine() == string(in.Run.Machine) })
	})
	if err != nil {
		return activities.None{}, err
	}
	return activities.None{}, activities.Supervise(ctx, s.Every, func(context.Context) (activities.Progress, bool, error) {
		doc, ok, err := s.Hub.Desired(id)
		if err != nil || !ok {
			return activities.Progress{}, !ok, err
		}
		report, _, heard := s.Hub.Observed(id)
		acts := heard && report.GetMasterTarget() != nil && hub.CompareVersions(report.GetHave(), doc.GetVersion()) >= 0
		return activities.Progress{What: "waiting for master target " + in.MasterTarget + " to give the disks back"},
			acts && s.sinksOf(in.MasterTarget, in.Run.Machine) == nil, nil
	})
}
