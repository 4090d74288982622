package e2e

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	tlog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"farshore"
	"farshore/activities"
	"farshore/activities/azure"
	"farshore/fault"
	"farshore/tests/lab/armsim"
	"farshore/workflows"
)

const subscription = "11111111-1111-1111-1111-111111111111"

// cloud is the lab's resource manager with the group and the network that a customer has, and the adapter that speaks to it.
func cloud(t *testing.T, hypervisor armsim.Hypervisor, config azure.Config) (*armsim.Server, *azure.Adapter) {
	t.Helper()
	server := armsim.New(t.Context(), armsim.Options{Blobs: armsim.MemoryBlobs{}, Hypervisor: hypervisor, DiskDir: t.TempDir()})
	front := httptest.NewServer(server)
	t.Cleanup(func() {
		front.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	credential, err := azure.CredentialConfig{Kind: "lab"}.Credential(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	config.Subscription, config.StorageAccountID, config.Endpoint, config.PollEvery = subscription, "/account", front.URL, 100*time.Millisecond
	a, err := azure.New(config, credential)
	if err != nil {
		t.Fatal(err)
	}
	server.Furnish(armsim.Furnishing{Subscription: subscription, Group: "dr", Location: "lab", Network: "prod", Subnet: "default"})
	return server, a
}

// fakes serve the steps of a reprotect to files that are not in the cloud.
func fakes(env *testsuite.TestWorkflowEnvironment) {
	activities.AwaitAgent.Serve(env, func(context.Context, activities.AwaitAgentIn) (activities.AwaitAgentOut, error) {
		return activities.AwaitAgentOut{Instance: "recovered"}, nil
	})
	activities.ChooseMasterTarget.Serve(env, func(context.Context, activities.ChooseMasterTargetIn) (activities.ChooseMasterTargetOut, error) {
		return activities.ChooseMasterTargetOut{Name: "cellar"}, nil
	})
	activities.OpenSinks.Serve(env, func(context.Context, activities.SinksIn) (activities.None, error) { return activities.None{}, nil })
	activities.Release.Serve(env, func(context.Context, activities.ReleaseIn) (activities.ReleaseOut, error) {
		return activities.ReleaseOut{Epoch: 2}, nil
	})
	activities.SetProtection.Serve(env, func(context.Context, activities.SetProtectionIn) (activities.SetProtectionOut, error) {
		return activities.SetProtectionOut{}, nil
	})
	activities.AwaitSinks.Serve(env, func(context.Context, activities.AwaitSinksIn) (activities.SinksAt, error) {
		return activities.SinksAt{Bytes: 1}, nil
	})
}

// A reprotect by a private path, with the real adapter over HTTP: there is no connection, then it is down, then it comes up
// without a route to home, then it has one. Each look finds exactly that, and the run goes on.
func TestAReprotectGoesOnWhenThePrivatePathIsMended(t *testing.T) {
	server, adapter := cloud(t, &armsim.Switchboard{}, azure.Config{})
	path := armsim.Path{Network: "/subscriptions/" + subscription + "/resourceGroups/dr/providers/Microsoft.Network/virtualNetworks/prod", Name: "hq"}
	repairs := []func(){
		func() { path.Status, path.Prefixes = "NotConnected", []string{"172.16.0.0/12"} },
		func() { path.Status = "Connected" },
		func() { path.Prefixes = append(path.Prefixes, "192.168.0.0/16") },
	}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(tlog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(patience)
	adapter.Serve(env)
	fakes(env)
	env.SetOnTimerFiredListener(func(string) {
		if len(repairs) == 0 {
			t.Error("it waits though everything is mended")
			env.CancelWorkflow()
			return
		}
		repairs[0]()
		repairs = repairs[1:]
		if err := server.SetPath(path); err != nil {
			t.Error(err)
		}
	})
	var looks []string
	env.SetOnActivityCompletedListener(func(done *activity.Info, _ converter.EncodedValue, err error) {
		if done.ActivityType.Name != activities.CheckPath.Name {
			return
		}
		code := "good"
		if f, ok := fault.As(activities.Inward(err)); ok {
			code = f.Code
			t.Logf("%s: %s (%s)", f.Subject, f.What, f.Remedy)
		}
		looks = append(looks, code)
	})
	policy := farshore.DefaultFailbackPolicy()
	policy.PrivatePath = true
	env.ExecuteWorkflow(workflows.ReprotectRun, workflows.ReprotectIn{
		Run:     activities.NewRun(activities.ReprotectRun, carriedName, "op-1"),
		Machine: farshore.MachineSpec{ID: carriedName, Disks: []farshore.DiskSpec{{ID: "d0", SizeBytes: 1 << 20}}},
		Target:  farshore.Target{Location: "lab", ResourceGroup: "dr", VMSize: "Standard_D2s_v5", Network: "prod"},
		Home:    farshore.Home{Kind: farshore.HomeFile, Address: "192.168.7.1:443", Disks: map[farshore.DiskID]string{"d0": "/srv/home/d0.img"}},
		Policy:  policy,
	})
	if err := env.GetWorkflowError(); err != nil {
		t.Error(err)
	}
	if want := []string{"FS-5204", "FS-5206", "FS-5209", "good"}; !slices.Equal(looks, want) {
		t.Errorf("it found %v, want %v", looks, want)
	}
}
