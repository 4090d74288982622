package nodes

import (
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
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

// examined has an agent tell what it has seen of its machine.
func (b *board) examined(instance string, findings []*farshorev1.ReadinessFinding, files ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.bodies[instance].GetAgent()
	o.Machine.Os, o.ReadinessUnix, o.Readiness = "linux", 1, findings
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		o.Configuration = append(o.Configuration, &farshorev1.ConfigurationFile{Name: name, Sha256: []byte(content)})
	}
}

func TestAnAwaitedAgentSaysWhatStopsTheMachineAndWhatOfItWasChanged(t *testing.T) {
	b := site()
	for _, body := range []string{"source", "vm", "mute"} {
		b.body(body, "d0")
	}
	b.bodies["mute"].GetAgent().Machine.Os = "linux" // its agent never looks
	b.examined("source", nil, "/etc/fstab=1", "/etc/hostname=1", "/etc/crypttab=1")
	b.examined("vm", []*farshorev1.ReadinessFinding{
		{Code: "initramfs-drivers", Severity: "blocks", Targets: []string{"vmware"}, Subject: "/boot/initrd.img", What: "it lacks vmw_pvscsi"},
		{Code: "serial-console", Severity: "note", Targets: []string{"vmware"}},
		{Code: "initramfs-drivers", Severity: "blocks", Targets: []string{"kvm"}},
	}, "/etc/fstab=2", "/etc/hostname=1", "/etc/modules=1")
	in := activities.AwaitAgentIn{Machine: "web-01", Instance: "vm", Seconds: 1, StartsOn: "vmware", Before: "source"}
	out, err := do(t, b, activities.AwaitAgent, in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Blocks) != 1 || out.Blocks[0] != "initramfs-drivers, /boot/initrd.img: it lacks vmw_pvscsi" {
		t.Errorf("it is stopped by %q", out.Blocks)
	}
	if c := out.Configuration; c.Files != 3 || strings.Join(c.Changes, ", ") != "/etc/fstab, /etc/modules (new), /etc/crypttab (gone)" {
		t.Errorf("its configuration: %+v", c)
	}
	in.Instance = "mute"
	if out, err := do(t, b, activities.AwaitAgent, in); err != nil || out.Instance != "mute" || out.Configuration.Files != 0 {
		t.Errorf("of an agent that does not look: %+v, %v", out, err)
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

// What an agent said before says nothing about what happened since, nor does a report that was under way.
func TestAMachineIsAtRestStillOnlyIfItsAgentSaysSoAgain(t *testing.T) {
	b := site()
	says := func(holding bool) {
		b.reportLocked(&farshorev1.AgentObserved{
			CutNumber: 1, Holding: holding, CutPoint: hub.PointMessage(farshore.RecoveryPoint{Machine: "web-01", Position: farshore.Position{Generation: 1, Epoch: 2, Seq: 3}}),
		})
	}
	b.acts = func(farshore.Identity, *board) { says(true) }
	in := activities.HoldIn{Machine: "web-01", Operation: "op-1", Seconds: 600}
	if _, err := do(t, b, activities.Hold, in); err != nil {
		t.Fatal(err)
	}
	b.acts = func(farshore.Identity, *board) {}
	in.Still = true
	for _, holds := range []bool{true, false} {
		looks := 0
		b.look = func() {
			looks++
			says(holds || looks < 10) // it lets go while a report is under way
			b.at[web] = start.Add(time.Duration(looks/6) * time.Second)
		}
		_, err := do(t, b, activities.Hold, in)
		if holds && err != nil {
			t.Error(err)
		}
		if !holds {
			wantFault(t, err, "FS-1022")
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

// What the agent blames is what a person shall mend; a hold that ended by itself wants nothing but another.
func TestAMachineThatIsNotAtRestSaysWhatHelps(t *testing.T) {
	swap := &farshorev1.Fault{Code: "FS-1022", Kind: "operator", Subject: "disk /dev/sdb", What: "it was written to", Remedy: "stop the swap"}
	for name, c := range map[string]struct {
		faults []*farshorev1.Fault
		remedy string
	}{
		"a disk was written to": {[]*farshorev1.Fault{{Code: "FS-1007", Kind: "transient", What: "it is busy"}, swap}, "stop the swap"},
		"the hold ended":        {nil, "repeat the operation"},
	} {
		t.Run(name, func(t *testing.T) {
			b := site()
			b.acts = func(_ farshore.Identity, b *board) {
				b.reportLocked(&farshorev1.AgentObserved{CutNumber: 1, Faults: c.faults, CutPoint: hub.PointMessage(farshore.RecoveryPoint{
					Machine: "web-01", Position: farshore.Position{Generation: 1, Epoch: 2, Seq: 3},
				})})
			}
			_, err := do(t, b, activities.Hold, activities.HoldIn{Machine: "web-01", Operation: "op-1", Seconds: 600})
			wantFault(t, err, "FS-1022")
			if f, _ := fault.As(err); !strings.Contains(f.Remedy, c.remedy) || strings.Contains(f.Remedy, "applications") {
				t.Errorf("it says what helps: %q, want %q", f.Remedy, c.remedy)
			}
		})
	}
}
