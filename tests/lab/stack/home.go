package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/lab/process"
)

// MasterTarget is the program that brings machines home, by the name that Kill and Start take.
const MasterTarget = "master-target"

// VCenter is how the configuration server reaches a vCenter of the lab; it calls it "hq".
type VCenter struct {
	URL, Thumbprint, User, Password string
	Devices                         string // where this host shows the disks of the master target's VM
}

// vsphereSection is the section `vsphere` of the configuration server's file.
func (s *Stack) vsphereSection() string {
	if s.VCenter == nil {
		return ""
	}
	v := s.VCenter
	return fmt.Sprintf("vsphere:\n  pollEvery: 100ms\n  vcenters:\n    hq:\n      url: %s\n      thumbprint: %q\n      username: %s\n      passwordFile: %s\n      devices: %s\n",
		v.URL, v.Thumbprint, v.User, s.write("vcenter.password", v.Password), v.Devices)
}

// StartMasterTarget enrols a master target that says it runs in a VM with the BIOS UUID, which may be empty, and runs it.
// devices are patterns of names of devices that it may write.
// A pattern that ends with a slash is a folder for files. One of each can be given.
func (s *Stack) StartMasterTarget(ctx context.Context, vm string, devices ...string) error {
	config := fmt.Sprintf("control: %s\nstate: %s\nkeyFile: %s\npollSeconds: 1\nvm: %q\n",
		s.control(), s.path(MasterTarget), s.path("keys", "vault.key"), vm)
	for _, pattern := range devices {
		if strings.HasSuffix(pattern, "/") {
			config += "folders: [" + strings.TrimSuffix(pattern, "/") + "]\n"
			continue
		}
		config += "devices: [" + pattern + "]\n"
	}
	if err := s.join(ctx, "farshore-dataplane", MasterTarget, "cellar"); err != nil {
		return err
	}
	return s.run(ctx, process.Spec{
		Name: MasterTarget, Ready: s.heard(MasterTarget), // one that has not reported is not chosen
		Command: []string{s.program("farshore-dataplane"), MasterTarget, "--config", s.write("master-target.yaml", config+s.vaultSection())},
	})
}

// heard wants that a node of the role has reported to the configuration server.
func (s *Stack) heard(role string) func(context.Context) error {
	return func(ctx context.Context) error {
		nodes, err := s.Nodes(ctx)
		if err == nil && !slices.ContainsFunc(nodes, func(n *farshorev1.Node) bool { return n.GetRole() == role && n.GetLastSeenUnix() > 0 }) {
			err = fmt.Errorf("no %s has reported", role)
		}
		return err
	}
}
