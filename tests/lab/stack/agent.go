package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"farshore/tests/lab/process"
)

// StartAgent enrols the agent of the replicated machine and runs it.
func (s *Stack) StartAgent(ctx context.Context) error {
	var config strings.Builder
	fmt.Fprintf(&config, "control: %s\nstate: %s\nrun: %s\npins: %s\n", s.control(), s.path("agent"), s.RunDir(), s.pinDir())
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
	if err := s.join(ctx, "farshore-agent", "agent", s.Machine); err != nil {
		return err
	}
	return s.run(ctx, process.Spec{Name: Agent, Command: []string{s.program("farshore-agent"), "run", "--config", path}})
}

// pinDir is where this stack's agent keeps its tracker: stacks side by side must not share one.
func (s *Stack) pinDir() string { return filepath.Join("/sys/fs/bpf", filepath.Base(s.runDir)) }
