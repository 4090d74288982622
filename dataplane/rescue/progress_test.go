package rescue

import (
	"testing"

	"farshore"
	"farshore/dataplane/mastertarget"
	"farshore/fault"
)

func TestTheConsoleSaysWhatTheDisksAreAt(t *testing.T) {
	point := farshore.Position{Generation: 1, Epoch: 2, Seq: 9}
	o := mastertarget.MachineObserved{Machine: "web-01"}
	rows := []struct {
		when   string
		change func()
		want   string
	}{
		{"nobody has agreed yet", func() {}, ""},
		{"it writes", func() { o.Open, o.Written, o.Equal = true, 3*gib/2, gib }, "Machine web-01: 1.5 GiB written, 1.0 GiB was there already."},
		{"nothing is behind", func() { o.CaughtUp = true }, "Machine web-01: its disks hold all that is in the vault, and follow it until: farshore failback start web-01"},
		{"a point is to be reached", func() { o.Finish = point }, "Machine web-01: 1.5 GiB written, 1.0 GiB was there already."},
		{"it compares", func() { o.Proof = mastertarget.Proof{Total: 20 * gib, Compared: 5 * gib} }, "Machine web-01: 5.0 GiB of 20.0 GiB read back and compared with g1.e2.s9."},
		{"it cannot go on", func() { o.Fault = &fault.Fault{Code: "FS-4110", What: "no room"} }, "Machine web-01 stands still: no room (FS-4110)"},
		{"it is home", func() { o.Finished = point }, ""},
	}
	for _, row := range rows {
		row.change()
		if got := Progress(o); got != row.want {
			t.Errorf("%s: said %q, want %q", row.when, got, row.want)
		}
	}
}
