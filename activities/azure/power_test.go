package azure

import (
	"slices"
	"strings"
	"testing"

	"farshore/activities"
	"farshore/fault"
	"farshore/tests/lab/armsim"
)

// actions are the POSTs that the resource manager has seen, by their last part.
func (c *azureLab) actions() []string {
	var actions []string
	for _, r := range c.server.Requests() {
		if rest, ok := strings.CutPrefix(r, "POST "); ok {
			actions = append(actions, rest[strings.LastIndex(rest, "/")+1:])
		}
	}
	return actions
}

func TestAStoppedMachineGivesItsProcessorsBackAndStartsAsTheSameMachine(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	vm := activities.VMIn{Place: c.place, VMID: c.startVM("").ID}
	before := c.running.On()[c.place.Run.Resource("vm")]
	for range 2 { // the second finds it stopped
		must(c, activities.StopVM, vm)
	}
	if got := c.actions(); len(c.running.On()) != 0 || !slices.Equal(got, []string{"powerOff", "deallocate"}) {
		t.Errorf("running %v after %v", c.running.On(), got)
	}
	for range 2 {
		must(c, activities.StartVM, vm)
	}
	if after := c.running.On()[c.place.Run.Resource("vm")]; before.UUID == "" || after.UUID != before.UUID || !slices.Equal(after.Disks, before.Disks) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if got := c.actions(); !slices.Equal(got, []string{"powerOff", "deallocate", "start"}) {
		t.Errorf("asked for %v", got)
	}
}

func TestAMachineThatIsHeldLosesItsPower(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	must(c, activities.StopVM, activities.VMIn{Place: c.place, VMID: c.startVM("").ID, Held: true})
	if got := c.actions(); len(c.running.On()) != 0 || !slices.Equal(got, []string{"powerOff?skipShutdown=true", "deallocate"}) {
		t.Errorf("running %v after %v", c.running.On(), got)
	}
}

func TestAGuestThatDoesNotShutDownIsStoppedAllTheSame(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	vm := activities.VMIn{Place: c.place, VMID: c.startVM("").ID}
	c.server.Inject(armsim.Fault{Method: "POST", Path: "/powerOff", LateCode: "OSProvisioningClientError"})
	must(c, activities.StopVM, vm)
	if len(c.running.On()) != 0 {
		t.Errorf("still on: %v", c.running.On())
	}
}

func TestOnlyTheMachinesOwnVMIsStoppedOrStarted(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	id := c.startVM("").ID
	foreign := c.place
	foreign.Run = activities.NewRun(activities.FailbackRun, "db-01", "op-2")
	for _, in := range []activities.VMIn{{Place: foreign, VMID: id}, {Place: c.place, VMID: "web-01"}} {
		_, err := run(c, activities.StopVM, in)
		if f, ok := fault.As(err); !ok || f.Code != "FS-5211" || f.Kind != fault.Refused {
			t.Errorf("stop %s for %s: got %v", in.VMID, in.Run.Machine, err)
		}
	}
	if len(c.running.On()) != 1 {
		t.Error("another machine's VM was stopped")
	}
	must(c, activities.DeleteRun, c.place)
	gone := activities.VMIn{Place: c.place, VMID: id}
	must(c, activities.StopVM, gone) // what is not there runs no more
	_, err := run(c, activities.StartVM, gone)
	if f, ok := fault.As(err); !ok || f.Code != "FS-5210" {
		t.Errorf("start what is gone: got %v", err)
	}
}
