package workflows

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

// The bodies of the machine.
const (
	source    = "source"
	recovered = "recovered"
	homed     = "homed"
)

// homeSite is where the machine comes home to, with the machine that runs at the recovery site. It notes down whatever must
// never happen.
type homeSite struct {
	holder   string // the body whose writes are acknowledged; empty: none
	athome   string // the body that runs at home, or did
	journey  int    // failovers that made a machine
	sourceOn bool   // the source answers
	rests    bool   // and is at rest
	asked    string // the operation that brought it to rest
	vmRun    farshore.RunID
	vmOn     bool                // the machine at the recovery site runs
	held     bool                // and is at rest
	homeOn   bool                // the machine at home runs
	vm       bool                // there is a VM at home
	maker    farshore.RunID      // the run that made it
	strange  bool                // the marks of its disks say that they are another's
	attached string              // the master target that has the disks
	open     string              // the master target that writes them
	over     bool                // also over what they hold
	touched  bool                // the machine at home ran from them since
	lost     string              // a master target that answers no more
	mute     bool                // it does not even say so
	blocks   map[string][]string // what would stop the machine from starting, by where
	broken   []string

	configuration map[string]activities.GuestConfiguration // against the body of the name
}

func (h *homeSite) never(what string, happened bool) {
	if happened {
		h.broken = append(h.broken, fmt.Sprintf("%s: %+v", what, *h))
	}
}

func (h *homeSite) told(in activities.SetProtectionIn) {
	h.never("another body than the acknowledged one was told to go on",
		in.Replicate == activities.ReplicateOn && in.Instance != "" && kind(in.Instance) != h.holder)
}

// body names a body of the journey under way; the source is there once.
func (h *homeSite) body(of string) string {
	if of == source || h.journey < 2 {
		return of
	}
	return fmt.Sprintf("%s-%d", of, h.journey)
}

func kind(body string) string {
	of, _, _ := strings.Cut(body, "-")
	return of
}

func (h *homeSite) unfenced() {
	h.never("the fence was taken back while the machine runs elsewhere", h.vmOn)
	if h.holder == "" {
		h.holder = h.athome
	}
}

func noAnswer(subject string) error {
	return &fault.Fault{Code: "FS-6031", Kind: fault.Operator, Subject: subject, What: "it does not answer", Remedy: "start it"}
}

func noConsent() error {
	return &fault.Fault{Code: "FS-5420", Kind: fault.Operator, Subject: "VM web-01", What: "it is of another run", Remedy: "say overwrite: true"}
}

func (w *world) registerHome(r worker.ActivityRegistry) {
	w.registerBodies(r)
	w.registerSinks(r)
	w.registerVSphere(r)
	serve(w, r, activities.CheckPath, func(activities.PathIn) (activities.PreflightOut, error) {
		return activities.PreflightOut{Checks: []string{"the tunnel is connected"}}, nil
	})
	serve(w, r, activities.EnsureProcessServer, func(in activities.ProcessServerIn) (activities.ProcessServerOut, error) {
		w.add(in.Run.ID, "ps")
		return activities.ProcessServerOut{Name: in.Name, Address: "10.0.0.9:9443", VMID: "ps"}, nil
	})
	serve(w, r, activities.UnkeepRun, func(in activities.Place) (activities.RunResources, error) {
		w.home.never("the machine at the recovery site was given up while it is acknowledged", w.home.holder == recovered && w.home.vmRun == in.Run.ID)
		w.kept[in.Run.ID] = false
		return w.list(in.Run.ID), nil
	})
}

// registerBodies serves the steps on the bodies of the machine.
func (w *world) registerBodies(r worker.ActivityRegistry) {
	h := &w.home
	serve(w, r, activities.AwaitAgent, func(in activities.AwaitAgentIn) (activities.AwaitAgentOut, error) {
		for _, of := range []string{source, recovered, homed} { // a former body that is there still has reported first
			body, on := h.body(of), of == source && h.sourceOn || of == recovered && h.vmOn || of == homed && h.homeOn
			if on && !slices.Contains(in.Others, body) && (in.Instance == "" || in.Instance == body) {
				return activities.AwaitAgentOut{Instance: body, Machine: spec(), Blocks: h.blocks[in.StartsOn], Configuration: h.configuration[in.Before]}, nil
			}
		}
		return activities.AwaitAgentOut{}, noAnswer("agent of web-01")
	})
	serve(w, r, activities.Release, func(in activities.ReleaseIn) (activities.ReleaseOut, error) {
		body := kind(in.Instance)
		h.never("the stream was given to a machine while another one runs", body == recovered && h.homeOn || body == homed && h.vmOn)
		h.never("the stream was given to a body of an earlier journey", in.Instance != h.body(body) || body == source)
		w.fencedBy, h.holder = "", body
		if body == homed {
			h.athome = homed
		}
		return activities.ReleaseOut{Epoch: 2}, nil
	})
	serve(w, r, activities.Hold, func(in activities.HoldIn) (farshore.RecoveryPoint, error) {
		if h.sourceOn && !h.vmOn {
			return w.holdSource(in.Operation)
		}
		if !h.vmOn {
			return farshore.RecoveryPoint{}, noAnswer("agent of web-01")
		}
		h.held = true
		return w.points[len(w.points)-1], nil
	})
	serve(w, r, activities.LetGo, func(activities.MachineIn) (activities.None, error) {
		h.held, h.rests = false, false
		return activities.None{}, nil
	})
	serve(w, r, activities.StopVM, func(in activities.VMIn) (activities.None, error) {
		h.never("a machine that cannot write was asked to shut down in order", h.held && !in.Held)
		h.vmOn, h.held = false, false
		return activities.None{}, nil
	})
	serve(w, r, activities.StartVM, func(activities.VMIn) (activities.None, error) {
		h.never("the machine at the recovery site was started while the one at home runs", h.homeOn)
		h.vmOn = true
		return activities.None{}, nil
	})
}

// holdSource brings the source to rest once for an operation; asked again, it says whether it is at rest still.
func (w *world) holdSource(operation string) (farshore.RecoveryPoint, error) {
	h := &w.home
	if h.asked == operation && !h.rests {
		return farshore.RecoveryPoint{}, &fault.Fault{Code: "FS-1022", Kind: fault.Operator, Subject: "machine web-01", What: "it is not at rest"}
	}
	if h.asked != operation {
		w.points = append(w.points, point(4))
	}
	h.asked, h.rests = operation, true
	return point(4), nil
}

// registerSinks serves the steps on master targets.
func (w *world) registerSinks(r worker.ActivityRegistry) {
	h := &w.home
	answers := func(master string) error {
		if master == h.lost {
			return noAnswer("master target " + master)
		}
		return nil
	}
	serve(w, r, activities.ChooseMasterTarget, func(in activities.ChooseMasterTargetIn) (activities.ChooseMasterTargetOut, error) {
		for _, name := range []string{"mt-1", "mt-2"} {
			if name != h.lost && (in.Home.MasterTarget == "" || in.Home.MasterTarget == name) {
				return activities.ChooseMasterTargetOut{Name: name, VM: "uuid of " + name}, nil
			}
		}
		return activities.ChooseMasterTargetOut{}, noAnswer("master target " + in.Home.MasterTarget)
	})
	serve(w, r, activities.OpenSinks, func(in activities.SinksIn) (activities.None, error) {
		h.never("disks were written that are attached elsewhere", h.vm && h.attached != in.MasterTarget)
		h.never("disks were written from which a machine runs", h.homeOn)
		h.never("disks that somebody else wrote were taken for unchanged", h.touched && !in.Touched)
		h.open, h.touched, h.over = in.MasterTarget, false, in.Sinks[0].Overwrite
		return activities.None{}, answers(in.MasterTarget)
	})
	serve(w, r, activities.CloseSinks, func(in activities.SinksIn) (activities.None, error) {
		if in.MasterTarget == h.lost && h.mute { // the clock of the test stands still while an attempt runs, so none waits
			return activities.None{}, temporal.NewApplicationErrorWithOptions("waiting", "Waiting", temporal.ApplicationErrorOptions{NextRetryDelay: time.Minute})
		}
		if err := answers(in.MasterTarget); err != nil {
			return activities.None{}, err
		}
		if h.open == in.MasterTarget {
			h.open = ""
		}
		return activities.None{}, nil
	})
	serve(w, r, activities.AwaitSinks, func(in activities.AwaitSinksIn) (activities.SinksAt, error) {
		if h.open != in.MasterTarget || in.Epoch != 3 {
			return activities.SinksAt{}, fmt.Errorf("sinks %+v, asked for %+v", *h, in)
		}
		return activities.SinksAt{Position: w.points[len(w.points)-1].Position, Bytes: 1 << 20}, answers(in.MasterTarget)
	})
	serve(w, r, activities.FinishSinks, func(in activities.FinishSinksIn) (activities.FinishedSinks, error) {
		h.never("disks were finished that nobody writes", h.open != in.MasterTarget)
		return activities.FinishedSinks{Position: in.Position, ComparedBytes: 1 << 30}, nil
	})
}

// registerVSphere serves the steps on vSphere.
func (w *world) registerVSphere(r worker.ActivityRegistry) {
	h := &w.home
	name := func(uuid string) string { return uuid[len("uuid of "):] }
	serve(w, r, activities.VSpherePreflight, func(in activities.VSphereMachineIn) (activities.PreflightOut, error) {
		if h.vm && h.maker != in.Run.ID && !in.Overwrite {
			return activities.PreflightOut{}, noConsent()
		}
		return activities.PreflightOut{Checks: []string{"login"}}, nil
	})
	serve(w, r, activities.VSphereEnsureVM, func(in activities.VSphereMachineIn) (activities.VSphereVM, error) {
		h.never("a VM that runs was taken for a home", h.homeOn)
		if h.maker == "" {
			h.vm, h.maker = true, in.Run.ID
		}
		h.touched = false // another run knows nothing of its disks
		return activities.VSphereVM{Ref: "vm-42", Name: "web-01", Made: h.maker == in.Run.ID, Disks: []activities.VSphereDisk{{Disk: "d0", UUID: "6000c29"}}}, nil
	})
	serve(w, r, activities.VSphereAttach, func(in activities.VSphereDisksIn) (activities.VSphereAttachedOut, error) {
		h.never("disks of a running machine were attached elsewhere", h.homeOn)
		h.never("disks were attached to two master targets", h.attached != "" && h.attached != name(in.MasterTarget))
		h.attached = name(in.MasterTarget)
		return activities.VSphereAttachedOut{Sinks: []activities.Sink{
			{Disk: "d0", Kind: farshore.HomeDevice, Path: "/dev/disk/by-id/scsi-36000c29", Overwrite: !h.strange},
		}}, nil
	})
	serve(w, r, activities.VSphereDetach, func(in activities.VSphereDisksIn) (activities.None, error) {
		h.never("disks were detached while they are written", h.open == name(in.MasterTarget) && h.open != h.lost)
		if h.attached == name(in.MasterTarget) {
			h.attached = ""
		}
		if h.open == name(in.MasterTarget) {
			h.open = "" // what is detached cannot be written
		}
		return activities.None{}, nil
	})
	serve(w, r, activities.VSpherePowerOn, func(activities.VSphereVMIn) (activities.None, error) {
		h.never("a machine was started whose disks somebody else has", h.attached != "" || h.open != "")
		h.never("a machine was started at home while the other one is acknowledged", h.holder != "")
		h.homeOn, h.touched = true, true
		return activities.None{}, nil
	})
	serve(w, r, activities.VSpherePowerOff, func(activities.VSphereVMIn) (activities.None, error) {
		h.homeOn = false
		return activities.None{}, nil
	})
	serve(w, r, activities.VSphereDelete, func(in activities.VSphereVMIn) (activities.None, error) {
		h.never("a VM was deleted whose disks somebody writes", h.attached != "" || h.open != "")
		h.never("a VM was deleted while it runs", h.homeOn)
		if h.maker == in.Run.ID {
			h.vm, h.maker = false, ""
		}
		return activities.None{}, nil
	})
}

// sound fails the test if something happened that never must.
func (w *world) sound(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range w.home.broken {
		t.Errorf("%s; calls %v", what, w.calls)
	}
	if len(w.pinned) > 0 {
		t.Errorf("a run left its pin at %v; calls %v", w.pinned, w.calls)
	}
}

// thereAlone says whether the machine runs at the recovery site and nothing is left of a way home.
func (w *world) thereAlone(t *testing.T) {
	t.Helper()
	w.sound(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.home
	if !h.vmOn || h.held || h.homeOn || h.vm || h.attached != "" || h.open != "" || h.holder != "" || w.fencedBy == "" || w.replicate != activities.ReplicateOff {
		t.Errorf("home %+v, fenced by %q, replication %q; calls %v", h, w.fencedBy, w.replicate, w.calls)
	}
	if left := w.cloud[reprotectIn().Run.ID]; len(left) > 0 {
		t.Errorf("the reprotect left %v; calls %v", left, w.calls)
	}
}

// replicatedHome says whether the machine runs at the recovery site and is replicated home.
func (w *world) replicatedHome(t *testing.T) {
	t.Helper()
	w.sound(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.home
	if !h.vmOn || h.held || h.homeOn || !h.vm || h.attached == "" || h.open != h.attached || h.holder != recovered || w.replicate != activities.ReplicateOn {
		t.Errorf("home %+v, replication %q; calls %v", h, w.replicate, w.calls)
	}
}
