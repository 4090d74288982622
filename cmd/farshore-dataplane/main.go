package main

import (
	"context"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/fault"
)

func main() {
	root := newRoot()
	if os.Getpid() == 1 && os.Args[0] == "/init" { // the kernel has started a rescue image
		root.SetArgs([]string{"rescue", "run"})
	}
	os.Exit(commandline.Run(context.Background(), root))
}

func newRoot() *cobra.Command {
	root := commandline.Root("farshore-dataplane", "Carry bytes between protected machines and the vault")
	root.AddCommand(newJoin(), newProcessServer(), newApplier(), newMasterTarget(), newCollector(), newRescue())
	return root
}

// readConfig reads a configuration file; whatever it does not know is refused. The error is a *fault.Fault FS-2101.
func readConfig(path string, into any) error {
	content, err := os.ReadFile(path)
	if err == nil {
		err = yaml.UnmarshalWithOptions(content, into, yaml.Strict())
	}
	if err != nil {
		return badConfig(path, "it cannot be read", err)
	}
	return nil
}

func badConfig(path, what string, err error) error {
	return &fault.Fault{
		Code: "FS-2101", Kind: fault.Operator, Subject: "configuration " + path, What: what,
		Remedy: "correct the file; every key is explained in docs/operate/dataplane.md", Err: err,
	}
}
