package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"

	"farshore"
	"farshore/activities"
	"farshore/activities/azure"
	"farshore/dataplane/vault"
	"farshore/tests/lab/armsim"
	"farshore/tests/lab/need"
	"farshore/tests/lab/site"
	"farshore/workers"
)

// step carries out one step of a server of steps, as a worker would.
func step[In, Out any](t *testing.T, of workers.Server, s activities.Step[In, Out], in In) Out {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(patience)
	of.Serve(env)
	var out Out
	value, err := env.ExecuteActivity(s.Name, in)
	if err == nil {
		err = value.Get(&out)
	}
	if err != nil {
		t.Fatalf("%s: %v", s.Name, activities.Inward(err))
	}
	return out
}

func TestATemporaryProcessServerEnrolsReportsAndEndsWithItsRun(t *testing.T) {
	program, err := need.Program(t.Context(), "farshore-dataplane")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := site.New(t, dir, carriedName)
	hub := s.Hub()
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	startups := &armsim.Startups{Others: &armsim.Switchboard{}, Dir: filepath.Join(dir, "vms"), Host: "127.0.0.1"}
	server := armsim.New(t.Context(), armsim.Options{Blobs: armsim.MemoryBlobs{}, Hypervisor: startups, DiskDir: t.TempDir()})
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
	const subscription = "11111111-1111-1111-1111-111111111111"
	a, err := azure.New(azure.Config{
		Subscription: subscription, StorageAccountID: "/account", Endpoint: front.URL, PollEvery: 100 * time.Millisecond,
		ProcessServer: &azure.ProcessServerConfig{
			Program: "file://" + program, SHA256: hex.EncodeToString(sum[:]), Image: "Debian:debian-12:12-gen2:latest", Size: "Standard_D2s_v5",
			Control: hub.Address, Vault: vault.Config{Kind: vault.KindFile, Path: s.Vault},
		},
	}, credential)
	if err != nil {
		t.Fatal(err)
	}
	a.Enrols(hub.Registry())
	server.Furnish(armsim.Furnishing{Subscription: subscription, Group: "dr", Location: "lab", Network: "prod", Subnet: "default"})
	place := activities.Place{
		Run:    activities.NewRun(activities.ReprotectRun, carriedName, "op-1"),
		Target: farshore.Target{Location: "lab", ResourceGroup: "dr", VMSize: "Standard_D2s_v5", Network: "prod"},
	}
	made := step(t, a, activities.EnsureProcessServer, activities.ProcessServerIn{Place: place, Name: "temporary-1"})
	if !strings.HasPrefix(made.Address, "127.0.0.1:") {
		t.Errorf("got %+v", made)
	}
	console, err := startups.Serial(place.Run.Resource("ps-vm"))
	if err != nil || !strings.Contains(string(console), "is enrolled") {
		t.Errorf("its console: %s (%v)", console, err)
	}
	step(t, a, activities.DeleteRun, place)
	if nodes, err := hub.Registry().Enrolled(farshore.RoleProcessServer); err != nil || len(nodes) != 0 {
		t.Errorf("enrolled after its removal: %v (%v)", nodes, err)
	}
}
