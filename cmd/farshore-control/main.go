package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"farshore/control"
	"farshore/fault"
)

const defaultConfig = "/etc/farshore/control.yaml"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		err = errors.Join(err, explain(os.Stderr, err))
	}
	os.Exit(exitCode(err))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "farshore-control",
		Short:         "Serve a vault: its API, its nodes, its workflows",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().String("config", defaultConfig, "configuration `file`; see docs/operate/control.md")
	root.PersistentFlags().StringP("output", "o", "text", "`form` of the output: text or json")
	root.SetFlagErrorFunc(usage)
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

// noArguments refuses arguments that are no flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Errorf("it takes no argument %q", args[0]))
	}
	return nil
}

// errUsage marks faults of the command line, which have an exit code of their own.
var errUsage = errors.New("usage")

func usage(cmd *cobra.Command, err error) error {
	return &fault.Fault{
		Code: "FS-9001", Kind: fault.Refused, Subject: cmd.CommandPath(), What: err.Error(),
		Remedy: "read: " + cmd.CommandPath() + " --help", Err: errUsage,
	}
}

func exitCode(err error) int {
	if errors.Is(err, errUsage) {
		return fault.ExitUsage
	}
	return fault.ExitCode(err)
}

// explain tells a person what went wrong and what to do.
func explain(w io.Writer, err error) error {
	f, ok := fault.As(err)
	if !ok {
		_, err := fmt.Fprintf(w, "farshore-control: %v\n", err)
		return err
	}
	if errors.Is(err, errUsage) {
		f = &fault.Fault{Code: f.Code, Subject: f.Subject, What: f.What, Remedy: f.Remedy}
	}
	_, err = fmt.Fprintf(w, "%s\n  remedy: %s\n", f.Error(), f.Remedy)
	return err
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
	return usage(cmd, fmt.Errorf("-o %s: want text or json", form))
}

// version is that of the build: the module's, and the commit it was made from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return info.Main.Version + " " + s.Value
		}
	}
	return info.Main.Version
}

// logger writes facts to stderr.
func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }
