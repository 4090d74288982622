package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	out, err := try(t, of, s, in)
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	return out
}

// try carries a step out that may not succeed.
func try[In, Out any](t *testing.T, of workers.Server, s activities.Step[In, Out], in In) (out Out, err error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(patience)
	of.Serve(env)
	value, err := env.ExecuteActivity(s.Name, in)
	if err == nil {
		err = value.Get(&out)
	}
	return out, activities.Inward(err)
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
	_, a := cloud(t, startups, azure.Config{
		ProcessServer: &azure.ProcessServerConfig{
			Program: "file://" + program, SHA256: hex.EncodeToString(sum[:]), Image: "Debian:debian-12:12-gen2:latest", Size: "Standard_D2s_v5",
			Control: hub.Address, Vault: vault.Config{Kind: vault.KindFile, Path: s.Vault},
		},
	})
	a.Enrols(hub.Registry())
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
