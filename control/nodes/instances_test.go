package nodes

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
)

// TestWhatEachBodyOfAMachineReportsIsKeptApart is a machine whose VM at the recovery site is wanted while its source comes back.
func TestWhatEachBodyOfAMachineReportsIsKeptApart(t *testing.T) {
	s := start(t)
	web := farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}
	node := s.enrol(web)
	report := func(instance, host string) {
		t.Helper()
		_, err := s.sync(node, &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{
			Instance: instance, Machine: &farshorev1.MachineSpec{Hostname: host},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(hostname string, instances ...string) {
		t.Helper()
		q, _, _ := s.Observed(web)
		if got := q.GetAgent().GetMachine().GetHostname(); got != hostname {
			t.Errorf("what counts was said by %q, want %q", got, hostname)
		}
		if d := cmp.Diff(instances, s.Instances(web)); d != "" {
			t.Errorf("instances -want +got:\n%s", d)
		}
	}
	report("source", "hq")
	want("hq", "source")
	report("vm", "azure")
	want("azure", "vm", "source") // nobody is wanted: whoever spoke last
	err := s.SetDesired(t.Context(), web, func(d *farshorev1.SyncResponse) { d.GetAgent().Instance = "source" })
	if err != nil {
		t.Fatal(err)
	}
	want("hq", "vm", "source")
	if all := s.Bodies(web); len(all) != 2 || all[0].Instance != "vm" || all[0].Acts || !all[1].Acts || !all[0].Connected ||
		all[0].Report.GetAgent().GetMachine().GetHostname() != "azure" {
		t.Errorf("bodies %+v", all)
	}
	report("vm", "azure-2")
	want("hq", "vm", "source")
	if q, _, ok := s.ObservedOf(web, "vm"); !ok || q.GetAgent().GetMachine().GetHostname() != "azure-2" {
		t.Errorf("the VM said %v", q)
	}
	for i := range 3 * maxInstances {
		report(fmt.Sprintf("clone-%d", i), "elsewhere")
	}
	if n := len(s.Instances(web)); n != maxInstances {
		t.Errorf("%d instances are remembered, want %d", n, maxInstances)
	}
	s.close()
	again := startIn(t, s.dir, s.ca, 2, "127.0.0.1:0")
	if q, _, ok := again.Observed(web); !ok || q.GetAgent().GetMachine().GetHostname() != "hq" {
		t.Errorf("after a restart of the server, what counts was said by %v", q)
	}
	if err := again.Remove(web); err != nil {
		t.Fatal(err)
	}
	if left := again.Instances(web); len(left) > 0 {
		t.Errorf("of a removed node there are still %v", left)
	}
}
