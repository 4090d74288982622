package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

const startExample = `  farshore-temporal start TestFailover --id drill-web-01 --task-queue farshore-control --input '{"machine":"web-01"}'`

func startCommand() *cobra.Command {
	var o clientOptions
	var id, queue, input string
	cmd := &cobra.Command{
		Use:     "start WORKFLOW",
		Short:   "Start a workflow and print its run",
		Example: startExample,
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if id == "" || queue == "" {
				return usageFault(cmd, errors.New("--id and --task-queue are needed"))
			}
			arguments, err := parseInput(input)
			if err != nil {
				return usageFault(cmd, err)
			}
			c, _, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			run, err := c.ExecuteWorkflow(cmd.Context(), client.StartWorkflowOptions{
				ID: id, TaskQueue: queue, WorkflowExecutionErrorWhenAlreadyStarted: true,
			}, args[0], arguments...)
			if err != nil {
				return startFault(id, err)
			}
			return newPrinter(cmd, o.output).print(startedRun{Workflow: args[0], ID: run.GetID(), Run: run.GetRunID()})
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "workflow id")
	cmd.Flags().StringVar(&queue, "task-queue", "", "task queue of the workers that run it")
	cmd.Flags().StringVar(&input, "input", "", "the one argument, as `JSON`")
	o.addFlags(cmd)
	return cmd
}

// startedRun is the answer to start.
type startedRun struct {
	Workflow string `json:"workflow"`
	ID       string `json:"id"`
	Run      string `json:"run"`
}

// String is the line for people.
func (r startedRun) String() string {
	return fmt.Sprintf("started %s id=%s run=%s", r.Workflow, r.ID, r.Run)
}

// parseInput checks the argument here, because a workflow with unreadable input would fail far from its author.
// Raw JSON passes the SDK's converter as a json/plain payload, byte for byte but for white space.
func parseInput(input string) ([]any, error) {
	if input == "" {
		return nil, nil
	}
	if !json.Valid([]byte(input)) {
		return nil, fmt.Errorf("--input is not JSON: %s", input)
	}
	return []any{json.RawMessage(input)}, nil
}

func startFault(id string, err error) error {
	var running *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &running) {
		return &fault{
			code: "FS-8010", kind: refused, subject: "workflow " + id, what: "it is running already, run " + running.RunId,
			remedy: "watch it with: farshore-temporal show " + id + ", or give another --id",
		}
	}
	return askFault("workflow "+id, err)
}
