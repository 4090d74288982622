package vsphere

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"

	"farshore"
	"farshore/activities"
	"farshore/fault"
	"farshore/tests/lab/vcsim"
)

const mib = 1 << 20

var machine = farshore.MachineSpec{
	ID: "web-01", OS: "linux", Firmware: farshore.UEFI, CPUs: 2, MemoryBytes: 1001 * mib,
	Disks: []farshore.DiskSpec{{ID: "data", SizeBytes: 3*mib + 512}, {ID: "os", SizeBytes: 2 * mib, Boot: true}},
	NICs:  []farshore.NICSpec{{Name: "eth0", MAC: "00:50:56:01:02:03"}, {Name: "eth1"}},
}

// lab is an adapter in front of a vCenter on this machine, with one master target.
type lab struct {
	*testing.T
	server  *vcsim.Server
	adapter *Adapter
	devices string
	target  string // BIOS UUID of the master target's VM
	in      activities.VSphereMachineIn
}

func newLab(t *testing.T) *lab { return newLabWith(t, vcsim.Options{}) }

func newLabWith(t *testing.T, opt vcsim.Options) *lab {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir()) // the simulator keeps its datastore there
	l := &lab{T: t, devices: t.TempDir()}
	opt.Devices = l.devices
	var err error
	if l.server, err = vcsim.Start(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.server.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if l.target, err = l.server.MasterTarget(t.Context(), "mt-1"); err != nil {
		t.Fatal(err)
	}
	l.adapter = l.newAdapter(l.vcenter())
	l.in = activities.VSphereMachineIn{
		Site: activities.Site{
			Run:  activities.NewRun(activities.ReprotectRun, "web-01", "op-1"),
			Home: farshore.VSphereHome{VCenter: "hq", Datastore: vcsim.Datastore, Network: vcsim.Network, KeepMAC: true},
		},
		Machine: machine, MasterTarget: l.target,
	}
	return l
}

// vcenter is the lab's configuration.
func (l *lab) vcenter() VCenter {
	l.Helper()
	secret := filepath.Join(l.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(vcsim.Password+"\n"), 0o600); err != nil {
		l.Fatal(err)
	}
	return VCenter{URL: l.server.URL(), Thumbprint: l.server.Thumbprint(), Username: vcsim.User, PasswordFile: secret, Devices: l.devices}
}

// newAdapter is what another worker has: it knows nothing of what was done before.
func (l *lab) newAdapter(v VCenter) *Adapter {
	l.Helper()
	config := Config{VCenters: map[string]VCenter{"hq": v}, PollEvery: time.Millisecond}
	if err := config.Check(); err != nil {
		l.Fatal(err)
	}
	a := New(config, "vault-1")
	l.Cleanup(func() { _ = a.Close(context.Background()) })
	return a
}

// run carries out one step in an activity environment, as a worker would.
func run[In, Out any](l *lab, step activities.Step[In, Out], in In) (Out, error) {
	l.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	l.adapter.Serve(env)
	var out Out
	value, err := env.ExecuteActivity(step.Name, in)
	if err != nil {
		return out, activities.Inward(err)
	}
	return out, value.Get(&out)
}

// must is run without an error.
func must[In, Out any](l *lab, step activities.Step[In, Out], in In) Out {
	l.Helper()
	out, err := run(l, step, in)
	if err != nil {
		l.Fatalf("%s: %v", step.Name, err)
	}
	return out
}

// refused is run that must end in a fault.
func refused[In, Out any](l *lab, step activities.Step[In, Out], in In, code string, kind fault.Kind) *fault.Fault {
	l.Helper()
	_, err := run(l, step, in)
	f, ok := fault.As(err)
	if !ok || f.Code != code || f.Kind != kind || f.Remedy == "" {
		l.Fatalf("%s: %v, want %s, %s, with a remedy", step.Name, err, code, kind)
	}
	return f
}

func (l *lab) disks(vm activities.VSphereVM) activities.VSphereDisksIn {
	return activities.VSphereDisksIn{Site: l.in.Site, VM: vm, MasterTarget: l.target}
}

func (l *lab) vm(vm activities.VSphereVM) activities.VSphereVMIn {
	return activities.VSphereVMIn{Site: l.in.Site, VM: vm}
}

// links lists the devices of machines that are on.
func (l *lab) links() []string {
	l.Helper()
	entries, err := os.ReadDir(l.devices)
	if err != nil {
		l.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// vms counts the machines of the vCenter.
func (l *lab) vms() int { return len(l.server.Registry().All("VirtualMachine")) }

// manyDisks is a machine with n small disks.
func manyDisks(n int) farshore.MachineSpec {
	m := machine
	m.Disks = nil
	for i := range n {
		m.Disks = append(m.Disks, farshore.DiskSpec{ID: farshore.DiskID(fmt.Sprintf("disk-%02d", i)), SizeBytes: mib, Boot: i == 0})
	}
	return m
}
