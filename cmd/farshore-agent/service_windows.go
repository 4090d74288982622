package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/dataplane/host"
	"farshore/dataplane/windows/service"
)

// lookAtService is how often a service is looked at that was asked to stop.
const lookAtService = 500 * time.Millisecond

// supervised runs the agent with the log of whoever supervises it: as a service it writes to the event log, else to stderr.
func supervised(ctx context.Context, run func(context.Context, *slog.Logger) error) error {
	started, err := service.Started()
	if err != nil || !started {
		return errors.Join(err, run(ctx, commandline.Logger()))
	}
	return service.Run(ctx, run)
}

// systemCommands are the commands that only this system has.
func systemCommands() []*cobra.Command {
	cmd := &cobra.Command{Use: "service", Short: "Set up the Windows service of the agent, or remove it", Args: commandline.NoArguments}
	cmd.AddCommand(newInstall(), newUninstall())
	return []*cobra.Command{cmd}
}

func newInstall() *cobra.Command {
	var path string
	var start bool
	cmd := &cobra.Command{
		Use: "install", Short: "Set up the service, or bring it up to date", Args: commandline.NoArguments,
		Long: `Set up the service, or bring it up to date.

It runs this program, where it lies now, as LocalSystem, starts with the machine, and is started again when it ends unasked.`,
		Example: `  farshore-agent service install --start`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find the agent's own program: %w", err)
			}
			if err := host.MakePrivate(dataDir); err != nil {
				return badPlace("data", dataDir, "it cannot be made", err)
			}
			return withServices(func(m service.Manager) error {
				if err := service.Install(m, service.Agent(self, path)); err != nil || !start {
					return err
				}
				return m.Start(service.Name)
			})
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "configuration `FILE` that the service reads")
	cmd.Flags().BoolVar(&start, "start", false, "start it too")
	return cmd
}

func newUninstall() *cobra.Command {
	return &cobra.Command{
		Use: "uninstall", Short: "Stop the service and remove it", Args: commandline.NoArguments,
		Long:    "Stop the service and remove it. Identity, configuration and what is pending stay in " + dataDir + ".",
		Example: `  farshore-agent service uninstall`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withServices(func(m service.Manager) error {
				return service.Uninstall(cmd.Context(), m, service.Name, time.Now, func(ctx context.Context) error {
					return host.Pause(ctx, lookAtService)
				})
			})
		},
	}
}

func withServices(do func(service.Manager) error) error {
	m, closer, err := service.Open()
	if err != nil {
		return err
	}
	return errors.Join(do(m), closer())
}
