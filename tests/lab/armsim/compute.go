package armsim

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const serialPrefix = "/serial/"

// acceptDisk checks a managed disk; Import copies the page blob into a raw file.
func (s *Server) acceptDisk(key string, body object) (work, *armError) {
	p := properties(body)
	if old := s.resources[key]; old != nil { // a retried PUT changes nothing
		for _, name := range []string{"diskState", "diskSizeBytes"} {
			p[name] = properties(old)[name]
		}
		return nil, nil
	}
	if option := text(body, "properties.creationData.createOption"); option != "Import" {
		return nil, refuse(http.StatusBadRequest, "InvalidParameter", "createOption %q is not supported here", option)
	}
	if text(body, "properties.creationData.storageAccountId") == "" {
		return nil, refuse(http.StatusBadRequest, "InvalidParameter", "creationData.storageAccountId is required to import")
	}
	source := text(body, "properties.creationData.sourceUri")
	size, err := checkVHD(s.ctx, s.opt.Blobs, source)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "InvalidParameter", "%v", err)
	}
	p["diskState"], p["diskSizeBytes"] = "Unattached", size
	path := s.diskPath(key)
	return func(ctx context.Context) (object, error) {
		return nil, importDisk(ctx, s.opt.Blobs, source, path, size)
	}, nil
}

// diskPath is the raw file of a managed disk.
func (s *Server) diskPath(key string) string {
	return filepath.Join(s.opt.DiskDir, strings.ReplaceAll(strings.Trim(key, "/"), "/", "_")+".raw")
}

// acceptMachine checks a virtual machine, attaches its disks once every check has passed, and starts it.
func (s *Server) acceptMachine(key string, body object) (work, *armError) {
	customData, err := takeCustomData(body)
	if err != nil {
		return nil, err
	}
	if old := s.machines[key]; old != nil {
		if old.CustomData != customData {
			return nil, refuse(http.StatusConflict, "PropertyChangeNotAllowed", "changing property 'osProfile.customData' is not allowed")
		}
		properties(body)["vmId"] = old.UUID
		return nil, nil
	}
	if used := s.coresUsed(); used+coresPerMachine > s.opt.CoreQuota {
		return nil, refuse(http.StatusConflict, "OperationNotAllowed",
			"the operation could exceed the approved cores quota: limit %d, in use %d, asked %d", s.opt.CoreQuota, used, coresPerMachine)
	}
	vm := Machine{Name: nameOf(key), UUID: newUUID(), CustomData: customData}
	if err := s.connect(body, &vm); err != nil {
		return nil, err
	}
	if text(body, "properties.storageProfile.osDisk.createOption") == "FromImage" {
		err = s.diskFromImage(key, body)
	} else {
		err = s.attachDisks(key, body, &vm)
	}
	if err != nil {
		return nil, err
	}
	properties(body)["vmId"] = vm.UUID
	s.machines[key] = &machine{Machine: vm, power: "stopped"}
	return s.startMachine(key), nil
}

// takeCustomData gives what the machine shall run at its first start. As in Azure, it is never told again.
func takeCustomData(body object) (string, *armError) {
	profile, _ := at(body, "properties.osProfile").(object)
	encoded, _ := profile["customData"].(string)
	delete(profile, "customData")
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "InvalidParameter", "osProfile.customData is not valid base64: %v", err)
	}
	return string(data), nil
}

// connect finds the machine's interfaces, its first address, and whether it is isolated: whether a subnet of it has a
// security group. The only groups of the lab are those that let nothing through.
func (s *Server) connect(body object, vm *Machine) *armError {
	for _, ref := range list(body, "properties.networkProfile.networkInterfaces") {
		nic := s.resources[strings.ToLower(text(ref, "id"))]
		if nic == nil {
			return refuse(http.StatusNotFound, "NotFound", "interface %q does not exist", text(ref, "id"))
		}
		for _, c := range list(nic, "properties.ipConfigurations") {
			subnet := s.resources[strings.ToLower(text(c, "properties.subnet.id"))]
			vm.Isolated = vm.Isolated || text(subnet, "properties.networkSecurityGroup.id") != ""
			vm.Address = cmp.Or(vm.Address, text(c, "properties.privateIPAddress"))
		}
	}
	return nil
}

// attachDisks attaches existing disks to a machine.
func (s *Server) attachDisks(key string, body object, vm *Machine) *armError {
	disks := []string{strings.ToLower(text(body, "properties.storageProfile.osDisk.managedDisk.id"))}
	for _, d := range list(body, "properties.storageProfile.dataDisks") {
		disks = append(disks, strings.ToLower(text(d, "managedDisk.id")))
	}
	for _, d := range disks {
		if s.resources[d] == nil {
			return refuse(http.StatusNotFound, "NotFound", "disk %q does not exist", d)
		}
		if state := text(s.resources[d], "properties.diskState"); state != "Unattached" {
			return refuse(http.StatusConflict, "OperationNotAllowed", "disk %s is %s", d, state)
		}
	}
	vm.UEFI = text(s.resources[disks[0]], "properties.hyperVGeneration") == "V2"
	for _, d := range disks {
		p := properties(s.resources[d])
		p["diskState"], s.resources[d]["managedBy"] = "Attached", key
		vm.Disks = append(vm.Disks, s.diskPath(d))
	}
	return nil
}

// diskFromImage makes the disk of a machine that is provisioned from an image. Nothing is on it: what the machine does is
// its custom data's business.
func (s *Server) diskFromImage(key string, body object) *armError {
	for _, path := range []string{"osProfile.adminUsername", "osProfile.computerName", "storageProfile.osDisk.name"} {
		if text(body, "properties."+path) == "" {
			return refuse(http.StatusBadRequest, "InvalidParameter", "required parameter '%s' is missing (null)", path)
		}
	}
	if len(list(body, "properties.osProfile.linuxConfiguration.ssh.publicKeys")) == 0 {
		return refuse(http.StatusBadRequest, "InvalidParameter", "authentication using either SSH or by user name and password must be enabled in Linux profile")
	}
	group, _, _ := strings.Cut(text(body, "id"), "/virtualMachines/")
	id := group + "/disks/" + text(body, "properties.storageProfile.osDisk.name")
	s.keep(id, object{"diskState": "Attached"})
	s.resources[strings.ToLower(id)]["managedBy"] = key
	return nil
}

// along are the resources that a machine takes along when it is deleted. The caller holds the lock.
func (s *Server) along(machine object) []string {
	var keys []string
	if text(machine, "properties.storageProfile.osDisk.deleteOption") == "Delete" {
		group, _, _ := strings.Cut(text(machine, "id"), "/virtualMachines/")
		keys = append(keys, strings.ToLower(group+"/disks/"+text(machine, "properties.storageProfile.osDisk.name")))
	}
	for _, ref := range list(machine, "properties.networkProfile.networkInterfaces") {
		if text(ref, "properties.deleteOption") == "Delete" {
			keys = append(keys, strings.ToLower(text(ref, "id")))
		}
	}
	return keys
}

// coresPerMachine is what every machine counts for, whatever its size: enough to test a quota.
const coresPerMachine = 2

func (s *Server) coresUsed() int {
	used := 0
	for _, m := range s.machines {
		if m.power != "deallocated" {
			used += coresPerMachine
		}
	}
	return used
}

func nameOf(key string) string { return key[strings.LastIndex(key, "/")+1:] }

// detach frees the disks of a machine that failed or went away. The caller holds the lock.
func (s *Server) detach(key string) {
	for _, body := range s.resources {
		if owner, _ := body["managedBy"].(string); owner == key {
			delete(body, "managedBy")
			properties(body)["diskState"] = "Unattached"
		}
	}
}

// release ends what stands behind a resource that is being deleted: running machines and disk files.
func (s *Server) release(start operationStart) {
	for _, key := range s.under(start.key) {
		switch {
		case strings.Contains(key, "/virtualmachines/"):
			s.opt.Hypervisor.Stop(nameOf(key))
		case strings.Contains(key, "/disks/"):
			if err := os.Remove(s.diskPath(key)); err != nil && !os.IsNotExist(err) {
				fmt.Fprintf(os.Stderr, "armsim: remove disk %s: %v\n", key, err)
			}
		}
	}
}

// under lists a resource and everything below it.
func (s *Server) under(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for other := range s.resources {
		if other == key || strings.HasPrefix(other, key+"/") {
			keys = append(keys, other)
		}
	}
	return keys
}
