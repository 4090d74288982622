package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// printer writes results to standard output: a line of text or a line of JSON each.
type printer struct {
	w    io.Writer
	json bool
}

func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "`form` of the output: text or json (one object per line)")
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return fmt.Errorf("output %q is neither text nor json", output)
	}
	return nil
}

func newPrinter(cmd *cobra.Command, output string) *printer {
	return &printer{w: cmd.OutOrStdout(), json: output == "json"}
}

// print writes one result.
func (p *printer) print(result fmt.Stringer) error {
	line := result.String()
	if p.json {
		text, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
		line = string(text)
	}
	if _, err := fmt.Fprintln(p.w, line); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}
