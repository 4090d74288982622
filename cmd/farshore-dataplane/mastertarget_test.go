package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/hub"
	"farshore/dataplane/mastertarget"
	"farshore/fault"
)

// newMasterTargetSite is an applier's site at which a master target is enrolled, and the device that it may write.
func newMasterTargetSite(t *testing.T) (s applierSite, c masterTargetConfig, name, node string) {
	t.Helper()
	s = newApplierSite(t)
	node = disktest.NewLoop(t, sectors*block.SectorSize).Path
	c = masterTargetConfig{
		NodeConfig: NodeConfig{Control: "127.0.0.1:1", State: filepath.Join(t.TempDir(), "state"), Vault: s.config.Vault}, KeyConfig: s.config.KeyConfig,
		Settings: mastertarget.Settings{Devices: []string{filepath.Join(t.TempDir(), "*")}},
	}
	name = filepath.Join(filepath.Dir(c.Devices[0]), "disk-1")
	if err := os.Symlink(node, name); err != nil {
		t.Fatal(err)
	}
	s.ca.NodeIn(t, c.State, farshore.RoleMasterTarget, "cellar")
	return s, c, name, node
}

func TestAMasterTargetBringsADiskHomeWithoutTheConfigurationServer(t *testing.T) {
	s, c, name, node := newMasterTargetSite(t)
	kept := fmt.Sprintf(`{"version": {"incarnation": 1, "number": 7}, "masterTarget": {"machines": [{"machine": "web-01", "run": "b-1",
		"finish": {"generation": 1, "epoch": 1, "seq": 1}, "sinks": [{"disk": "sda", "kind": "device", "path": %q, "sizeBytes": "%d"}]}]}}`, name, len(s.content))
	if err := os.WriteFile(filepath.Join(c.State, hub.DesiredFile), []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("control: %s\nstate: %s\nkeyFile: %s\npollSeconds: 1\ndevices: [%q]\nvault: {kind: file, path: %s}\n",
		c.Control, c.State, c.KeyFile, c.Devices[0], c.Vault.Path)
	path := filepath.Join(t.TempDir(), "master-target.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), os.Args[0], "master-target", "--config", path)
	program.Env = append(os.Environ(), asProgram+"=1")
	var said bytes.Buffer
	program.Stderr = &said
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	defer func() {
		program.Process.Kill() // it has ended only if the test failed
		<-ended
		if t.Failed() {
			t.Logf("it said:\n%s", said.String())
		}
	}()
	var proof struct {
		Position                   string
		Compared, Different, Total int64
	}
	for proof.Position == "" {
		if body, err := os.ReadFile(filepath.Join(c.State, "sinks/web-01/proof.json")); err == nil {
			if err := json.Unmarshal(body, &proof); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the disk was not proved")
		case err := <-ended:
			ended <- err
			t.Fatalf("the master target ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if proof.Position != "g1.e1.s1" || proof.Different != 0 || proof.Compared != int64(len(s.content)) {
		t.Errorf("proof %+v", proof)
	}
	got, err := os.ReadFile(node)
	if err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("the device does not hold the machine's disk: %d bytes, %v", len(got), err)
	}
}

func TestAMasterTargetNeedsAnIdentityOfItsOwnAndSomethingToOffer(t *testing.T) {
	s := newApplierSite(t)
	c := masterTargetConfig{
		NodeConfig: s.config.NodeConfig, KeyConfig: s.config.KeyConfig, // the applier's
		Settings: mastertarget.Settings{Folders: []string{"/srv"}},
	}
	if f, ok := fault.As(runMasterTarget(t.Context(), c, slog.New(slog.DiscardHandler))); !ok || f.Code != "FS-2107" {
		t.Errorf("got %v, want FS-2107", f)
	}
	for _, settings := range []mastertarget.Settings{{}, {Devices: []string{"/dev/sd*"}}, {Folders: []string{"srv"}}, {Folders: []string{"/srv"}, Lanes: -1}} {
		c := masterTargetConfig{NodeConfig: NodeConfig{Control: "a:1", Vault: s.config.Vault}, Settings: settings}
		if f, ok := fault.As(c.complete("master-target.yaml")); !ok || f.Code != "FS-4115" {
			t.Errorf("%+v: got %v, want FS-4115", settings, f)
		}
	}
}
