package mastertarget

import (
	"testing"
)

func TestAMachineComesHomeToFilesAndEveryBlockIsCompared(t *testing.T) {
	w := newWorld(t, 1)
	s := w.machine("web-01")
	s.story(30)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	r.want(wanted)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.last() && o.Clean == s.last() })
	s.story(30)
	wanted.Finish = s.last()
	r.want(wanted)
	o := r.finished("web-01", s.last())
	s.judge(wanted, s.last())
	if o.Proof.Different != 0 || o.Proof.Compared == 0 || o.Proof.Compared > o.Proof.Total {
		t.Errorf("proof %+v", o.Proof)
	}
	t.Logf("%d of %d bytes compared, %d written, %d found equal", o.Proof.Compared, o.Proof.Total, o.Written, o.Equal)
	r.want()
	for len(r.Observed().Machines) > 0 {
		<-r.changed
	}
	s.judge(wanted, s.last())
}

func TestDisksThatHaveGonePastAPositionAreBroughtBackToIt(t *testing.T) {
	w := newWorld(t, 2)
	s := w.machine("web-01")
	s.story(40)
	h := w.home("home")
	r := h.start()
	wanted := h.files("web-01")
	r.want(wanted)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.last() })
	for _, i := range []int{len(s.order) / 2, 0, len(s.order) - 1} {
		wanted.Finish = s.order[i]
		r.want(wanted)
		o := r.finished("web-01", s.order[i])
		s.judge(wanted, s.order[i])
		t.Logf("%v: %d written, %d found equal", s.order[i], o.Written, o.Equal)
	}
}
