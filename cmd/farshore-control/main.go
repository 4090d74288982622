package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/control"
)

const defaultConfig = "/etc/farshore/control.yaml"

func main() {
	os.Exit(commandline.Run(context.Background(), newRoot()))
}

func newRoot() *cobra.Command {
	root := commandline.Root("farshore-control", "Serve a vault: its API, its nodes, its workflows")
	root.PersistentFlags().String("config", defaultConfig, "configuration `file`; see docs/operate/control.md")
	root.PersistentFlags().StringP("output", "o", "text", "`form` of the output: text or json")
	root.AddCommand(newInit(), newRun(), newOperator(), newAudit(), newRecover(), newKeys())
	return root
}

// configured reads the configuration file that the command line names.
func configured(cmd *cobra.Command) (control.Config, error) {
	path, err := cmd.Flags().GetString("config")
	if err != nil {
		return control.Config{}, err
	}
	return control.LoadConfig(path)
}

// show writes a result as JSON or as the lines that text gives.
func show(cmd *cobra.Command, result any, text []string) error {
	form, err := cmd.Flags().GetString("output")
	if err != nil {
		return err
	}
	switch form {
	case "json":
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(result)
	case "text":
		for _, line := range text {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
				return err
			}
		}
		return nil
	}
	return commandline.Usage(cmd, fmt.Sprintf("-o %s: want text or json", form))
}
