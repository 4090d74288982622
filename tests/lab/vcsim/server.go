package vcsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"farshore/tests/lab/qemu"
)

// The names of what the vCenter has, and who may log in.
const (
	User       = "farshore"
	Password   = "only-for-the-lab"
	Datacenter = "DC0"
	Cluster    = "DC0_C0"
	Datastore  = "LocalDS_0"
	Network    = "DC0_DVPG0"
)

// Options say what the vCenter stands on.
type Options struct {
	Devices string // folder that stands for /dev/disk/by-id of the machines that are on
	Loop    bool   // devices are loop devices (needs root); else they are the files themselves
	Guests  string // folder for the consoles of machines, which really boot then; empty: being on is a word
}

// Server is the vCenter. Close must be called.
type Server struct {
	opt    Options
	model  *simulator.Model
	http   *simulator.Server
	admin  *govmomi.Client // the lab's own session
	strict *strict
	shim   *shim
	front  *front

	mu    sync.Mutex
	calls []string
}

// Start makes a vCenter with one datacenter, a cluster of three hosts and a datastore, and no machines.
func Start(ctx context.Context, opt Options) (*Server, error) {
	model := simulator.VPX()
	model.Machine, model.Host = 0, 0
	if err := model.Create(); err != nil {
		return nil, fmt.Errorf("make the simulator's inventory: %w", err)
	}
	model.Service.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(User, Password)}
	s := &Server{opt: opt, model: model, http: model.Service.NewServer()}
	s.front = &front{behind: s.http.Config.Handler}
	s.http.Config.Handler = s.front
	s.strict = newStrict(s, model.Map())
	s.shim = newShim(opt, model.Map())
	model.Map().AddHandler(s.shim)
	model.Map().Handler = s.strict.handle
	admin, err := govmomi.NewClient(ctx, s.http.URL, true)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log in to the simulator: %w", err), s.Close(ctx))
	}
	s.admin = admin
	return s, s.furnish()
}

// furnish gives the datastore what the simulator leaves open.
func (s *Server) furnish() error {
	for _, e := range s.model.Map().All("Datastore") {
		store, ok := e.(*simulator.Datastore)
		if !ok {
			return fmt.Errorf("the simulator's datastore is a %T", e)
		}
		store.Summary.Type = string(types.HostFileSystemVolumeFileSystemTypeVMFS)
	}
	return nil
}

// Close stops every machine and the server, and removes what they kept.
func (s *Server) Close(ctx context.Context) error {
	if s.admin != nil {
		_ = s.admin.Logout(ctx) // the server ends in any case
	}
	s.http.Close()
	err := s.shim.close(ctx)
	s.model.Remove()
	return err
}

// URL is where the vCenter is.
func (s *Server) URL() string { return "https://" + s.http.URL.Host }

// Thumbprint is the SHA-256 of its certificate.
func (s *Server) Thumbprint() string { return s.http.CertificateInfo().ThumbprintSHA256 }

// CAFile is a file with its certificate.
func (s *Server) CAFile() (string, error) { return s.http.CertificateFile() }

// Fail makes the next calls of a method end in a fault, as the answer to the request; ClassName_Task for long ones.
func (s *Server) Fail(method string, times int, with types.BaseMethodFault) {
	s.FailAfter(method, 0, times, with)
}

// FailAfter is Fail after some calls that succeed.
func (s *Server) FailAfter(method string, calls, times int, with types.BaseMethodFault) {
	s.model.Service.AddFaultRule(&simulator.FaultInjectionRule{
		MethodName: method, ObjectType: "*", ObjectName: "*", Probability: 1, SkipCount: calls, MaxCount: times, Enabled: true,
		FaultType: simulator.FaultTypeCustom, Fault: with,
	})
}

// FailLate makes the next calls of a method end in a fault, as the end of their task.
func (s *Server) FailLate(method string, times int, with types.BaseMethodFault) {
	s.strict.failLate(method, times, with)
}

// Withhold takes privileges from the user, on everything. It replaces what was withheld before.
func (s *Server) Withhold(privileges ...string) { s.strict.withhold(privileges) }

// EndSessions ends everybody's session, as an administrator may.
func (s *Server) EndSessions(ctx context.Context) error {
	admin, err := govmomi.NewClient(ctx, s.http.URL, true)
	if err != nil {
		return fmt.Errorf("log in to the simulator: %w", err)
	}
	var m mo.SessionManager
	c := property.DefaultCollector(admin.Client)
	if err := c.RetrieveOne(ctx, *admin.ServiceContent.SessionManager, []string{"sessionList", "currentSession"}, &m); err != nil {
		return fmt.Errorf("list the sessions: %w", err)
	}
	var ids []string
	for _, session := range m.SessionList {
		if session.Key != m.CurrentSession.Key {
			ids = append(ids, session.Key)
		}
	}
	if len(ids) > 0 {
		if err := admin.SessionManager.TerminateSession(ctx, ids); err != nil {
			return fmt.Errorf("end the sessions: %w", err)
		}
	}
	s.admin = admin
	return nil
}

// Calls lists the methods that were called, in order.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *Server) note(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method)
}

// Download reads a file of the datastore, "web-01/web-01-flat.vmdk", as any client does: over HTTPS.
func (s *Server) Download(ctx context.Context, file string) (io.ReadCloser, int64, error) {
	f := find.NewFinder(s.admin.Client)
	dc, err := f.Datacenter(ctx, Datacenter)
	if err != nil {
		return nil, 0, fmt.Errorf("find the datacenter: %w", err)
	}
	store, err := f.SetDatacenter(dc).Datastore(ctx, Datastore)
	if err != nil {
		return nil, 0, fmt.Errorf("find the datastore: %w", err)
	}
	return store.Download(ctx, file, &soap.DefaultDownload)
}

// Flat is the file with the bytes of a VMDK, "[LocalDS_0] web-01/web-01.vmdk", on this host.
func (s *Server) Flat(file string) string { return s.shim.flat(file) }

// FlatName is the name of that file on its datastore.
func FlatName(file string) string {
	var at object.DatastorePath
	at.FromString(file)
	return strings.TrimSuffix(at.Path, ".vmdk") + "-flat.vmdk"
}

// Registry is the simulator's inventory, for tests that must look or reach behind the API.
func (s *Server) Registry() *simulator.Registry { return s.model.Map() }

// Client is the lab's own session.
func (s *Server) Client() *govmomi.Client { return s.admin }

// Machine finds a VM by its name; nil: there is none.
func (s *Server) Machine(name string) *simulator.VirtualMachine {
	for _, e := range s.model.Map().All("VirtualMachine") {
		if vm, ok := e.(*simulator.VirtualMachine); ok && vm.Name == name {
			return vm
		}
	}
	return nil
}

// DevicesOf are the names under which this host shows the disks of a machine that is on.
func (s *Server) DevicesOf(name string) []string {
	vm := s.Machine(name)
	if vm == nil {
		return nil
	}
	return s.shim.devicesOf(vm.Self)
}

// Guest is the emulator of a machine that is on and really boots; nil: there is none.
func (s *Server) Guest(name string) *qemu.VM {
	vm := s.Machine(name)
	if vm == nil {
		return nil
	}
	s.shim.mu.Lock()
	defer s.shim.mu.Unlock()
	return s.shim.guests[vm.Self]
}

// Left lists the files that are on the datastore.
func (s *Server) Left() ([]string, error) {
	var files []string
	for _, root := range s.shim.roots() {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // it is being removed
				return nil
			}
			if err == nil && !d.IsDir() {
				files = append(files, strings.TrimPrefix(path, root+"/"))
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list the datastore: %w", err)
		}
	}
	return files, nil
}
