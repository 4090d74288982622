package operator

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"

	"connectrpc.com/connect"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"farshore"
	"farshore/activities"
	stepsonnodes "farshore/activities/nodes"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/fault"
	"farshore/workflows"
)

// verifyVault begins the id of a workflow that verifies every machine.
const verifyVault = "verify-vault"

// Verify begins a run that reads everything the vault holds of a machine, or of every machine that an applier keeps.
func (s *Service) Verify(ctx context.Context, q *connect.Request[farshorev1.VerifyRequest]) (*connect.Response[farshorev1.VerifyResponse], error) {
	operation := cmp.Or(q.Msg.GetId(), caller(ctx).Name+"-"+rand.Text())
	start := client.StartWorkflowOptions{
		TaskQueue: activities.TaskQueue, WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, Priority: temporal.Priority{PriorityKey: 4},
	}
	flow, input, err := any(workflows.VerifyVault), any(nil), error(nil)
	switch {
	case q.Msg.GetSource():
		flow = workflows.CompareMachine
		input, err = s.oneSource(q.Msg.GetMachine(), operation, &start)
	case q.Msg.GetMachine() == "":
		start.ID, start.StaticSummary = verifyVault+"/all/"+operation, "Verify every machine of the vault"
		start.TypedSearchAttributes = temporal.NewSearchAttributes(workflows.AttributeOperation.ValueSet(verifyVault))
		input, err = s.everyReplica()
	default:
		flow = workflows.VerifyMachine
		input, err = s.oneReplica(q.Msg.GetMachine(), operation, &start)
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.Temporal.ExecuteWorkflow(ctx, start, flow, input); err != nil && !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil, silent(err)
	}
	return connect.NewResponse(&farshorev1.VerifyResponse{Workflow: start.ID}), nil
}

func (s *Service) oneReplica(name, operation string, start *client.StartWorkflowOptions) (workflows.VerifyRequest, error) {
	return s.verifyOne(activities.VerifyRun, "Verify "+name, name, operation, start)
}

func (s *Service) oneSource(name, operation string, start *client.StartWorkflowOptions) (workflows.VerifyRequest, error) {
	return s.verifyOne(activities.CompareRun, "Compare the disks of "+name+" with their replica", name, operation, start)
}

func (s *Service) verifyOne(kind activities.RunKind, summary, name, operation string, start *client.StartWorkflowOptions) (workflows.VerifyRequest, error) {
	machine, err := farshore.ParseMachineID(name)
	if err != nil {
		return workflows.VerifyRequest{}, err
	}
	if _, ok, err := stepsonnodes.ApplierOf(s.Registry, machine); err != nil || !ok {
		return workflows.VerifyRequest{}, cmp.Or(err, noReplica("machine "+name, "no applier keeps a replica of it"))
	}
	run := activities.NewRun(kind, machine, operation)
	start.ID, start.StaticSummary = run.WorkflowID(), summary
	start.TypedSearchAttributes = temporal.NewSearchAttributes(
		workflows.AttributeMachine.ValueSet(name), workflows.AttributeOperation.ValueSet(string(kind)))
	return workflows.VerifyRequest{Machine: machine, Run: run.ID}, nil
}

// everyReplica names the machines whose replicas appliers keep.
func (s *Service) everyReplica() (workflows.VerifyVaultRequest, error) {
	appliers, err := s.Registry.Enrolled(farshore.RoleApplier)
	if err != nil {
		return workflows.VerifyVaultRequest{}, err
	}
	var all workflows.VerifyVaultRequest
	for _, id := range appliers {
		doc, _, err := s.Registry.Desired(id)
		if err != nil {
			return all, err
		}
		for _, name := range doc.GetApplier().GetMachines() {
			all.Machines = append(all.Machines, farshore.MachineID(name))
		}
	}
	slices.Sort(all.Machines)
	all.Machines = slices.Compact(all.Machines)
	if len(all.Machines) == 0 {
		return all, noReplica("the vault", "no applier keeps a replica of any machine")
	}
	return all, nil
}

func noReplica(subject, what string) error {
	return &fault.Fault{
		Code: "FS-6019", Kind: fault.Refused, Subject: subject, What: what, Remedy: "read it without the configuration server: farshore-restore verify; see docs/operate/restore.md",
	}
}
