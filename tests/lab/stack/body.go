package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"farshore/dataplane/document"
)

// StartBody ends the agent and runs the one in another body of the machine: with the files of the first, as an image of its disk
// has them, on other hardware, and with that body's disk.
func (s *Stack) StartBody(ctx context.Context, name, device string) error {
	s.running[Agent].Kill()
	state := s.agentDir(name)
	if err := os.CopyFS(state, os.DirFS(s.AgentState)); err != nil {
		return fmt.Errorf("copy the agent's files: %w", err)
	}
	for _, file := range []string{"agent.json", "disks.json"} {
		if err := otherHardware(filepath.Join(state, file), name); err != nil {
			return err
		}
	}
	return s.runAgent(ctx, Agent, name, device)
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
