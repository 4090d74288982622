package stack

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"farshore/tests/lab/process"
)

// startControl begins a vault, runs the configuration server and logs the operator in.
func (s *Stack) startControl(ctx context.Context) error {
	temporary, err := s.temporarySection()
	if err != nil {
		return err
	}
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
%s%s`, s.control(), s.path("control"), s.vaultSection(), s.Ports.Temporal, subscription, account, s.Ports.ARM, temporary, s.vsphereSection())
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

// temporarySection is the section `processServer` of the configuration server's section `azure`.
func (s *Stack) temporarySection() (string, error) {
	if !s.Temporary {
		return "", nil
	}
	program := s.program("farshore-dataplane")
	content, err := os.ReadFile(program)
	if err != nil {
		return "", fmt.Errorf("read the program of temporary process servers: %w", err)
	}
	return fmt.Sprintf("  processServer:\n    program: file://%s\n    sha256: %x\n    image: Debian:debian-12:12-gen2:latest\n    size: %s\n    control: %s\n    %s",
		program, sha256.Sum256(content), VMSize, s.control(), strings.TrimRight(strings.ReplaceAll(s.vaultSection(), "\n", "\n    "), " ")), nil
}

// join enrols a node in the folder that is its own.
func (s *Stack) join(ctx context.Context, program, role, name string) error {
	state := s.path(role)
	if role == "agent" {
		state = s.AgentState
	}
	return s.joinAt(ctx, program, role, name, state)
}

// joinAt enrols a node, as an operator and an administrator do it together: one makes the token, the other uses it.
func (s *Stack) joinAt(ctx context.Context, program, role, name, state string) error {
	token, err := s.Token(ctx, role, name)
	if err != nil {
		return err
	}
	args := []string{"join", "--control", s.control(), "--token", token.GetToken(), "--ca-pin", token.GetCaPin(), "--name", name, "--state", state}
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
