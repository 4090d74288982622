package nodes

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

var (
	cellar = farshore.Identity{Role: farshore.RoleMasterTarget, Name: "cellar"}
	attic  = farshore.Identity{Role: farshore.RoleMasterTarget, Name: "attic"}
	back   = activities.Run{ID: "r-web-01-1", Machine: "web-01", Kind: activities.ReprotectRun}
	spec   = farshore.MachineSpec{ID: "web-01", Disks: []farshore.DiskSpec{{ID: "d0", SizeBytes: 1 << 30}, {ID: "d1", SizeBytes: 1 << 31}}}
)

// homes is a board with two master targets that report what they offer.
func homes(cellarOffers, atticOffers *farshorev1.MasterTargetObserved) *board {
	b := newBoard(cellar, attic)
	for id, o := range map[farshore.Identity]*farshorev1.MasterTargetObserved{cellar: cellarOffers, attic: atticOffers} {
		b.observed[id] = &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_MasterTarget{MasterTarget: o}}
		b.at[id] = start
	}
	return b
}

// reports puts what a master target says of the machine, while acting on what is desired now. The caller holds the lock.
func (b *board) reports(id farshore.Identity, o *farshorev1.SinksObserved) {
	report := proto.CloneOf(b.observed[id])
	report.Have = b.desired[id].GetVersion()
	report.GetMasterTarget().Machines = nil
	if o != nil {
		report.GetMasterTarget().Machines = []*farshorev1.SinksObserved{o}
	}
	b.observed[id] = report
}

func folder(path string, free uint64) *farshorev1.MasterTargetObserved {
	return &farshorev1.MasterTargetObserved{Folders: []*farshorev1.OfferedFolder{{Path: path, FreeBytes: free}}}
}

func files(name string) farshore.Home {
	return farshore.Home{Kind: farshore.HomeFile, MasterTarget: name, Disks: map[farshore.DiskID]string{"d0": "/srv/a.img", "d1": "/srv/b.img"}}
}

func TestAMasterTargetIsChosenByWhatItOffersItsLoadAndItsRoom(t *testing.T) {
	roomy, narrow := folder("/srv", 1<<40), folder("/srv", 1<<20)
	device := func(path string, bytes uint64, busy string) *farshorev1.OfferedDevice {
		return &farshorev1.OfferedDevice{Path: path, SizeBytes: bytes, Busy: busy}
	}
	disks := farshore.Home{Kind: farshore.HomeDevice, Disks: map[farshore.DiskID]string{"d0": "/dev/disk/by-id/a", "d1": "/dev/disk/by-id/b"}}
	other := &farshorev1.MachineSinks{Machine: "db-01", Sinks: []*farshorev1.SinkDesired{{SizeBytes: 1 << 30, Path: "/srv/db.img"}}}
	there := files("attic")
	there.Disks = map[farshore.DiskID]string{"d0": "/srv/a.img", "d1": "/srv/db.img"}
	for _, c := range []struct {
		name   string
		board  *board
		home   farshore.Home
		load   farshore.Identity
		want   string
		refuse string
	}{
		{name: "the one with room", board: homes(narrow, roomy), home: files(""), want: "attic"},
		{name: "the one that carries less", board: homes(roomy, roomy), home: files(""), load: attic, want: "cellar"},
		{name: "the one that is named, though it carries more", board: homes(roomy, roomy), home: files("attic"), load: attic, want: "attic"},
		{name: "not one that is named and has no room", board: homes(narrow, roomy), home: files("cellar"), refuse: "bytes are free"},
		{name: "not one that nobody has enrolled", board: homes(roomy, roomy), home: files("roof"), refuse: "none is named roof"},
		{name: "not one that writes another machine there", board: homes(roomy, roomy), home: there, load: attic, refuse: "for machine db-01"},
		{name: "the one that has the devices", board: homes(&farshorev1.MasterTargetObserved{Devices: []*farshorev1.OfferedDevice{
			device("/dev/disk/by-id/a", 1<<30, ""), device("/dev/disk/by-id/b", 1<<31, ""),
		}}, roomy), home: disks, want: "cellar"},
		{name: "not one whose device is mounted", board: homes(&farshorev1.MasterTargetObserved{Devices: []*farshorev1.OfferedDevice{
			device("/dev/disk/by-id/a", 1<<30, ""), device("/dev/disk/by-id/b", 1<<31, "a file system on it is mounted at /"),
		}}, roomy), home: disks, refuse: "is mounted at /"},
		{name: "not one whose device is too small", board: homes(&farshorev1.MasterTargetObserved{Devices: []*farshorev1.OfferedDevice{
			device("/dev/disk/by-id/a", 1<<29, ""), device("/dev/disk/by-id/b", 1<<31, ""),
		}}, roomy), home: disks, refuse: "the disk has 1073741824"},
		{name: "the one in a VM for a machine on vSphere", board: homes(roomy, &farshorev1.MasterTargetObserved{Vm: "4210-uuid"}), home: farshore.Home{Kind: farshore.HomeVSphere}, want: "attic"},
	} {
		if c.load.Name != "" {
			c.board.desired[c.load] = &farshorev1.SyncResponse{Desired: &farshorev1.SyncResponse_MasterTarget{
				MasterTarget: &farshorev1.MasterTargetDesired{Machines: []*farshorev1.MachineSinks{other}},
			}}
		}
		out, err := do(t, c.board, activities.ChooseMasterTarget, activities.ChooseMasterTargetIn{Run: back, Machine: spec, Home: c.home})
		f, refused := fault.As(err)
		switch {
		case c.refuse != "" && (!refused || f.Code != "FS-4117" || !strings.Contains(f.What, c.refuse)):
			t.Errorf("%s: %v, want FS-4117 with %q", c.name, err, c.refuse)
		case c.refuse == "" && (err != nil || out.Name != c.want):
			t.Errorf("%s: %+v, %v, want %s", c.name, out, err, c.want)
		}
	}
}

func TestAMasterTargetThatIsSilentIsNotChosen(t *testing.T) {
	b := homes(folder("/srv", 1<<40), folder("/srv", 1<<40))
	b.at[cellar], b.at[attic] = start.Add(-time.Hour), start.Add(-time.Hour)
	_, err := do(t, b, activities.ChooseMasterTarget, activities.ChooseMasterTargetIn{Run: back, Machine: spec, Home: files("")})
	if f, ok := fault.As(err); !ok || f.Code != "FS-4117" || !strings.Contains(f.What, "does not report") {
		t.Error(err)
	}
}

func given(touched bool) activities.SinksIn {
	return activities.SinksIn{Run: back, MasterTarget: "cellar", Touched: touched, Sinks: []activities.Sink{{Disk: "d0", Kind: farshore.HomeFile, Path: "/srv/a.img", SizeBytes: 1 << 30}}}
}

// obeys is a master target that takes what it is given, goes to where it shall finish, and gives back.
func obeys(id farshore.Identity, b *board) {
	d := b.desired[id].GetMasterTarget().GetMachines()
	if len(d) == 0 {
		b.reports(id, nil)
		return
	}
	o := &farshorev1.SinksObserved{Machine: d[0].GetMachine(), Run: d[0].GetRun(), Sinks: d[0].GetSinks(), Open: true, Finish: d[0].GetFinish(), Finished: d[0].GetFinish()}
	if d[0].GetFinish() != nil {
		o.ComparedBytes, o.TotalBytes = 7<<20, 8<<20
	} else {
		o.Clean = &farshorev1.Position{Generation: 1, Epoch: 4, Seq: 9}
	}
	b.reports(id, o)
}

func TestDisksAreGivenFollowedFinishedAndGivenBack(t *testing.T) {
	b := homes(folder("/srv", 1<<40), folder("/srv", 1<<40))
	b.acts = obeys
	if _, err := do(t, b, activities.OpenSinks, given(false)); err != nil {
		t.Fatal(err)
	}
	at, err := do(t, b, activities.AwaitSinks, activities.AwaitSinksIn{Run: back, MasterTarget: "cellar", Epoch: 4})
	if err != nil || at.Position.Seq != 9 {
		t.Fatalf("%+v, %v", at, err)
	}
	p := farshore.Position{Generation: 1, Epoch: 4, Seq: 12}
	out, err := do(t, b, activities.FinishSinks, activities.FinishSinksIn{Run: back, MasterTarget: "cellar", Position: p})
	if err != nil || out.Position != p || out.ComparedBytes != 7<<20 || out.DifferentBytes != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := do(t, b, activities.CloseSinks, given(false)); err != nil {
		t.Fatal(err)
	}
	if n := len(b.desired[cellar].GetMasterTarget().GetMachines()); n != 0 {
		t.Errorf("%d machines are still desired", n)
	}
	if _, err := do(t, b, activities.OpenSinks, given(true)); err != nil {
		t.Fatal(err)
	}
	if d := b.desired[cellar].GetMasterTarget().GetMachines()[0]; !d.GetTouched() || d.GetFinish() != nil {
		t.Errorf("given again: %v", d)
	}
}

func TestADiskThatMustNotBeWrittenIsAFaultWhenItIsGiven(t *testing.T) {
	b := homes(folder("/srv", 1<<40), folder("/srv", 1<<40))
	mounted := &fault.Fault{Code: "FS-4104", Kind: fault.Refused, Subject: "sink", What: "it is mounted", Remedy: "unmount it"}
	b.acts = func(id farshore.Identity, b *board) {
		d := b.desired[id].GetMasterTarget().GetMachines()[0]
		b.reports(id, &farshorev1.SinksObserved{Machine: d.GetMachine(), Run: d.GetRun(), Sinks: d.GetSinks(), Fault: hub.FaultMessage(mounted)})
	}
	_, err := do(t, b, activities.OpenSinks, given(false))
	if f, ok := fault.As(err); !ok || f.Code != "FS-4104" {
		t.Errorf("%v, want FS-4104", err)
	}
}

func TestARunThatGaveNoDisksCannotFinishAny(t *testing.T) {
	b := homes(folder("/srv", 1<<40), folder("/srv", 1<<40))
	_, err := do(t, b, activities.FinishSinks, activities.FinishSinksIn{Run: back, MasterTarget: "cellar", Position: farshore.Position{Generation: 1, Epoch: 1, Seq: 1}})
	if f, ok := fault.As(err); !ok || f.Code != "FS-4118" {
		t.Errorf("%v, want FS-4118", err)
	}
}

func TestDisksAreNotGivenBackBeforeTheMasterTargetSaysSo(t *testing.T) {
	b := homes(folder("/srv", 1<<40), folder("/srv", 1<<40))
	b.acts = obeys
	if _, err := do(t, b, activities.OpenSinks, given(false)); err != nil {
		t.Fatal(err)
	}
	looks := 0
	b.acts = func(farshore.Identity, *board) {} // it is away
	b.look = func() {
		if looks++; looks == 6 {
			obeys(cellar, b)
		}
	}
	if _, err := do(t, b, activities.CloseSinks, given(false)); err != nil {
		t.Fatal(err)
	}
	if looks < 6 {
		t.Errorf("it was believed after %d looks", looks)
	}
}
