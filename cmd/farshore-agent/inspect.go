package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/choose"
)

// inspection is what disks and probe share: their flags and the inventory.
type inspection struct {
	path, form string
}

func (i *inspection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&i.path, "config", "", "configuration `FILE`; without it, every physical disk")
	cmd.Flags().StringVarP(&i.form, "output", "o", "text", "`FORM` of the output: text or json")
}

// inventory opens the disks that the configuration names, or all.
func (i *inspection) inventory() (*disk.Inventory, config, error) {
	c := config{Pins: defaultPins}
	if i.path != "" {
		var err error
		if c, err = loadConfig(i.path); err != nil {
			return nil, c, err
		}
	}
	inventory, err := c.inventory("this-machine")
	return inventory, c, err
}

// inventory opens the disks that the configuration names, under the names that the agent knows them by.
func (c config) inventory(machine farshore.MachineID) (*disk.Inventory, error) {
	sources, err := c.sources()
	if err != nil {
		return nil, err
	}
	body, err := host.BodyID()
	if err != nil {
		return nil, err
	}
	return disk.Take(machine, sources, body, agent.Names(c.State, slog.New(slog.DiscardHandler)))
}

func newDisks() *cobra.Command {
	var i inspection
	cmd := &cobra.Command{
		Use: "disks", Short: "List the disks of this machine by the names they are protected under", Args: commandline.NoArguments,
		Example: "  farshore-agent disks -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inventory, _, err := i.inventory()
			if err != nil {
				return err
			}
			defer inventory.Close() //nolint:errcheck // only read
			disks := inventory.Spec.Disks
			return show(cmd, i.form, disks, func(w io.Writer) { listDisks(w, disks) })
		},
	}
	i.flags(cmd)
	return cmd
}

func listDisks(out io.Writer, disks []farshore.DiskSpec) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	defer w.Flush() //nolint:errcheck // a terminal that is gone
	fmt.Fprintln(w, "DISK\tSIZE\tBOOT\tPATH")
	for _, d := range disks {
		boot := "-"
		if d.Boot {
			boot = "yes"
		}
		fmt.Fprintf(w, "%s\t%d MiB\t%s\t%s\n", d.ID, d.SizeBytes>>20, boot, d.Path)
	}
}

func newProbe() *cobra.Command {
	var i inspection
	cmd := &cobra.Command{
		Use: "probe", Short: "Say how this machine's disks can be tracked, and why not better", Args: commandline.NoArguments,
		Long:    "Opens a tracker for each disk as the agent would, says its grade, and lets go of it. A running agent is not disturbed.",
		Example: "  farshore-agent probe -o json",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			inventory, c, err := i.inventory()
			if err != nil {
				return err
			}
			defer inventory.Close() //nolint:errcheck // only read
			choices, err := probe(cmd, inventory, c)
			if err != nil {
				return err
			}
			return show(cmd, i.form, choices, func(w io.Writer) { listChoices(w, choices) })
		},
	}
	i.flags(cmd)
	return cmd
}

// probeRing is enough to find out whether writes can be captured; nothing is recorded.
const probeRing = 1 << 20

// probe opens trackers beside those of a running agent, and leaves nothing behind.
func probe(cmd *cobra.Command, inventory *disk.Inventory, c config) (choices []tracker.Choice, err error) {
	scratch, err := os.MkdirTemp("", "farshore-probe-")
	if err != nil {
		return nil, err
	}
	places := choose.Places{Pins: c.Pins + "-probe", Run: scratch, RingBytes: probeRing}
	defer func() { err = errors.Join(err, choose.Forget(places), os.RemoveAll(scratch)) }()
	set, err := choose.Open(cmd.Context(), places, inventory.Spec.Disks, inventory.Devices)
	if err != nil {
		return nil, err
	}
	return set.Choices, set.Close()
}

func listChoices(out io.Writer, choices []tracker.Choice) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	defer w.Flush() //nolint:errcheck // a terminal that is gone
	fmt.Fprintln(w, "DISK\tGRADE\tWHY NOT BETTER")
	for _, c := range choices {
		why := c.Why
		if why == "" {
			why = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Disk, c.Grade, why)
	}
}
