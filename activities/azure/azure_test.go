package azure

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"go.temporal.io/sdk/testsuite"

	"farshore"
	"farshore/activities"
	"farshore/fault"
	"farshore/tests/lab/armsim"
)

var machine = farshore.MachineSpec{
	ID: "web-01", OS: "linux", Firmware: farshore.BIOS,
	Disks: []farshore.DiskSpec{{ID: "os", SizeBytes: 2 << 20, Boot: true}, {ID: "data", SizeBytes: 3 << 20}},
}

// azureLab is an adapter in front of a resource manager on this machine.
type azureLab struct {
	*testing.T
	server  *armsim.Server
	running *armsim.Switchboard
	adapter *Adapter
	place   activities.Place
}

func newCloud(t *testing.T, kind activities.RunKind) *azureLab {
	t.Helper()
	c := &azureLab{T: t, running: &armsim.Switchboard{}}
	blobs := armsim.MemoryBlobs{"http://vault/os.vhd": armsim.MemoryVHD("os", 2), "http://vault/data.vhd": armsim.MemoryVHD("data", 3)}
	c.server = armsim.New(t.Context(), armsim.Options{Blobs: blobs, Hypervisor: c.running, DiskDir: t.TempDir(), CoreQuota: 4})
	front := httptest.NewServer(c.server)
	t.Cleanup(func() {
		front.Close()
		if err := c.server.Close(); err != nil {
			t.Error(err)
		}
	})
	config := Config{Subscription: "11111111-1111-1111-1111-111111111111", StorageAccountID: "/account", Endpoint: front.URL, PollEvery: time.Millisecond}
	credential, err := CredentialConfig{Kind: "lab"}.Credential(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	if c.adapter, err = New(config, credential); err != nil {
		t.Fatal(err)
	}
	c.place = activities.Place{
		Run:    activities.NewRun(kind, "web-01", "op-1"),
		Target: farshore.Target{Location: "lab", ResourceGroup: "dr", VMSize: "Standard_D2s_v5", Network: "prod", Subnet: "a", StaticAddress: "10.1.0.9", Tags: map[string]string{"owner": "ops"}},
	}
	c.prepareSubscription()
	return c
}

// prepareSubscription makes what a customer has before the first failover: a group and a network.
func (c *azureLab) prepareSubscription() {
	c.Helper()
	if _, err := c.adapter.groups.CreateOrUpdate(c.Context(), "dr", armresources.ResourceGroup{Location: to.Ptr("lab")}, nil); err != nil {
		c.Fatal(err)
	}
	c.putNetwork("prod", nil)
}

// putNetwork makes a virtual network with one subnet, and with peerings.
func (c *azureLab) putNetwork(name string, peerings []*armnetwork.VirtualNetworkPeering) {
	c.Helper()
	p, err := c.adapter.network.NewVirtualNetworksClient().BeginCreateOrUpdate(c.Context(), "dr", name, armnetwork.VirtualNetwork{
		Location: to.Ptr("lab"), Properties: &armnetwork.VirtualNetworkPropertiesFormat{
			AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{to.Ptr("10.1.0.0/16")}}, VirtualNetworkPeerings: peerings,
			Subnets: []*armnetwork.Subnet{{Name: to.Ptr("a"), Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.1.0.0/24")}}},
		},
	}, nil)
	for err == nil && !p.Done() {
		_, err = p.Poll(c.Context())
	}
	if err != nil {
		c.Fatal(err)
	}
}

// run carries out one step in an activity environment, as a worker would.
func run[In, Out any](c *azureLab, step activities.Step[In, Out], in In) (Out, error) {
	c.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	c.adapter.Serve(env)
	var out Out
	value, err := env.ExecuteActivity(step.Name, in)
	if err != nil {
		return out, activities.Inward(err)
	}
	return out, value.Get(&out)
}

// must is run without an error.
func must[In, Out any](c *azureLab, step activities.Step[In, Out], in In) Out {
	c.Helper()
	out, err := run(c, step, in)
	if err != nil {
		c.Fatalf("%s: %v", step.Name, err)
	}
	return out
}

var prepared = []activities.PreparedDisk{
	{Disk: "os", URL: "http://vault/os.vhd", SizeBytes: 2 << 20, Boot: true},
	{Disk: "data", URL: "http://vault/data.vhd", SizeBytes: 3 << 20},
}

// startVM goes through all steps up to a running machine.
func (c *azureLab) startVM(subnet string) activities.CreateVMOut {
	c.Helper()
	disks := must(c, activities.CreateDisks, activities.CreateDisksIn{Place: c.place, Machine: machine, Disks: prepared})
	nic := must(c, activities.CreateNIC, activities.CreateNICIn{Place: c.place, SubnetID: subnet})
	return must(c, activities.CreateVM, activities.CreateVMIn{Place: c.place, Machine: machine, NICID: nic.ID, Disks: disks.Disks})
}

func TestATestFailoverIsIsolatedAndLeavesNothing(t *testing.T) {
	c := newCloud(t, activities.TestRun)
	before := len(c.server.Resources())
	must(c, activities.Preflight, activities.PreflightIn{Place: c.place, Machine: machine})
	network := must(c, activities.EnsureTestNetwork, c.place)
	if !network.Isolated || strings.Contains(network.SubnetID, "/prod/") {
		t.Fatalf("the test's network is %+v", network)
	}
	vm := c.startVM(network.SubnetID)
	on := c.running.On()[c.place.Run.Resource("vm")]
	if len(on.Disks) != 2 || on.UEFI || !on.Isolated {
		t.Errorf("the machine that runs is %+v", on)
	}
	boot := must(c, activities.AwaitBoot, activities.AwaitBootIn{Place: c.place, VMID: vm.ID, Prompt: activities.LoginPrompt, Seconds: 5, Linux: true})
	if !strings.Contains(boot.Evidence[len(boot.Evidence)-1], "login:") {
		t.Errorf("evidence %q", boot.Evidence)
	}
	made := must(c, activities.ListRun, c.place)
	if len(made.Resources) != 6 { // VM, NIC, two disks, network, security group
		t.Errorf("the run has %d resources: %v", len(made.Resources), made.Resources)
	}
	for _, r := range made.Resources {
		if r.Tags["owner"] != "ops" || r.Tags[activities.TagMachine] != "web-01" {
			t.Errorf("%s has tags %v", r.Name, r.Tags)
		}
	}
	removed := must(c, activities.DeleteRun, c.place)
	if len(removed.Resources) != 6 || len(c.server.Resources()) != before || len(c.running.On()) != 0 {
		t.Errorf("removed %d, left %v, running %v", len(removed.Resources), c.server.Resources(), c.running.On())
	}
	if again := must(c, activities.DeleteRun, c.place); len(again.Resources) != 0 {
		t.Errorf("removed twice: %v", again.Resources)
	}
}

func TestAFailoverTakesItsAddressAndIsKept(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	must(c, activities.Preflight, activities.PreflightIn{Place: c.place, Machine: machine})
	c.startVM("")
	nic := must(c, activities.CreateNIC, activities.CreateNICIn{Place: c.place})
	if nic.Address != "10.1.0.9" {
		t.Errorf("address %s", nic.Address)
	}
	kept := must(c, activities.KeepRun, c.place)
	for _, r := range kept.Resources {
		if r.Tags[activities.TagKept] != "true" {
			t.Errorf("%s is not kept: %v", r.Name, r.Tags)
		}
	}
	if removed := must(c, activities.DeleteRun, c.place); len(removed.Resources) != 0 || len(c.running.On()) != 1 {
		t.Errorf("a committed failover was cleaned up: %v", removed.Resources)
	}
	must(c, activities.UnkeepRun, c.place) // the machine came home
	if removed := must(c, activities.DeleteRun, c.place); len(removed.Resources) != len(kept.Resources) || len(c.running.On()) != 0 {
		t.Errorf("kept %d, removed %v, running %v", len(kept.Resources), removed.Resources, c.running.On())
	}
}

func TestARepeatedStepChangesNothing(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	first := c.startVM("")
	count := len(c.server.Resources())
	if second := c.startVM(""); second != first || len(c.server.Resources()) != count {
		t.Errorf("repeated: %v then %v, %d then %d resources", first, second, count, len(c.server.Resources()))
	}
}

func TestWhatAzureSaysBecomesAFaultWithAWayOut(t *testing.T) {
	rows := []struct {
		name string
		plan armsim.Fault
		code string
		kind fault.Kind
	}{
		{"throttled", armsim.Fault{Method: "PUT", Path: "/disks/", Status: 429, Code: "TooManyRequests", Times: 20}, "FS-5001", fault.Transient},
		{"another operation", armsim.Fault{Method: "PUT", Path: "/disks/", Status: 409, Code: "AnotherOperationInProgress"}, "FS-5001", fault.Transient},
		{"the operation is lost", armsim.Fault{Method: "PUT", Path: "/disks/", Lost: true}, "FS-5001", fault.Transient},
		{"no capacity, said late", armsim.Fault{Method: "PUT", Path: "/disks/", LateCode: "AllocationFailed"}, "FS-5102", fault.Operator},
		{"no permission", armsim.Fault{Method: "PUT", Path: "/disks/", Status: 403, Code: "AuthorizationFailed"}, "FS-5002", fault.Operator},
		{"something new", armsim.Fault{Method: "PUT", Path: "/disks/", Status: 400, Code: "NeverHeardOf"}, "FS-5003", fault.Operator},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c := newCloud(t, activities.TestRun)
			c.T = t
			c.server.Inject(r.plan)
			_, err := run(c, activities.CreateDisks, activities.CreateDisksIn{Place: c.place, Machine: machine, Disks: prepared})
			f, ok := fault.As(err)
			if !ok || f.Code != r.code || f.Kind != r.kind || f.Remedy == "" {
				t.Errorf("got %v, want %s", err, r.code)
			}
			if r.kind != fault.Transient || r.plan.Times > 1 {
				return
			}
			must(c, activities.CreateDisks, activities.CreateDisksIn{Place: c.place, Machine: machine, Disks: prepared})
		})
	}
}

func TestPreflightNamesEverythingThatMustBeMended(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	c.place.Target.VMSize, c.place.Target.Subnet, c.place.Target.ResourceGroup = "Standard_None", "missing", "dr"
	big := machine
	big.Disks = []farshore.DiskSpec{{ID: "os", SizeBytes: 3 << 40, Boot: true}}
	_, err := run(c, activities.Preflight, activities.PreflightIn{Place: c.place, Machine: big})
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-5100" {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"disk os: larger than the 2 TiB", "no subnet missing", "size Standard_None: cannot be had"} {
		if !strings.Contains(f.What, part) {
			t.Errorf("%q does not say %q", f.What, part)
		}
	}
}

func TestPreflightSeesThatTheAddressIsTakenAndTheQuotaUsedUp(t *testing.T) {
	c := newCloud(t, activities.FailoverRun)
	c.startVM("")
	c.place.Run = activities.NewRun(activities.FailoverRun, "web-02", "op-2")
	c.place.Target.StaticAddress = ""
	c.startVM("") // four of four cores
	c.place.Run = activities.NewRun(activities.FailoverRun, "web-03", "op-3")
	c.place.Target.StaticAddress = "10.1.0.9"
	_, err := run(c, activities.Preflight, activities.PreflightIn{Place: c.place, Machine: machine})
	text := fmt.Sprint(err)
	if !strings.Contains(text, "address 10.1.0.9: in use") || !strings.Contains(text, "leaves 0 of 4 cores") {
		t.Errorf("got %v", err)
	}
}

func TestAMachineThatDoesNotStartIsReportedWithItsConsole(t *testing.T) {
	c := newCloud(t, activities.TestRun)
	network := must(c, activities.EnsureTestNetwork, c.place)
	vm := c.startVM(network.SubnetID)
	c.running.Silent = true
	_, err := run(c, activities.AwaitBoot, activities.AwaitBootIn{Place: c.place, VMID: vm.ID, Prompt: activities.LoginPrompt, Linux: true})
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-5201" || !strings.Contains(f.What, "GRUB loading") {
		t.Errorf("got %v", err)
	}
}

func TestTheLabCredentialWorksOnThisMachineOnly(t *testing.T) {
	unreadable := filepath.Join(t.TempDir(), "none.pem")
	rows := map[string]struct {
		config   CredentialConfig
		endpoint string
	}{
		"lab against Azure":     {CredentialConfig{Kind: "lab"}, ""},
		"an unknown kind":       {CredentialConfig{Kind: "password"}, ""},
		"a missing certificate": {CredentialConfig{Kind: "certificate", Certificate: unreadable}, ""},
	}
	for name, r := range rows {
		_, err := r.config.Credential(r.endpoint)
		if f, ok := fault.As(err); !ok || f.Code != "FS-5004" {
			t.Errorf("%s: got %v, want FS-5004", name, err)
		}
	}
	if err := os.WriteFile(unreadable, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (CredentialConfig{Kind: "certificate", Certificate: unreadable}).Credential(""); err == nil {
		t.Error("garbage is taken for a certificate")
	}
}
