package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"farshore/tests/lab/armsim"
	"farshore/tests/lab/azurite"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
)

// The programs of a stack, by the names that Kill and Start take.
const (
	Temporal      = "temporal"
	Control       = "control"
	ProcessServer = "process-server"
	Applier       = "applier"
	Agent         = "agent"
)

// Options say what to run.
type Options struct {
	Dir        string            // everything of this stack is kept below; must be new or empty
	Machine    string            // name of the replicated machine
	Sources    []string          // its disks: block devices or image files
	FileVault  bool              // keep the vault in a folder instead of Azurite
	Hypervisor armsim.Hypervisor // what boots recovered machines; nil: they are only known to be on
	VCenter    *VCenter          // where machines may come home to
	Host       string            // by what name the machine reaches this host's loopback; "": by its address
	Root       string            // where the machine's root file system is mounted, which holds its agent's state; "": nowhere
	Temporary  bool              // there may be temporary process servers at the recovery site
	Hooks      string            // folder of the agent's quiesce hooks; "" for none
	AppEvery   time.Duration     // between app-consistent points, which the hooks make; 0: none
	FixedPorts bool              // the product's own ports instead of free ones
	Say        func(string)      // told what is being started; may be nil
}

// Stack is a running Farshore.
type Stack struct {
	Options
	Ports   Ports
	Bin     string // folder of the programs
	Profile string // the operator's folder
	// AgentState is the folder of the agent's state: on the machine's own disk, if that is mounted.
	AgentState string
	ARM        *armsim.Server
	Azurite    *azurite.Server  // nil with a file vault
	Servers    *armsim.Startups // the temporary process servers; nil if there are none
	front      *http.Server
	running    map[string]*process.Process
	runDir     string
}

// Ports are where things listen, all on 127.0.0.1.
type Ports struct {
	Temporal, TemporalUI, Control, ProcessServer, ARM, AgentMetrics, Azurite int
}

// Standard are the product's own ports; the lab's control does not take 443.
var Standard = Ports{Temporal: 7233, TemporalUI: 8233, Control: 8443, ProcessServer: 9443, ARM: 8444, AgentMetrics: 9464, Azurite: 10000}

// Up starts everything except the agent, which [Stack.StartAgent] does when its disks are there. On an error nothing is
// left running.
func Up(ctx context.Context, o Options) (_ *Stack, err error) {
	s := &Stack{Options: o, running: map[string]*process.Process{}, Ports: Standard, Profile: filepath.Join(o.Dir, "operator")}
	if s.Say == nil {
		s.Say = func(string) {}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.AgentState = s.path("agent")
	if o.Root != "" {
		s.AgentState = filepath.Join(o.Root, guest.StateDir)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the vault", s.startVault},
		{"a resource manager", s.startARM},
		{"Temporal", s.startTemporal},
		{"the configuration server", s.startControl},
		{"a process server", s.startProcessServer},
		{"an applier", s.startApplier},
	} {
		s.Say("starting " + step.what)
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("start %s: %w", step.what, err)
		}
	}
	return s, nil
}

func (s *Stack) prepare(ctx context.Context) error {
	root, err := need.Checkout()
	if err != nil {
		return err
	}
	s.Bin = filepath.Join(root, "bin")
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return fmt.Errorf("make the stack's folder: %w", err)
	}
	if err := s.makeRunDir(); err != nil {
		return err
	}
	if s.FixedPorts {
		return nil
	}
	for _, port := range []*int{
		&s.Ports.Temporal, &s.Ports.TemporalUI, &s.Ports.Control, &s.Ports.ProcessServer, &s.Ports.ARM, &s.Ports.AgentMetrics, &s.Ports.Azurite,
	} {
		if *port, err = process.FreePort(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close stops everything, last started first.
func (s *Stack) Close() error {
	for _, name := range []string{Agent, MasterTarget, Applier, ProcessServer, Control, Temporal} {
		if p := s.running[name]; p != nil {
			p.Stop()
		}
	}
	var err error
	if s.front != nil {
		err = errors.Join(s.front.Close(), s.ARM.Close())
	}
	if s.Azurite != nil {
		s.Azurite.Stop()
	}
	if s.runDir != "" {
		err = errors.Join(err, os.RemoveAll(s.runDir), s.unpin())
	}
	return err
}

// Kill ends a program at once, as a crash would.
func (s *Stack) Kill(name string) { s.running[name].Kill() }

// Start runs a program again that was killed, and waits until it is ready.
func (s *Stack) Start(ctx context.Context, name string) error { return s.running[name].Start(ctx) }

// Running reports whether a program runs.
func (s *Stack) Running(name string) bool { p := s.running[name]; return p != nil && p.Running() }

// Tail quotes the end of a program's log.
func (s *Stack) Tail(name string) string { return s.running[name].Tail() }

// PID is a program's process id.
func (s *Stack) PID(name string) int { return s.running[name].PID() }

// path is a file of this stack.
func (s *Stack) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// program is one of the built programs.
func (s *Stack) program(name string) string { return filepath.Join(s.Bin, name) }
