package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
)

const listExample = `  farshore-temporal list --query 'FarshoreMachine="web-01" AND ExecutionStatus="Running"'`

// listPage is the largest page asked for at once.
const listPage = 100

func listCommand() *cobra.Command {
	var o clientOptions
	var query string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List workflows, newest first",
		Example: listExample,
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageFault(cmd, fmt.Errorf("--limit %d: want at least 1", limit))
			}
			return listWorkflows(cmd, o, query, limit)
		},
	}
	cmd.Flags().StringVar(&query, "query", "", "`filter` on search attributes, in Temporal's list language")
	cmd.Flags().IntVar(&limit, "limit", 100, "most workflows to print")
	o.addFlags(cmd)
	return cmd
}

func listWorkflows(cmd *cobra.Command, o clientOptions, query string, limit int) error {
	c, _, err := o.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	out := newPrinter(cmd, o.output)
	var token []byte
	for limit > 0 {
		page, err := c.ListWorkflow(cmd.Context(), &workflowservice.ListWorkflowExecutionsRequest{
			Query: query, PageSize: int32(min(limit, listPage)), NextPageToken: token,
		})
		if err != nil {
			return askFault("list of workflows", err)
		}
		for _, w := range page.Executions[:min(limit, len(page.Executions))] {
			if err := out.print(newListedWorkflow(w)); err != nil {
				return err
			}
		}
		limit -= len(page.Executions)
		if token = page.NextPageToken; len(token) == 0 {
			return nil
		}
	}
	return nil
}

// listedWorkflow is one line of the list.
type listedWorkflow struct {
	Started  time.Time `json:"started"`
	Status   string    `json:"status"`
	Workflow string    `json:"workflow"`
	ID       string    `json:"id"`
	Run      string    `json:"run"`
}

func newListedWorkflow(w *workflow.WorkflowExecutionInfo) listedWorkflow {
	return listedWorkflow{
		Started:  w.GetStartTime().AsTime(),
		Status:   w.GetStatus().String(),
		Workflow: w.GetType().GetName(),
		ID:       w.GetExecution().GetWorkflowId(),
		Run:      w.GetExecution().GetRunId(),
	}
}

// String is the line for people.
func (w listedWorkflow) String() string {
	return fmt.Sprintf("%s  %-14s  %-20s  %s", w.Started.Format(time.RFC3339), w.Status, w.Workflow, w.ID)
}
