package armsim

import (
	"context"
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
	if old := s.resources[key]; old != nil {
		properties(body)["vmId"] = properties(old)["vmId"]
		return nil, nil
	}
	if used := s.coresUsed(); used+coresPerMachine > s.opt.CoreQuota {
		return nil, refuse(http.StatusConflict, "OperationNotAllowed",
			"the operation could exceed the approved cores quota: limit %d, in use %d, asked %d", s.opt.CoreQuota, used, coresPerMachine)
	}
	for _, nic := range list(body, "properties.networkProfile.networkInterfaces") {
		if s.resources[strings.ToLower(text(nic, "id"))] == nil {
			return nil, refuse(http.StatusNotFound, "NotFound", "interface %q does not exist", text(nic, "id"))
		}
	}
	disks := []string{strings.ToLower(text(body, "properties.storageProfile.osDisk.managedDisk.id"))}
	for _, d := range list(body, "properties.storageProfile.dataDisks") {
		disks = append(disks, strings.ToLower(text(d, "managedDisk.id")))
	}
	for _, d := range disks {
		if s.resources[d] == nil {
			return nil, refuse(http.StatusNotFound, "NotFound", "disk %q does not exist", d)
		}
		if state := text(s.resources[d], "properties.diskState"); state != "Unattached" {
			return nil, refuse(http.StatusConflict, "OperationNotAllowed", "disk %s is %s", d, state)
		}
	}
	vm := Machine{Name: nameOf(key), UUID: newUUID(), UEFI: text(s.resources[disks[0]], "properties.hyperVGeneration") == "V2"}
	for _, d := range disks {
		p := properties(s.resources[d])
		p["diskState"], s.resources[d]["managedBy"] = "Attached", key
		vm.Disks = append(vm.Disks, s.diskPath(d))
	}
	properties(body)["vmId"] = vm.UUID
	s.machines[key] = &machine{Machine: vm, power: "stopped"}
	return s.startMachine(key), nil
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
