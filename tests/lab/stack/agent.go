package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"farshore/tests/lab/process"
)

// StartAgent enrols the agent of the replicated machine and runs it.
func (s *Stack) StartAgent(ctx context.Context) error {
	var config strings.Builder
	fmt.Fprintf(&config, "control: %s\nstate: %s\nrun: %s\npins: %s\n", s.control(), s.AgentState, s.RunDir(), s.pinDir())
	if s.Root != "" {
		fmt.Fprintf(&config, "root: %s\n", s.Root)
	}
	if s.Hooks != "" {
		fmt.Fprintf(&config, "hooks: %s\n", s.Hooks)
	}
	if len(s.Sources) > 0 {
		config.WriteString("disks:\n")
		for _, d := range s.Sources {
			fmt.Fprintf(&config, "  - %s\n", d)
		}
	}
	path := s.write("agent.yaml", config.String())
	if _, err := s.EnrolAgent(ctx); err != nil {
		return err
	}
	return s.run(ctx, process.Spec{Name: Agent, Command: []string{s.program("farshore-agent"), "run", "--config", path}})
}

// EnrolAgent enrols the agent of the replicated machine without running it, for a machine that carries it on its own disk. It
// gives the folder that is to be the agent's state there.
func (s *Stack) EnrolAgent(ctx context.Context) (state string, err error) {
	return s.AgentState, s.join(ctx, "farshore-agent", "agent", s.Machine)
}

// StartNeighbour enrols the agent of another machine, which has one disk, and runs it beside the first.
func (s *Stack) StartNeighbour(ctx context.Context, machine, device string) error {
	if err := s.joinAt(ctx, "farshore-agent", "agent", machine, s.agentDir(machine)); err != nil {
		return err
	}
	return s.runAgent(ctx, "agent of "+machine, machine, device)
}

// runAgent runs one more agent, of one disk: its files bear its name, and its state is there.
func (s *Stack) runAgent(ctx context.Context, called, name, device string) error {
	config := fmt.Sprintf("control: %s\nstate: %s\nrun: %s\npins: %s\ndisks:\n  - %s\n", s.control(), s.agentDir(name), filepath.Join(s.runDir, name), s.pinDir()+"-"+name, device)
	return s.run(ctx, process.Spec{
		Name: called, Command: []string{s.program("farshore-agent"), "run", "--config", s.write("agent-"+name+".yaml", config)},
	})
}

// agentDir is the state of such an agent.
func (s *Stack) agentDir(name string) string { return s.path("agent-" + name) }

// pinDir is where this stack's agent keeps its tracker: stacks side by side must not share one.
func (s *Stack) pinDir() string { return filepath.Join("/sys/fs/bpf", filepath.Base(s.runDir)) }

// unpin removes the trackers of this stack's agents, in whatever bodies of the machine they ran.
func (s *Stack) unpin() error {
	pins, err := filepath.Glob(s.pinDir() + "-*")
	for _, dir := range append(pins, s.pinDir()) {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}
