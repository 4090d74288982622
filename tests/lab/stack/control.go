package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"farshore/tests/lab/process"
)

// startControl begins a vault, runs the configuration server and logs the operator in.
func (s *Stack) startControl(ctx context.Context) error {
	config := fmt.Sprintf(`listen: %s
state: %s
hosts: [localhost, 127.0.0.1]
%stemporal:
  address: 127.0.0.1:%d
azure:
  subscription: %s
  storageAccountId: %s
  endpoint: http://127.0.0.1:%d
  pollEvery: 300ms
  credential:
    kind: lab
%s`, s.control(), s.path("control"), s.vaultSection(), s.Ports.Temporal, subscription, account, s.Ports.ARM, s.vsphereSection())
	file := s.write("control.yaml", config)
	out, err := s.exec(ctx, "farshore-control", "init", "--config", file, "--operator", "lab", "--keys", s.path("keys"), "-o", "json")
	if err != nil {
		return err
	}
	var begun struct{ CAPin, Token string }
	if err := json.Unmarshal(out, &begun); err != nil {
		return fmt.Errorf("read what farshore-control init printed: %w", err)
	}
	err = s.run(ctx, process.Spec{
		Name: Control, Ready: answersTLS(s.control()), Command: []string{s.program("farshore-control"), "run", "--config", file},
	})
	if err != nil {
		return err
	}
	_, err = s.CLI(ctx, "login", "--control", s.control(), "--name", "lab", "--ca-pin", begun.CAPin, "--token", begun.Token)
	return err
}

// join enrols a node, as an operator and an administrator do it together: one makes the token, the other uses it.
func (s *Stack) join(ctx context.Context, program, role, name string) error {
	token, err := s.Token(ctx, role, name)
	if err != nil {
		return err
	}
	args := []string{"join", "--control", s.control(), "--token", token.GetToken(), "--ca-pin", token.GetCaPin(), "--name", name, "--state", s.path(role)}
	if program == "farshore-dataplane" {
		args = append(args, "--role", role)
	}
	_, err = s.exec(ctx, program, args...)
	return err
}

// RunDir is the agent's folder for what must not outlive a reboot. It is on a memory file system.
func (s *Stack) RunDir() string { return s.runDir }

// makeRunDir makes a folder on a memory file system.
func (s *Stack) makeRunDir() (err error) {
	s.runDir, err = os.MkdirTemp("/dev/shm", "farshore-lab-")
	if err != nil {
		return fmt.Errorf("make the agent's run folder: %w", err)
	}
	return nil
}
