package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"farshore/dataplane/document"
	"farshore/tests/lab/process"
)

// StartBody ends the agent and runs the one in another body of the machine: with the files of the first, as an image of its disk
// has them, on other hardware, and with that body's disk.
func (s *Stack) StartBody(ctx context.Context, name, device string) error {
	s.running[Agent].Kill()
	state := s.path("agent-" + name)
	if err := os.CopyFS(state, os.DirFS(s.path("agent"))); err != nil {
		return fmt.Errorf("copy the agent's files: %w", err)
	}
	for _, file := range []string{"agent.json", "disks.json"} {
		if err := otherHardware(filepath.Join(state, file), name); err != nil {
			return err
		}
	}
	run, pins := filepath.Join(s.runDir, name), s.pinDir()+"-"+name
	config := fmt.Sprintf("control: %s\nstate: %s\nrun: %s\npins: %s\ndisks:\n  - %s\n", s.control(), state, run, pins, device)
	return s.run(ctx, process.Spec{
		Name: Agent, Command: []string{s.program("farshore-agent"), "run", "--config", s.write("agent-"+name+".yaml", config)},
	})
}

// otherHardware makes an agent's state one that was written on a machine of another SMBIOS UUID.
func otherHardware(path, body string) error {
	stored, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the agent's state: %w", err)
	}
	var members map[string]any
	if err := document.Decode(stored, &members); err != nil {
		return fmt.Errorf("read the agent's state: %w", err)
	}
	members["body"] = body
	if stored, err = document.Encode(members); err != nil {
		return fmt.Errorf("write the agent's state: %w", err)
	}
	return os.WriteFile(path, stored, 0o600)
}
