package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/fault"
)

// lookEvery is how often a run that is watched is looked at.
const lookEvery = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	t := &tool{in: os.Stdin, out: os.Stdout, talk: os.Stderr, now: time.Now, lookEvery: lookEvery}
	os.Exit(t.execute(ctx, os.Args[1:]))
}

// tool is what all commands share: where they read and write, the clock, and the flags that each of them takes.
type tool struct {
	in        io.Reader
	out       io.Writer
	talk      io.Writer
	now       func() time.Time
	lookEvery time.Duration

	output  string
	profile string
}

// execute runs one command line and gives its exit code.
func (t *tool) execute(ctx context.Context, args []string) int {
	root := t.rootCommand() //nolint:contextcheck // cobra hands the context to each command
	root.SetArgs(args)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.talk)
	if err := root.ExecuteContext(ctx); err != nil {
		return t.report(err)
	}
	return fault.ExitOK
}

func (t *tool) rootCommand() *cobra.Command {
	root := commandline.Root("farshore", "Protect machines, test their recovery, fail them over")
	root.Long = `Protect machines, test their recovery, fail them over.

A machine's life:   machine enable → failover test → failover cleanup → ... → failover start → failover commit
and home again:     reprotect start → failback start → failback commit
What is allowed:    machine can NAME      What goes on:  machine list, run list      What is kept:  point list NAME

Output goes to stdout, talk to stderr. With -o json the output is one JSON document and so is a fault.
Exit codes: 0 done, 1 failed, 2 the command line makes no sense, 10 no answer (try again), 11 refused,
12 the plan was shown and --yes is needed, 13 stored bytes are damaged.`
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if t.output != "table" && t.output != "json" {
			return commandline.Usage(cmd, "-o "+t.output+" is neither table nor json")
		}
		return nil
	}
	root.PersistentFlags().StringVarP(&t.output, "output", "o", "table", "`form` of the output: table or json")
	root.PersistentFlags().StringVar(&t.profile, "profile", "", "`folder` of the operator's profile (default $FARSHORE_PROFILE or ~/.config/farshore)")
	root.AddCommand(t.loginCommand(), t.statusCommand(), t.machineCommand(), t.pointCommand(), t.groupCommand(), t.failoverCommand(), t.reprotectCommand(), t.failbackCommand(),
		t.verifyCommand(), t.vaultCommand(), t.runCommand(), t.nodeCommand(), t.infraCommand(), t.tokenCommand())
	return root
}

// noun makes a command that only holds others.
func noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.ArbitraryArgs, RunE: commandline.Group}
	cmd.AddCommand(verbs...)
	return cmd
}

// needs checks the number of arguments.
func needs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return commandline.Usage(cmd, err.Error())
		}
		return nil
	}
}
