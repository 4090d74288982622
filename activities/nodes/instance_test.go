package nodes

import (
	"testing"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

// body has one body of the machine report, with one disk.
func (b *board) body(instance string, disk farshore.DiskID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bodies[instance] = &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{
		Instance: instance, Machine: hub.MachineMessage(farshore.MachineSpec{Hostname: instance, Disks: []farshore.DiskSpec{{ID: disk, SizeBytes: 1 << 30}}}),
	}}}
}

func TestAnAgentIsAwaitedThatIsNoneOfTheFormerBodies(t *testing.T) {
	b := site()
	b.body("source", "d0")
	b.body("starting", "d0")
	b.bodies["starting"].GetAgent().Machine.Disks = nil // it has not looked at its disks yet
	in := activities.AwaitAgentIn{Machine: "web-01", Others: []string{"source"}, Seconds: 1}
	if _, err := do(t, b, activities.AwaitAgent, in); err == nil {
		t.Error("an agent was found that nobody runs")
	} else {
		wantFault(t, err, "FS-6031")
	}
	b.body("vm", "d0")
	out, err := do(t, b, activities.AwaitAgent, in)
	if err != nil || out.Instance != "vm" || out.Machine.Hostname != "vm" || out.Machine.ID != "web-01" {
		t.Errorf("awaited %+v, %v", out, err)
	}
	in = activities.AwaitAgentIn{Machine: "web-01", Instance: "source", Seconds: 1}
	if out, err := do(t, b, activities.AwaitAgent, in); err != nil || out.Instance != "source" {
		t.Errorf("awaited %+v, %v", out, err)
	}
}

func TestProtectionNamesTheBodyThatActs(t *testing.T) {
	b := site()
	b.body("source", "d-old")
	b.body("vm", "d-new")
	for _, row := range []struct{ in, want string }{{in: "vm", want: "d-new"}, {in: "source", want: "d-old"}} {
		in := on()
		in.Instance = row.in
		out, err := do(t, b, activities.SetProtection, in)
		if err != nil || out.Instance != row.in || len(out.Machine.Disks) != 1 || string(out.Machine.Disks[0].ID) != row.want {
			t.Errorf("set %+v, %v", out, err)
		}
		doc, _, _ := b.Desired(web)
		if d := doc.GetAgent(); d.GetInstance() != row.in || len(d.GetDisks()) != 1 || d.GetDisks()[0] != row.want {
			t.Errorf("wanted of the agent: %v", d)
		}
	}
}

func TestAMachineIsHeldAndLetGo(t *testing.T) {
	b := site()
	b.acts = func(id farshore.Identity, b *board) {
		if id != web {
			return
		}
		c := b.desired[web].GetAgent().GetCut()
		b.reportLocked(&farshorev1.AgentObserved{
			CutNumber: c.GetNumber(), Holding: c.GetHoldSeconds() > 0,
			CutPoint: hub.PointMessage(farshore.RecoveryPoint{Machine: "web-01", Position: farshore.Position{Generation: 1, Epoch: 2, Seq: 3}}),
		})
	}
	in := activities.HoldIn{Machine: "web-01", Operation: "op-1", Seconds: 600}
	for range 2 { // a step may run again
		point, err := do(t, b, activities.Hold, in)
		if err != nil || point.Position.Seq != 3 {
			t.Errorf("held at %+v, %v", point, err)
		}
	}
	if d, _, _ := b.Desired(web); d.GetAgent().GetCut().GetNumber() != 1 || d.GetAgent().GetCut().GetHoldSeconds() != 600 {
		t.Errorf("wanted of the agent: %v", d)
	}
	if _, err := do(t, b, activities.LetGo, activities.MachineIn{Machine: "web-01"}); err != nil {
		t.Fatal(err)
	}
	_, err := do(t, b, activities.Hold, in) // its time is over: it does not say that the machine is at rest
	wantFault(t, err, "FS-1022")
}
