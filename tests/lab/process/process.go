package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopPatience is how long a child may take to end after SIGTERM before it is killed.
	stopPatience = 20 * time.Second
	// probeEvery is how often a starting child is asked whether it is ready.
	probeEvery = 50 * time.Millisecond
	// quotedLines is how much of a log a failure shows.
	quotedLines = 15
)

// Spec says how to run a program.
type Spec struct {
	Name    string   // "process server", as messages call it
	Command []string // program and arguments
	Env     []string // added to this process's environment
	LogPath string   // appended to
	// Ready says whether the child does its work now; nil means at once. It is asked until it gives no error.
	Ready        func(ctx context.Context) error
	ReadyTimeout time.Duration // 0 means three minutes
}

// Process is a running or ended child.
type Process struct {
	spec Spec

	mu      sync.Mutex
	command *exec.Cmd
	ended   chan struct{}
	err     error // how it ended; valid once ended is closed
}

// Start runs the program and waits until it is ready. On an error nothing is left running.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	p := &Process{spec: spec}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Start runs the program again after it has ended.
func (p *Process) Start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(p.spec.LogPath), 0o755); err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	log, err := os.OpenFile(p.spec.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	defer log.Close()
	command := exec.Command(p.spec.Command[0], p.spec.Command[1:]...) //nolint:noctx // it outlives the call; Stop and Kill end it
	command.Env = append(os.Environ(), p.spec.Env...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.command, p.ended, p.err = command, ended, nil
	p.mu.Unlock()
	go p.reap(command, ended)
	if err := p.awaitReady(ctx, ended); err != nil {
		p.Kill()
		return err
	}
	return nil
}

// reap waits for the child; Stop and Kill wait for it in turn.
func (p *Process) reap(command *exec.Cmd, ended chan struct{}) {
	err := command.Wait()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(ended)
}

func (p *Process) awaitReady(ctx context.Context, ended <-chan struct{}) error {
	if p.spec.Ready == nil {
		return nil
	}
	timeout := p.spec.ReadyTimeout
	if timeout == 0 {
		timeout = 3 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		err := p.spec.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.spec.Name, errors.Join(p.exit(), err), p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready in %s: %w\n%s", p.spec.Name, timeout, err, p.Tail())
		case <-tick.C:
		}
	}
}

func (p *Process) exit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Signal sends a signal to the child.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.command.Process.Signal(s)
}

// PID is the child's process id.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.command.Process.Pid
}

// Running reports whether the child has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// Kill ends the child and its children at once (SIGKILL), and waits.
func (p *Process) Kill() {
	p.end(syscall.SIGKILL)
}

// Stop asks the child to end (SIGTERM), waits, and kills it if it does not.
func (p *Process) Stop() {
	p.end(syscall.SIGTERM)
}

func (p *Process) end(s syscall.Signal) {
	p.mu.Lock()
	command, ended := p.command, p.ended
	p.mu.Unlock()
	// The group may be gone already: then ended is closed and there is nothing to wait for.
	syscall.Kill(-command.Process.Pid, s) //nolint:errcheck
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL) //nolint:errcheck
		<-ended
	}
	awaitGroup(command.Process.Pid)
}

// groupTries bounds how long the children of a child may take to go, a hundredth of a second each.
const groupTries = 500

// awaitGroup waits for the child's own children: what they hold, such as a lock, must be free before it is started again.
func awaitGroup(group int) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for range groupTries {
		if errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) {
			return
		}
		<-look.C
	}
}

// Tail quotes the end of the child's log.
func (p *Process) Tail() string {
	b, err := os.ReadFile(p.spec.LogPath)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-quotedLines):], "\n  ")
}
