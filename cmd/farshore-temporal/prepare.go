package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

const prepareExample = `  TEMPORAL_ADDRESS=temporal.example.org:7233 farshore-temporal prepare --namespace farshore`

// prepareCommand does for a cluster of the operator's own what the embedded server does at every start.
func prepareCommand() *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:     "prepare",
		Short:   "Register Farshore's namespace and search attributes on a cluster, as far as they are missing",
		Example: prepareExample,
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, namespace, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), startLimit)
			defer cancel()
			if err := prepareNamespace(ctx, c, namespace); err != nil {
				return err
			}
			return newPrinter(cmd, o.output).print(preparedNamespace{Namespace: namespace, SearchAttributes: len(searchAttributes())})
		},
	}
	o.addFlags(cmd)
	return cmd
}

// preparedNamespace is the answer to prepare.
type preparedNamespace struct {
	Namespace        string `json:"namespace"`
	SearchAttributes int    `json:"searchAttributes"`
}

// String is the line for people.
func (p preparedNamespace) String() string {
	return fmt.Sprintf("namespace %s is ready with %d search attributes", p.Namespace, p.SearchAttributes)
}
