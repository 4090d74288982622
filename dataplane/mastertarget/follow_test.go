package mastertarget

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/host"
	"farshore/dataplane/sink"
	"farshore/fault"
)

func TestAMachineComesHomeToFilesAndEveryBlockIsCompared(t *testing.T) {
	w := newWorld(t, 1)
	s := w.machine("web-01")
	s.story(30)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	r.want(wanted)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() && o.Clean == s.Last() })
	s.story(30)
	wanted.Finish = s.Last()
	r.want(wanted)
	o := r.finished("web-01", s.Last())
	s.judge(wanted, s.Last())
	if o.Proof.Different != 0 || o.Proof.Compared == 0 || o.Proof.Compared > o.Proof.Total {
		t.Errorf("proof %+v", o.Proof)
	}
	t.Logf("%d of %d bytes compared, %d written, %d found equal", o.Proof.Compared, o.Proof.Total, o.Written, o.Equal)
	r.want()
	for len(r.Observed().Machines) > 0 {
		<-r.changed
	}
	s.judge(wanted, s.Last())
}

func TestDisksThatHaveGonePastAPositionAreBroughtBackToIt(t *testing.T) {
	w := newWorld(t, 2)
	s := w.machine("web-01")
	s.story(40)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	r.want(wanted)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() })
	for _, i := range []int{len(s.Order) / 2, 0, len(s.Order) - 1} {
		wanted.Finish = s.Order[i]
		r.want(wanted)
		o := r.finished("web-01", s.Order[i])
		s.judge(wanted, s.Order[i])
		t.Logf("%v: %d written, %d found equal", s.Order[i], o.Written, o.Equal)
	}
}

// gone waits until a machine is reported no more.
func (r *running) gone(m farshore.MachineID) {
	r.t.Helper()
	for slices.ContainsFunc(r.machinesNow(), func(o MachineObserved) bool { return o.Machine == m }) {
		if err := host.Pause(r.t.Context(), time.Millisecond); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestDisksThatWereGivenBackAreNotWrittenByAnOldDocument(t *testing.T) {
	w := newWorld(t, 3)
	s := w.machine("web-01")
	s.story(10)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	r.want(wanted)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() })
	r.want()
	r.gone("web-01")
	at := s.Last()
	s.story(10)
	r.desired <- Desired{Version: Version{Incarnation: 1, Number: 1}, Machines: []Machine{wanted}} // it was kept somewhere
	r.stop()
	again := h.start() // and a restarted one acts upon what it kept
	again.desired <- Desired{Version: Version{Incarnation: 1, Number: 1}, Machines: []Machine{wanted}}
	again.desired <- Desired{Version: Version{Incarnation: 1, Number: 1}, Machines: []Machine{wanted}}
	if o := again.machinesNow(); len(o) > 0 {
		t.Errorf("it brings %v", o)
	}
	s.judge(wanted, at)
}

func TestDisksAreGivenAgainByTheSameRun(t *testing.T) {
	w := newWorld(t, 4)
	s := w.machine("web-01")
	s.story(20)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	wanted.Finish = s.Last()
	r.want(wanted)
	first := r.finished("web-01", s.Last())
	r.want()
	r.gone("web-01")

	r.want(wanted) // nobody has touched them
	if o := r.finished("web-01", s.Last()); o.Written != first.Written || o.Proof != first.Proof {
		t.Errorf("untouched: %+v, was %+v", o, first)
	}
	r.want()
	r.gone("web-01")

	f, err := os.OpenFile(wanted.Sinks[0].Path, os.O_WRONLY, 0) // the machine ran from them
	if err == nil {
		_, err = f.WriteAt([]byte("the machine wrote this"), 8192)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.story(3)
	wanted.Touched, wanted.Finish = true, s.Last()
	r.want(wanted)
	o := r.finished("web-01", s.Last())
	s.judge(wanted, s.Last())
	if o.Equal == 0 {
		t.Errorf("nothing was found equal: %+v", o)
	}
	r.want()
	r.gone("web-01")

	wanted.Run, wanted.Touched = "b-2", false // another run has to confirm what they hold
	r.want(wanted)
	for {
		now := r.machinesNow()
		if len(now) == 1 && now[0].Fault != nil {
			if now[0].Fault.Code != "FS-4107" {
				t.Errorf("another run: %v", now[0].Fault)
			}
			return
		}
		if err := host.Pause(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANewGenerationIsFollowedOntoTheSameDisks(t *testing.T) {
	w := newWorld(t, 5)
	s := w.machine("web-01")
	s.story(10)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	r.want(wanted)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() })
	s.Claim(true)
	s.story(10)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() })
	wanted.Finish = s.Last()
	r.want(wanted)
	r.finished("web-01", s.Last())
	s.judge(wanted, s.Last())
}

func TestADiskThatIsNoPartOfThePointIsNotFinished(t *testing.T) {
	w := newWorld(t, 6)
	s := w.machine("web-01")
	s.story(5)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	wanted.Sinks[0].Disk, wanted.Finish = "nvme9", s.Last()
	r.want(wanted)
	for {
		for _, o := range r.machinesNow() {
			if o.Fault != nil {
				if o.Fault.Code != "FS-4113" {
					t.Error(o.Fault)
				}
				return
			}
		}
		if err := host.Pause(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAByteThatDiffersIsFoundAndSaid(t *testing.T) {
	w := newWorld(t, 7)
	s := w.machine("web-01")
	s.story(20)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	wanted.Finish = s.Last()
	r.want(wanted)
	r.finished("web-01", s.Last())
	r.stop()

	f, err := os.OpenFile(wanted.Sinks[0].Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // it was written through
	d := h.deps()
	target := New(d)
	k := way{Target: target, machine: wanted}
	if k.set, err = sink.Open(t.Context(), sink.Offer{Folders: []string{h.folder}}, target.machineDir("web-01"), "web-01", wanted.Sinks); err != nil {
		t.Fatal(err)
	}
	defer k.set.Close() // nothing is written by it
	if err := k.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, err := k.prove(t.Context())
	if err != nil || whole.Different != 0 {
		t.Fatalf("%+v, %v", whole, err)
	}
	found, random := 0, w.random
	const flips = 40
	for range flips {
		var one [1]byte
		at := random.Int64N(300 << 10)
		if _, err := f.ReadAt(one[:], at); err != nil {
			t.Fatal(err)
		}
		before := one[0]
		one[0] ^= 1 << random.IntN(8)
		if _, err := f.WriteAt(one[:], at); err != nil {
			t.Fatal(err)
		}
		if _, err := k.prove(t.Context()); err != nil {
			if fl, ok := fault.As(err); !ok || fl.Code != "FS-4114" {
				t.Fatal(err)
			}
			found++
		}
		if _, err := f.WriteAt([]byte{before}, at); err != nil {
			t.Fatal(err)
		}
	}
	share := float64(whole.Compared) / float64(whole.Total)
	if float64(found) < flips*share/2 { // those in places of no matter are not looked at
		t.Errorf("%d of %d bits that were turned over were found; %.2f of the disks are compared", found, flips, share)
	}
	t.Logf("%d of %d found, %.2f of the disks compared", found, flips, share)
}

func TestMachinesComeHomeThroughTwoMasterTargets(t *testing.T) {
	w := newWorld(t, 8)
	homes := []home{w.home("cellar"), w.home("attic")}
	targets := []*running{homes[0].start(), homes[1].start()}
	var streams []*stream
	wanted := make([][]Machine, 2)
	for i := range 5 {
		s := w.machine(farshore.MachineID(fmt.Sprintf("web-%02d", i)))
		s.story(8)
		streams = append(streams, s)
		wanted[i%2] = append(wanted[i%2], homes[i%2].files(s.ID))
	}
	for i, r := range targets {
		r.want(wanted[i]...)
	}
	for _, s := range streams {
		s.story(8)
	}
	for i, s := range streams {
		wanted[i%2][i/2].Finish = s.Last()
	}
	for i, r := range targets {
		r.want(wanted[i]...)
	}
	for i, s := range streams {
		o := targets[i%2].finished(s.ID, s.Last())
		s.judge(wanted[i%2][i/2], s.Last())
		if o.Proof.Different > 0 {
			t.Errorf("machine %s: %+v", s.ID, o.Proof)
		}
	}
}

func TestADiskOfTheMachineThatHasNoSinkIsLeftOut(t *testing.T) {
	w := newWorld(t, 10)
	s := w.machine("web-01")
	s.story(15)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	wanted.Sinks, wanted.Finish = wanted.Sinks[:1], s.Last()
	r.want(wanted)
	r.finished("web-01", s.Last())
	s.judge(wanted, s.Last())
	wanted = h.files("web-01") // and is given later
	s.story(5)
	wanted.Finish = s.Last()
	r.want(wanted)
	r.finished("web-01", s.Last())
	s.judge(wanted, s.Last())
}

func TestASealBehindThePointIsNoReasonToBeginAnew(t *testing.T) {
	w := newWorld(t, 11)
	s := w.machine("web-01")
	s.story(10)
	at := s.Last()
	s.Claim(false) // seals the epoch, and writes nothing
	s.Claim(false)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	r.want(wanted)
	before := r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied.Compare(at) > 0 })
	wanted.Finish = at
	r.want(wanted)
	if o := r.finished("web-01", at); o.Applied != before.Applied || o.Written < before.Written {
		t.Errorf("it was at %v, and is at %v", before.Applied, o.Applied)
	}
	s.judge(wanted, at)
}
