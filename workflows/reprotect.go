package workflows

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// The times that an agent may take until it reports.
const (
	agentSeconds = 15 * 60 // of a machine that runs
	bootedAgent  = 30 * 60 // of one that was just started
)

// lostPatience is how long somebody who may be lost is waited for: a former master target that has disks, the recovery site of
// a failback that is not planned.
const lostPatience = 5 * time.Minute

// A private path that is not there is looked at again, first after pathEvery and then less and less often, for so long.
const (
	pathEvery    = 5 * time.Second
	pathSeldom   = 5 * time.Minute
	pathPatience = 24 * time.Hour
)

// mendedPaths are the faults of a private path that somebody may mend while a run waits. An address that names no host
// (FS-5212) is mended by another request only.
var mendedPaths = []string{"FS-5204", "FS-5205", "FS-5206", "FS-5207", "FS-5208", "FS-5209"}

// ReprotectIn is the input of [ReprotectRun].
type ReprotectIn struct {
	Run     activities.Run          `json:"run"`
	Machine farshore.MachineSpec    `json:"machine"`
	Target  farshore.Target         `json:"target"`
	Home    farshore.Home           `json:"home"`
	Policy  farshore.FailbackPolicy `json:"policy"`
	// On is what the machine's agent at the recovery site shall do; the run finds its instance.
	On activities.SetProtectionIn `json:"on"`
	// Others are the bodies of the machine that are not the one at the recovery site.
	Others []string `json:"others,omitempty"`
	// Former is the way home that stands already, if another master target shall go on with it.
	Former *activities.ReprotectRecord `json:"former,omitempty"`
	Note   string                      `json:"note,omitempty"`
}

// reprotect is one [ReprotectRun].
type reprotect struct {
	saga
	road
	in     ReprotectIn
	record activities.ReprotectRecord
}

// ReprotectRun makes the way home of a machine that runs at the recovery site, and ends when its disks at home hold a clean
// state of it. Nothing is changed before everything was looked at. If it fails or is cancelled, everything is taken back: the
// machine goes on running at the recovery site, its stream fenced as before.
func ReprotectRun(ctx workflow.Context, in ReprotectIn) (activities.ReprotectRecord, error) {
	r := &reprotect{in: in}
	r.record = activities.ReprotectRecord{
		Run: in.Run, Workflow: in.Run.WorkflowID(), Made: in.Run, Home: in.Home, Started: workflow.Now(ctx),
	}
	r.road = road{ReprotectRecord: &r.record, machine: in.Machine, target: in.Target}
	if in.Note != "" {
		r.record.Notes = append(r.record.Notes, in.Note)
	}
	steps := []func(workflow.Context) error{
		r.meet, r.path, r.choose, r.look, r.processServer, r.haveVM, r.give, r.takeSinks, r.turn, r.bringHome,
	}
	if in.Former != nil {
		r.follow(*in.Former)
		steps = []func(workflow.Context) error{r.meet, r.choose, r.look, r.handOver, r.give, r.takeSinks, r.bringHome}
	}
	if err := inOrder(ctx, steps...); err != nil {
		r.tell(ctx, "taking it back")
		return activities.ReprotectRecord{}, activities.Outward(r.unwind(ctx, in.Run, err))
	}
	r.record.Ended = workflow.Now(ctx)
	r.tell(ctx, "done: the machine is replicated home")
	return r.record, nil
}

func (r *reprotect) tell(ctx workflow.Context, what string) {
	describeRun(ctx, r.in.Run, what, farshore.RecoveryPoint{}, r.record.Notes)
}

// follow goes on with a way home that stands: what was made for it stays its own.
func (r *reprotect) follow(former activities.ReprotectRecord) {
	r.record.Made, r.record.Instance, r.record.ProcessServer = former.Made, former.Instance, former.ProcessServer
	r.record.VM, r.record.Epoch = former.VM, former.Epoch
}

// meet waits for the agent in the machine at the recovery site.
func (r *reprotect) meet(ctx workflow.Context) error {
	r.tell(ctx, "looking for the agent of the machine at the recovery site")
	out, err := activities.AwaitAgent.Do(ctx, activities.AwaitAgentIn{
		Machine: r.in.Run.Machine, Instance: r.record.Instance, Others: r.in.Others, Seconds: agentSeconds, StartsOn: r.in.Home.StartsOn(),
	})
	r.record.Instance = cmp.Or(out.Instance, r.record.Instance)
	if err != nil || len(out.Blocks) == 0 {
		return err
	}
	what := fmt.Sprintf("it would not start at home (%s): %s", r.in.Home.StartsOn(), strings.Join(out.Blocks, "; "))
	if r.in.Home.Unready {
		r.record.Notes = append(r.record.Notes, what)
		return nil
	}
	return &fault.Fault{
		Code: "FS-7014", Kind: fault.Refused, Subject: "machine " + string(r.in.Run.Machine), What: what,
		Remedy: "on the machine, at the recovery site: farshore-agent readiness fix --all --target " + r.in.Home.StartsOn() + "; or, if it is known to start there, unready: true in the home",
	}
}

// path waits until there is a private path home. What it lacks is mended elsewhere, by a provider or at home, while nothing
// was changed here yet: so the run stays and says what it waits for.
func (r *reprotect) path(ctx workflow.Context) error {
	if !r.in.Policy.PrivatePath {
		return nil
	}
	r.tell(ctx, "looking at the private path home")
	pause := pathEvery
	for until := workflow.Now(ctx).Add(pathPatience); ; pause = min(2*pause, pathSeldom) {
		_, err := activities.CheckPath.Do(ctx, activities.PathIn{Place: r.place(), Address: r.in.Home.Address})
		if f, ok := fault.As(err); !ok || !slices.Contains(mendedPaths, f.Code) || !workflow.Now(ctx).Before(until) {
			return err
		}
		r.tell(ctx, "waiting for the private path home: "+trouble(err))
		timer := workflow.NewTimerWithOptions(ctx, pause, workflow.TimerOptions{Summary: "Then the private path home is looked at again"})
		if err := timer.Get(ctx, nil); err != nil {
			return err
		}
	}
}

func (r *reprotect) choose(ctx workflow.Context) (err error) {
	r.tell(ctx, "choosing a master target")
	r.record.MasterTarget, err = activities.ChooseMasterTarget.Do(ctx, activities.ChooseMasterTargetIn{
		Run: r.record.Made, Machine: r.in.Machine, Home: r.in.Home,
	})
	return err
}

func (r *reprotect) vm() activities.VSphereMachineIn {
	return activities.VSphereMachineIn{
		Site: r.site(), Machine: r.in.Machine, MasterTarget: r.record.MasterTarget.VM, Overwrite: r.in.Home.Overwrite,
	}
}

func (r *reprotect) look(ctx workflow.Context) error {
	if !r.vsphere() {
		return nil
	}
	r.tell(ctx, "looking whether it could come home")
	_, err := activities.VSpherePreflight.Do(ctx, r.vm())
	return err
}

func (r *reprotect) processServer(ctx workflow.Context) (err error) {
	if !r.in.Policy.TemporaryProcessServer {
		return nil
	}
	r.tell(ctx, "making the temporary process server")
	r.before("remove the temporary process server", func(ctx workflow.Context) error {
		_, err := activities.DeleteRun.Do(ctx, r.place())
		return err
	})
	r.record.ProcessServer, err = activities.EnsureProcessServer.Do(ctx, activities.ProcessServerIn{Place: r.place(), Name: "ps-" + string(r.record.Made.ID)})
	return err
}

func (r *reprotect) haveVM(ctx workflow.Context) (err error) {
	if !r.vsphere() {
		return nil
	}
	r.tell(ctx, "having a VM at home, powered off")
	r.before("remove the VM at home", r.remove)
	r.record.VM, err = activities.VSphereEnsureVM.Do(ctx, r.vm())
	return err
}

// handOver takes the disks from the former master target. One that is dead cannot answer: the disks of a vSphere home are
// detached from it, those of other homes were its own.
func (r *reprotect) handOver(ctx workflow.Context) error {
	former := road{ReprotectRecord: r.in.Former, machine: r.in.Machine, target: r.in.Target}
	r.tell(ctx, "taking the disks from master target "+former.MasterTarget.Name)
	r.before("give the disks to master target "+former.MasterTarget.Name+" again", func(ctx workflow.Context) error {
		return former.reopen(ctx, false)
	})
	late := fault.Fault{
		Code: "FS-7013", Kind: fault.Operator, Subject: "the former master target", What: "it did not give the disks back",
		Remedy: "do not use its disks for anything else before it was heard of again",
	}
	if err := optional(ctx, &r.record.Notes, func(ctx workflow.Context) error { return soon(ctx, former.close, late) }); err != nil {
		return err
	}
	return former.detach(ctx)
}

// soon does a step that waits for somebody who may be lost, and gives it up if it has not ended after lostPatience. The fault
// says what that means.
func soon(ctx workflow.Context, step func(workflow.Context) error, lost fault.Fault) error {
	limited, stop := workflow.WithCancel(ctx)
	defer stop()
	late := false
	timer, stopTimer := workflow.WithCancel(ctx)
	workflow.GoNamed(timer, "give up", func(timer workflow.Context) {
		if workflow.NewTimerWithOptions(timer, lostPatience, workflow.TimerOptions{Summary: "It does not answer"}).Get(timer, nil) == nil {
			late = true
			stop()
		}
	})
	err := step(limited)
	stopTimer()
	if late && temporal.IsCanceledError(err) && ctx.Err() == nil {
		lost.What += fmt.Sprintf(" within %s", lostPatience)
		return &lost
	}
	return err
}

func (r *reprotect) give(ctx workflow.Context) error {
	if r.vsphere() {
		r.tell(ctx, "attaching the disks to the master target")
		r.gate("detach the disks from the master target", r.detach)
	}
	return r.attach(ctx)
}

func (r *reprotect) takeSinks(ctx workflow.Context) error {
	r.tell(ctx, "giving the disks to master target "+r.record.MasterTarget.Name)
	r.gate("take the disks back from the master target", r.close)
	return r.open(ctx)
}

// turn lets the machine at the recovery site go on with the stream.
func (r *reprotect) turn(ctx workflow.Context) error {
	r.tell(ctx, "letting it replicate from the recovery site")
	on := r.in.On
	on.Instance, on.ProcessServer = r.record.Instance, r.record.ProcessServer.Name
	r.before("fence the stream again", func(ctx workflow.Context) error { return fenceAgain(ctx, r.in.Run, on) })
	epoch, err := release(ctx, r.in.Run, on)
	r.record.Epoch = epoch + 1
	return err
}

func (r *reprotect) bringHome(ctx workflow.Context) (err error) {
	r.tell(ctx, "bringing the disks home; the bytes stand in the pending activity's heartbeat")
	r.record.Reached, err = activities.AwaitSinks.Do(ctx, activities.AwaitSinksIn{
		Run: r.record.Made, MasterTarget: r.record.MasterTarget.Name, Epoch: r.record.Epoch,
	})
	return err
}

// CancelReprotectIn is the input of [CancelReprotectRun].
type CancelReprotectIn struct {
	Reprotect activities.ReprotectRecord `json:"reprotect"`
	Machine   farshore.MachineSpec       `json:"machine"`
	Target    farshore.Target            `json:"target"`
	On        activities.SetProtectionIn `json:"on"` // what the machine's agent does, with its instance
}

// CancelReprotectRun gives a way home up that stands: what a reprotect does when it fails, in the same order. The machine
// goes on running at the recovery site, its stream fenced. If the disks cannot be taken back, the way home stands as before;
// once they are, what cannot be removed is a note.
func CancelReprotectRun(ctx workflow.Context, in CancelReprotectIn) (Settled, error) {
	run := in.Reprotect.Run
	way := road{ReprotectRecord: &in.Reprotect, machine: in.Machine, target: in.Target}
	out := Settled{Notes: []string{"its stream is fenced again: it runs at the recovery site and is not replicated"}}
	tell := func(ctx workflow.Context, what string) { describeRun(ctx, run, what, farshore.RecoveryPoint{}, nil) }
	tell(ctx, "giving the way home up")
	var s saga
	s.before("let it replicate home again", func(ctx workflow.Context) error {
		_, err := release(ctx, run, in.On)
		return err
	})
	s.before("give the disks to the master target again", func(ctx workflow.Context) error { return way.reopen(ctx, false) })
	err := inOrder(ctx, func(ctx workflow.Context) error { return fenceAgain(ctx, run, in.On) }, way.close, way.detach)
	if err != nil {
		return Settled{}, activities.Outward(s.unwind(ctx, run, err))
	}
	err = inOrder(ctx,
		func(ctx workflow.Context) error { return optional(ctx, &out.Notes, way.remove) },
		func(ctx workflow.Context) error {
			return optional(ctx, &out.Notes, func(ctx workflow.Context) error {
				gone, err := activities.DeleteRun.Do(ctx, way.place())
				out.Resources = gone.Resources
				return err
			})
		})
	tell(ctx, "given up")
	return out, activities.Outward(err)
}
