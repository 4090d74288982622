package armsim

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
)

// machine is a virtual machine behind its resource.
type machine struct {
	Machine
	power string // "running", "stopped" or "deallocated", as an instance view says it
}

// instanceView is what Azure tells of a machine besides what was asked for. The caller holds the lock.
func (s *Server) instanceView(key string) object {
	m := s.machines[key]
	return object{"statuses": []object{
		{"code": "ProvisioningState/succeeded", "level": "Info"},
		{"code": "PowerState/" + m.power, "level": "Info", "displayStatus": "VM " + m.power},
	}}
}

// withView is a machine's resource with its instance view, for a GET that asks to expand it.
func (s *Server) withView(key string, body object) object {
	if s.machines[key] == nil {
		return body
	}
	expanded, inner := object{}, object{}
	for name, value := range body {
		expanded[name] = value
	}
	for name, value := range properties(body) {
		inner[name] = value
	}
	inner["instanceView"] = s.instanceView(key)
	expanded["properties"] = inner
	return expanded
}

// changePower answers powerOff, deallocate and start. What is so already succeeds too.
func (s *Server) changePower(w http.ResponseWriter, r *http.Request, key, action string) {
	m, body := s.machines[key], s.resources[key]
	if m == nil {
		answerError(w, refuse(http.StatusConflict, "OperationNotAllowed", "%s is being made or removed", key))
		return
	}
	work := s.stopMachine(m, "stopped")
	switch action {
	case "deallocate":
		work = s.stopMachine(m, "deallocated")
	case "start":
		if m.power == "deallocated" && s.coresUsed()+coresPerMachine > s.opt.CoreQuota {
			answerError(w, refuse(http.StatusConflict, "OperationNotAllowed", "the operation could exceed the approved cores quota of %d", s.opt.CoreQuota))
			return
		}
		work = s.startMachine(key)
	}
	s.begin(w, r, http.StatusAccepted, operationStart{key: key, body: body, work: work, action: true})
}

// startMachine powers a machine on, with the disks and the identity it was made with.
func (s *Server) startMachine(key string) work {
	m := s.machines[key]
	return func(ctx context.Context) (object, error) {
		if s.powerOf(m) == "running" {
			return nil, nil
		}
		if err := s.opt.Hypervisor.Start(ctx, m.Machine); err != nil {
			return nil, refuse(http.StatusOK, "OSProvisioningClientError", "start %s: %v", m.Name, err)
		}
		s.setPower(m, "running")
		return nil, nil
	}
}

// stopMachine powers a machine off. The guest is not asked first: the lab's machines do not listen for a power button.
func (s *Server) stopMachine(m *machine, power string) work {
	return func(context.Context) (object, error) {
		s.opt.Hypervisor.Stop(m.Name)
		s.setPower(m, power)
		return nil, nil
	}
}

func (s *Server) powerOf(m *machine) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.power
}

func (s *Server) setPower(m *machine, power string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.power = power
}

// newUUID is a random one, of version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
