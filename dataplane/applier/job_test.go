package applier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/host"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault/storetest"
	"farshore/dataplane/vhd"
	"farshore/tests/setting"
)

// materialiseOnce begins a job and works on it until it is done or somebody died.
func (w *world) materialiseOnce(ctx context.Context, a *Applier, j Job) (JobObserved, error) {
	a.observed.begin(j.ID)
	err := a.try(ctx, j)
	for _, o := range a.Observed().Jobs {
		if o.ID == j.ID {
			return o, err
		}
	}
	return JobObserved{}, err
}

func job(run string, p farshore.Position) Job {
	return Job{ID: "job-" + run + p.String(), Kind: Materialise, Run: farshore.RunID(run), Machine: web, Position: p}
}

// judgeRun compares the disks of a run with the truth at a position.
func (w *world) judgeRun(what string, run string, p farshore.Position, made []MadeDisk) {
	w.t.Helper()
	if len(made) != len(w.Points[p]) {
		w.t.Errorf("%s: %d disks, want %d", what, len(made), len(w.Points[p]))
	}
	for _, d := range made {
		want := w.Points[p][d.Disk]
		got := w.read(runPrefix(farshore.RunID(run)) + string(d.Disk) + ".vhd")
		if int64(len(got)) != d.SizeBytes+vhd.FooterBytes {
			w.t.Fatalf("%s: disk %s: %d bytes for a disk of %d", what, d.Disk, len(got), d.SizeBytes)
		}
		if sectors, err := vhd.Sectors(got[d.SizeBytes:]); err != nil || sectors.Bytes() != d.SizeBytes || sectors != vhd.Align(sectors) {
			w.t.Fatalf("%s: disk %s of %d bytes: footer of %d sectors, %v", what, d.Disk, d.SizeBytes, sectors, err)
		}
		for _, s := range differ(what+": disk "+string(d.Disk), got[:len(want)], want) {
			w.t.Error(s)
		}
		if rest := got[len(want):d.SizeBytes]; !bytes.Equal(rest, make([]byte, len(rest))) {
			w.t.Errorf("%s: disk %s: what the footer's alignment adds is not zero", what, d.Disk)
		}
	}
}

func TestDisksOfEveryRecoveryPointAreExactAndTheReplicaIsUntouched(t *testing.T) {
	for seed := range setting.Number[uint64](t, "SEEDS", 2) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s, r := fileVault(t)
			w := newWorld(t, seed, s, r)
			w.story(10)
			few := func(d *Deps) { d.Settings.Checkpoints = 4 } // older points are made from nothing
			a := w.applier(s, r, eager, few)
			if err := w.catchUp(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			w.story(3) // points behind the replica
			for i, p := range w.Order {
				run := fmt.Sprintf("t%d", i)
				o, err := w.materialiseOnce(t.Context(), a, job(run, p))
				if err != nil {
					t.Fatalf("%v: %v", p, err)
				}
				w.judgeRun(p.String(), run, p, o.Disks)
				if o.DoneBytes != o.TotalBytes {
					t.Errorf("%v: %d of %d bytes done", p, o.DoneBytes, o.TotalBytes)
				}
			}
			if err := w.catchUp(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			w.judge("after the runs")
		})
	}
}

func TestAJobSurvivesDeathBetweenAnyTwoWrites(t *testing.T) {
	for seed := range setting.Number[uint64](t, "SEEDS", 2) {
		s, r := fileVault(t)
		w := newWorld(t, seed, s, r)
		w.story(8)
		if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
			t.Fatal(err)
		}
		p := w.Order[len(w.Order)/2]
		for n := 1; ; n++ {
			what := fmt.Sprintf("seed %d, death before change %d", seed, n)
			died := false
			fs, fr := storetest.Faulty(s, r, storetest.DieAt(n, &died))
			if _, err := w.materialiseOnce(t.Context(), w.applier(fs, fr), job("t1", p)); err != nil && !errors.Is(err, storetest.ErrDead) {
				t.Fatalf("%s: %v", what, err)
			}
			o, err := w.materialiseOnce(t.Context(), w.applier(s, r), job("t1", p))
			if err != nil {
				t.Fatalf("%s, again: %v", what, err)
			}
			w.judgeRun(what, "t1", p, o.Disks)
			if err := w.applier(s, r).discard(t.Context(), "t1"); err != nil {
				t.Fatal(err)
			}
			if !died || t.Failed() {
				break
			}
		}
		w.judge("after the runs")
	}
}

func TestARunIsMovedToAnotherPoint(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 8, s, r)
	w.story(10)
	a := w.applier(s, r, eager)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{len(w.Order) - 1, 0, len(w.Order) / 2, len(w.Order) / 2, len(w.Order) - 1} {
		o, err := w.materialiseOnce(t.Context(), a, job("f1", w.Order[i]))
		if err != nil {
			t.Fatal(err)
		}
		w.judgeRun(fmt.Sprintf("point %d", i), "f1", w.Order[i], o.Disks)
	}
}

func TestAJobRefusesWhatIsNoRecoveryPoint(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 9, s, r)
	unclean := w.Segment(5, false)
	w.Segment(5, true)
	a := w.applier(s, r)
	for what, p := range map[string]farshore.Position{
		"an unclean end": unclean, "nothing": {Generation: 1, Epoch: 1, Seq: 99}, "another generation": {Generation: 7, Epoch: 1, Seq: 1}, "no position": {},
	} {
		_, err := w.materialiseOnce(t.Context(), a, job("t1", p))
		if f := faultOf("job", err); f.Code != "FS-4003" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := w.materialiseOnce(t.Context(), a, Job{ID: "x", Kind: Materialise, Run: "../../m", Machine: web, Position: w.Last()})
	if f := faultOf("job", err); f.Code != "FS-6001" {
		t.Errorf("a run with a bad name: %v", err)
	}
}

func TestTheBootDiskComesFirst(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 10, s, r)
	w.story(2)
	w.putSpec(farshore.MachineSpec{ID: web, Disks: []farshore.DiskSpec{{ID: "sda"}, {ID: "sdb", Boot: true}}})
	o, err := w.materialiseOnce(t.Context(), w.applier(s, r), job("t1", w.Last()))
	if err != nil {
		t.Fatal(err)
	}
	if first := o.Disks[0]; first.Disk != "sdb" || !first.Boot || o.Disks[1].Boot {
		t.Errorf("disks %+v", o.Disks)
	}
}

func TestASingleDiskIsTheBootDiskWhateverTheSpecSays(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 10, s, r)
	w.putSpec(farshore.MachineSpec{ID: web, Disks: []farshore.DiskSpec{{ID: "sda"}}})
	got, err := w.applier(s, r).bootDisk(t.Context(), web, segment.Header{Disks: []segment.Disk{{ID: "sda"}}})
	if err != nil || got != "sda" {
		t.Errorf("bootDisk = %q, %v", got, err)
	}
}

func TestQEMUReadsTheSizeFromTheFooter(t *testing.T) {
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is not installed: the footer is not tried with it")
	}
	s, r := fileVault(t)
	w := newWorld(t, 11, s, r)
	w.story(2)
	o, err := w.materialiseOnce(t.Context(), w.applier(s, r), job("t1", w.Last()))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range o.Disks {
		out, err := exec.CommandContext(t.Context(), qemu, "info", "-f", "vpc", "--output", "json", d.URL).Output()
		if err != nil {
			t.Fatalf("%s: %v", d.URL, err)
		}
		var info struct {
			Size int64 `json:"virtual-size"`
		}
		if err := json.Unmarshal(out, &info); err != nil || info.Size != d.SizeBytes {
			t.Errorf("disk %s: qemu-img reads %d bytes, want %d (%v)", d.Disk, info.Size, d.SizeBytes, err)
		}
	}
}

// observed waits until what an applier reports is as wanted.
func observed(t *testing.T, a *Applier, want func(Observed) bool) Observed {
	t.Helper()
	for {
		o := a.Observed()
		if want(o) {
			return o
		}
		if err := host.Pause(t.Context(), a.deps.Poll); err != nil {
			t.Fatalf("waiting in vain: %+v", o)
		}
	}
}

// run runs an applier for a test and gives the way to tell it what is desired.
func run(t *testing.T, a *Applier) chan<- Desired {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	desired, ended := make(chan Desired), make(chan error)
	go func() { ended <- a.Run(ctx, desired) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return desired
}

func done(id string) func(Observed) bool {
	return func(o Observed) bool {
		i := slices.IndexFunc(o.Jobs, func(j JobObserved) bool { return j.ID == id })
		return i >= 0 && o.Jobs[i].State != Running
	}
}

func TestAnApplierDoesWhatIsDesired(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 12, s, r)
	w.story(3)
	a := w.applier(s, r, eager)
	desired := run(t, a)
	at := func(p farshore.Position) func(Observed) bool {
		return func(o Observed) bool { return len(o.Replicas) == 1 && o.Replicas[0].Applied == p }
	}
	desired <- Desired{Machines: []farshore.MachineID{web}}
	observed(t, a, at(w.tail()))
	w.story(3)
	observed(t, a, at(w.tail()))

	making, removing := job("t1", w.Last()), Job{ID: "remove", Kind: Discard, Run: "t1"}
	desired <- Desired{Machines: []farshore.MachineID{web}, Jobs: []Job{making}}
	o := observed(t, a, done(making.ID))
	if o.Jobs[0].State != Done {
		t.Fatalf("job %+v", o.Jobs[0])
	}
	w.judgeRun("a job", "t1", w.Last(), o.Jobs[0].Disks)
	message := o.Message()
	if len(message.GetJobs()) != 1 || len(message.GetJobs()[0].GetDisks()) != len(o.Jobs[0].Disks) || message.GetReplicas()[0].GetMachine() != string(web) {
		t.Errorf("message %v", message)
	}

	desired <- Desired{Jobs: []Job{making, removing}}
	observed(t, a, done(removing.ID))
	w.wantNoDisks("t1")
	again := w.applier(s, r) // after a restart the first job is not done again
	desiredAgain := run(t, again)
	desiredAgain <- Desired{Jobs: []Job{making, removing}}
	o = observed(t, again, done(removing.ID))
	if o.Jobs[0].State != Failed || o.Jobs[0].Fault.Code != "FS-4004" {
		t.Errorf("job %+v", o.Jobs[0])
	}
	w.wantNoDisks("t1")
}

func (w *world) wantNoDisks(run string) {
	w.t.Helper()
	for e, err := range w.vault.Replicas.List(w.t.Context(), runPrefix(farshore.RunID(run))) {
		w.t.Errorf("run %s still has %v, %v", run, e, err)
	}
}

func TestJobsOfManyRunsAndAReplicaGoOnAtOnce(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 13, s, r)
	w.story(6)
	fs, fr := storetest.Faulty(s, r, func(storetest.Op) storetest.Fate { return storetest.Pass })
	a := w.applier(fs, fr, eager, func(d *Deps) { d.Settings.Checkpoints = 1 })
	desired := run(t, a)
	d := Desired{Machines: []farshore.MachineID{web}}
	for i, p := range w.Order {
		d.Jobs = append(d.Jobs, job(fmt.Sprintf("t%d", i), p))
	}
	desired <- d
	o := observed(t, a, func(o Observed) bool {
		return len(o.Jobs) == len(d.Jobs) && !slices.ContainsFunc(o.Jobs, func(j JobObserved) bool { return j.State == Running })
	})
	for _, j := range o.Jobs {
		i := slices.IndexFunc(d.Jobs, func(x Job) bool { return x.ID == j.ID })
		if j.State != Done {
			t.Errorf("%s: %+v", j.ID, j)
			continue
		}
		w.judgeRun(j.ID, string(d.Jobs[i].Run), d.Jobs[i].Position, j.Disks)
	}
}

func TestAFaultNamesTheReplicaThatStandsStill(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 14, s, r)
	w.story(1)
	a := w.applier(s, r)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	d, err := r.Open(t.Context(), chain.ReplicaPrefix(web, 1)+"sda.vhd")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Fence(t.Context()), d.SetState(t.Context(), []byte("nonsense")), d.Close()); err != nil {
		t.Fatal(err)
	}
	desired := run(t, a)
	desired <- Desired{Machines: []farshore.MachineID{web}}
	o := observed(t, a, func(o Observed) bool { return len(o.Faults) > 0 })
	if f := o.Faults[0]; f.Code != "FS-4006" || !strings.Contains(f.Subject, "sda") {
		t.Errorf("fault %v", f)
	}
}
