package stack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/host"
)

// askEvery is how often a wait asks again.
const askEvery = 300 * time.Millisecond

// CLI runs the operators' command line and gives what it printed. The error holds what it said.
func (s *Stack) CLI(ctx context.Context, args ...string) ([]byte, error) {
	return s.exec(ctx, "farshore", args...)
}

func (s *Stack) exec(ctx context.Context, program string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, s.program(program), args...)
	command.Env = append(os.Environ(), "FARSHORE_PROFILE="+s.Profile)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, said.String())
	}
	return out, nil
}

// ask runs the command line with -o json and reads its answer.
func (s *Stack) ask(ctx context.Context, into proto.Message, args ...string) error {
	out, err := s.CLI(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(out, into); err != nil {
		return fmt.Errorf("read what farshore %s printed: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Show gives everything about the replicated machine.
func (s *Stack) Show(ctx context.Context) (*farshorev1.Machine, error) {
	var answer farshorev1.GetMachineResponse
	err := s.ask(ctx, &answer, "machine", "show", s.Machine)
	return answer.GetMachine(), err
}

// Points lists the machine's recovery points, newest first.
func (s *Stack) Points(ctx context.Context) ([]*farshorev1.RecoveryPoint, error) {
	var answer farshorev1.ListPointsResponse
	err := s.ask(ctx, &answer, "point", "list", s.Machine)
	return answer.GetPoints(), err
}

// Token makes a join token.
func (s *Stack) Token(ctx context.Context, role, name string) (*farshorev1.CreateJoinTokenResponse, error) {
	var token farshorev1.CreateJoinTokenResponse
	return &token, s.ask(ctx, &token, "token", "create", "--role", role, "--name", name)
}

// Nodes lists everything that has enrolled.
func (s *Stack) Nodes(ctx context.Context) ([]*farshorev1.Node, error) {
	var answer farshorev1.ListNodesResponse
	err := s.ask(ctx, &answer, "node", "list")
	return answer.GetNodes(), err
}

// Run gives a run with its steps.
func (s *Stack) Run(ctx context.Context, id string) (*farshorev1.GetRunResponse, error) {
	var answer farshorev1.GetRunResponse
	return &answer, s.ask(ctx, &answer, "run", "show", id)
}

// Enable protects the machine, to the lab's network.
func (s *Stack) Enable(ctx context.Context, pointsEvery time.Duration) error {
	return s.EnableMachine(ctx, s.Machine, pointsEvery)
}

// EnableMachine protects any machine so.
func (s *Stack) EnableMachine(ctx context.Context, name string, pointsEvery time.Duration) error {
	_, err := s.CLI(ctx, "machine", "enable", name, "--location", Location, "--resource-group", ResourceGroup, "--vm-size", VMSize,
		"--network", Network, "--subnet", Subnet, "--points-every", pointsEvery.String(), "--app-every", s.AppEvery.String(), "--yes")
	return err
}

// Operate starts an operation, without waiting, and gives its run.
func (s *Stack) Operate(ctx context.Context, args ...string) (string, error) {
	answer, err := s.Begin(ctx, args...)
	return answer.GetRun(), err
}

// Begin is Operate that gives the workflow of the operation, too.
func (s *Stack) Begin(ctx context.Context, args ...string) (*farshorev1.StartResponse, error) {
	var answer farshorev1.StartResponse
	return &answer, s.ask(ctx, &answer, append(args, "--yes", "--wait=false")...)
}

// AwaitMachine asks about the machine until it is as wanted. Whoever asks bounds ctx.
func (s *Stack) AwaitMachine(ctx context.Context, wanted func(*farshorev1.Machine) bool) (*farshorev1.Machine, error) {
	for {
		m, err := s.Show(ctx)
		if err == nil && wanted(m) {
			return m, nil
		}
		if waiting := host.Pause(ctx, askEvery); waiting != nil {
			return m, fmt.Errorf("wait for machine %s (%v): %w, last answer: %v", s.Machine, m, waiting, err)
		}
	}
}

// AwaitRun follows a run until it has ended or done says that it is far enough.
func (s *Stack) AwaitRun(ctx context.Context, id string, done func(*farshorev1.GetRunResponse) bool) (*farshorev1.GetRunResponse, error) {
	for {
		r, err := s.Run(ctx, id)
		switch status := r.GetRun().GetStatus(); {
		case err == nil && done(r):
			return r, nil
		case err == nil && (status == "failed" || status == "cancelled"):
			return r, fmt.Errorf("run %s is %s: %v", id, status, r.GetRun().GetFault())
		}
		if waiting := host.Pause(ctx, askEvery); waiting != nil {
			return r, fmt.Errorf("wait for run %s: %w, last answer: %v", id, waiting, err)
		}
	}
}

// Completed is the end of a run that went well.
func Completed(r *farshorev1.GetRunResponse) bool { return r.GetRun().GetStatus() == "completed" }
