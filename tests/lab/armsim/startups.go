package armsim

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"farshore/tests/lab/process"
)

// Startups is a hypervisor that runs machines made from an image as processes of this host, and leaves all others to another
// one. Such a machine is its custom data, a script, run as cloud-init would, with what it needs to live beside others: a root
// folder of its own (FARSHORE_ROOT), where to listen, and the address at which it is then reached (FARSHORE_LISTEN,
// FARSHORE_ADDRESS). It has no processors, no disk and no network of its own; it ends when the machine is stopped. What it shall
// run when it starts again stands in its root folder, in the script "start", if it has written one.
type Startups struct {
	Others Hypervisor
	Dir    string // for root folders and consoles
	// Host is the name by which the guests of Others reach this host's loopback services.
	Host string

	mu       sync.Mutex
	machines map[string]*process.Process
}

// Start implements [Hypervisor].
func (s *Startups) Start(ctx context.Context, m Machine) error {
	if m.CustomData == "" {
		return s.Others.Start(ctx, m)
	}
	root := filepath.Join(s.Dir, m.Name)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("make the machine's root folder: %w", err)
	}
	script := filepath.Join(root, "start")
	if _, err := os.Stat(script); err != nil {
		script = root + ".sh"
		if err := os.WriteFile(script, []byte(m.CustomData), 0o700); err != nil {
			return fmt.Errorf("write the machine's custom data: %w", err)
		}
	}
	free, err := process.FreePort(ctx)
	if err != nil {
		return err
	}
	port := strconv.Itoa(free)
	p, err := process.Start(ctx, process.Spec{
		Name: m.Name, Command: []string{"/bin/sh", script}, LogPath: s.console(m.Name),
		Env: []string{"FARSHORE_ROOT=" + root, "FARSHORE_LISTEN=127.0.0.1:" + port, "FARSHORE_ADDRESS=" + net.JoinHostPort(s.Host, port)},
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.machines == nil {
		s.machines = map[string]*process.Process{}
	}
	s.machines[m.Name] = p
	return nil
}

// Machines names the machines that run, or did before they were killed.
func (s *Startups) Machines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.machines))
}

// Kill ends what a machine runs at once, as a crash would; [Startups.Again] runs it again.
func (s *Startups) Kill(name string) {
	s.mu.Lock()
	p := s.machines[name]
	s.mu.Unlock()
	if p != nil {
		p.Kill()
	}
}

// Again is [Startups.Start] of a machine that was killed, unless it was stopped meanwhile.
func (s *Startups) Again(ctx context.Context, name string) error {
	s.mu.Lock()
	known := s.machines[name] != nil
	s.mu.Unlock()
	if !known {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(s.Dir, name+".sh"))
	if err != nil {
		return fmt.Errorf("read the machine's custom data: %w", err)
	}
	return s.Start(ctx, Machine{Name: name, CustomData: string(content)})
}

func (s *Startups) console(name string) string { return filepath.Join(s.Dir, name+".serial") }

// take gives a process up to whoever ends it; nil if it is none of these.
func (s *Startups) take(name string) *process.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.machines[name]
	delete(s.machines, name)
	return p
}

// Stop implements [Hypervisor].
func (s *Startups) Stop(name string) {
	if p := s.take(name); p != nil {
		p.Kill()
		return
	}
	s.Others.Stop(name)
}

// Serial implements [Hypervisor].
func (s *Startups) Serial(name string) ([]byte, error) {
	s.mu.Lock()
	known := s.machines[name] != nil
	s.mu.Unlock()
	if !known {
		return s.Others.Serial(name)
	}
	return os.ReadFile(s.console(name))
}

// Close implements [Hypervisor].
func (s *Startups) Close() error {
	s.mu.Lock()
	machines := s.machines
	s.machines = nil
	s.mu.Unlock()
	for _, p := range machines {
		p.Kill()
	}
	return s.Others.Close()
}
