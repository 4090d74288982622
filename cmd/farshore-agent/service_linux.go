package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
)

// systemCommands are the commands that only this system has: under systemd a unit file says all.
func systemCommands() []*cobra.Command { return nil }

// supervised runs the agent with the log of whoever supervises it: systemd reads its stderr.
func supervised(ctx context.Context, run func(context.Context, *slog.Logger) error) error {
	return run(ctx, commandline.Logger())
}
