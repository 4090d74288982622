package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/journal"
)

// pinned is the result of pin and unpin.
type pinned struct {
	Machine farshore.MachineID `json:"machine"`
	Holder  string             `json:"holder"`
	Point   string             `json:"point,omitempty"` // of pin
}

// holderOf makes the holder of a person's pins.
func holderOf(cmd *cobra.Command, name string) (string, error) {
	if _, err := farshore.ParseRunID(name); err != nil {
		return "", commandline.Usage(cmd, fmt.Sprintf("--name %q: use a-z, 0-9 and '-'", name))
	}
	return "operator-" + name, nil
}

func (t *tool) pinCommand() *cobra.Command {
	var at, name, why string
	cmd := &cobra.Command{
		Use:     "pin MACHINE",
		Short:   "Keep a recovery point, whatever retention says, until it is unpinned",
		Example: `  farshore-restore pin web-01 --at 2026-11-23T09:00:00Z --name ann --why "before the migration" --vault-path /srv/vault`,
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := farshore.ParseMachineID(args[0])
			if err != nil {
				return err
			}
			selector, err := farshore.ParseSelector(at)
			if err != nil {
				return commandline.Usage(cmd, err.Error())
			}
			holder, err := holderOf(cmd, name)
			if err != nil {
				return err
			}
			v, err := t.vault.open(cmd.Context(), cmd.ErrOrStderr(), false)
			if err != nil {
				return err
			}
			point, err := choosePoint(cmd.Context(), v, id, selector)
			if err != nil {
				return err
			}
			err = v.reader.Hold(cmd.Context(), journal.Pin{
				Machine: id, Position: point.Position.String(), Holder: holder, Why: why, Time: time.Now().UTC(),
			})
			if err != nil {
				return err
			}
			done := pinned{Machine: id, Holder: holder, Point: point.Position.String()}
			return t.print(cmd, done, func(w io.Writer) error {
				l := &lines{w: w}
				l.add("%s of %s stays until: farshore-restore unpin %s --name %s", point.Position, id, id, name)
				return l.err
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "latest", "which recovery `point`")
	cmd.Flags().StringVar(&name, "name", "", "`name` of whoever wants it kept")
	cmd.Flags().StringVar(&why, "why", "", "`words` for people")
	return cmd
}

func (t *tool) unpinCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "unpin MACHINE",
		Short:   "Take all pins of a name on a machine's points away",
		Example: "  farshore-restore unpin web-01 --name ann --vault-path /srv/vault",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := farshore.ParseMachineID(args[0])
			if err != nil {
				return err
			}
			holder, err := holderOf(cmd, name)
			if err != nil {
				return err
			}
			v, err := t.vault.open(cmd.Context(), cmd.ErrOrStderr(), false)
			if err != nil {
				return err
			}
			if err := v.reader.LetGo(cmd.Context(), id, holder); err != nil {
				return err
			}
			return t.print(cmd, pinned{Machine: id, Holder: holder}, func(w io.Writer) error {
				l := &lines{w: w}
				l.add("no point of %s is pinned by %s any more", id, name)
				return l.err
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`name` that pinned")
	return cmd
}
