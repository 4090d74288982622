package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/journal"
	"farshore/fault"
)

// machine is one line of ls.
type machine struct {
	Machine     farshore.MachineID    `json:"machine"`
	Spec        *farshore.MachineSpec `json:"spec,omitempty"`
	Generations []farshore.Generation `json:"generations,omitempty"`
	End         *streamEnd            `json:"end,omitempty"`
	Fenced      *fence                `json:"fenced,omitempty"`
	Problem     string                `json:"problem,omitempty"`
}

// streamEnd is where the newest generation ends.
type streamEnd struct {
	Position farshore.Position `json:"position"`
	LSN      farshore.LSN      `json:"lsn"`
	Time     time.Time         `json:"time"`
	Clean    bool              `json:"clean"` // the end itself is a recovery point, or repeats one
	Disks    []diskSize        `json:"disks,omitempty"`
}

type diskSize struct {
	ID    farshore.DiskID `json:"id"`
	Bytes int64           `json:"bytes"`
}

// fence says who failed the machine over.
type fence struct {
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

func (t *tool) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the machines in the vault",
		Example: "  farshore-restore ls --vault-path /srv/vault",
		Args:    exactly(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.ls(cmd) },
	}
}

func (t *tool) ls(cmd *cobra.Command) error {
	ctx := cmd.Context()
	v, err := t.vault.open(ctx, cmd.ErrOrStderr(), false)
	if err != nil {
		return err
	}
	ids, err := v.reader.Machines(ctx)
	if err != nil {
		return err
	}
	machines := make([]machine, 0, len(ids))
	for _, id := range ids {
		m, err := describe(ctx, v.reader, id)
		if err != nil {
			return err
		}
		machines = append(machines, m)
	}
	return t.print(cmd, machines, func(w io.Writer) error { return listMachines(w, machines) })
}

// describe gathers what is known of a machine. Damage of one machine is told in its line and does not hide the others.
func describe(ctx context.Context, r journal.Reader, id farshore.MachineID) (machine, error) {
	m := machine{Machine: id}
	var problems []string
	trouble := func(err error) error {
		f, ok := fault.As(err)
		switch {
		case err == nil || ok && f.Code == "FS-3512":
			return nil
		case ok && f.Kind == fault.Corrupt:
			problems = append(problems, f.Error())
			return nil
		}
		return err
	}
	spec, err := r.Spec(ctx, id)
	if err == nil {
		m.Spec = &spec
	}
	if err := trouble(err); err != nil {
		return m, err
	}
	m.Generations, err = r.Generations(ctx, id)
	if err := trouble(err); err != nil {
		return m, err
	}
	link, err := r.Tail(ctx, id)
	if err == nil {
		m.End = &streamEnd{Position: link.Position, LSN: link.LastLSN, Time: link.UTC, Clean: link.Clean}
		for _, d := range link.Disks {
			m.End.Disks = append(m.End.Disks, diskSize{ID: d.ID, Bytes: d.Sectors.Bytes()})
		}
	}
	if err := trouble(err); err != nil {
		return m, err
	}
	claim, fenced, err := r.Fenced(ctx, id)
	if fenced {
		m.Fenced = &fence{By: claim.By.String(), Time: claim.Time}
	}
	m.Problem = strings.Join(problems, "; ")
	return m, trouble(err)
}

func listMachines(w io.Writer, machines []machine) error {
	l := &lines{w: w}
	l.add("MACHINE\tSYSTEM\tDISKS\tGENERATION\tEND OF STREAM\tTIME\tSTATE")
	for _, m := range machines {
		system, disks, generation, end, at := "-", "-", "-", "-", "-"
		if m.Spec != nil {
			system = strings.TrimSpace(m.Spec.OSName + " " + string(m.Spec.Firmware))
		}
		if n := len(m.Generations); n > 0 {
			generation = fmt.Sprint(m.Generations[n-1])
		}
		if m.End != nil {
			var sum int64
			for _, d := range m.End.Disks {
				sum += d.Bytes
			}
			disks = fmt.Sprintf("%d (%s)", len(m.End.Disks), commandline.Size(sum))
			end, at = m.End.Position.String(), moment(m.End.Time)
		}
		l.add("%s\t%s\t%s\t%s\t%s\t%s\t%s", m.Machine, system, disks, generation, end, at, m.state())
	}
	return l.err
}

func (m machine) state() string {
	switch {
	case m.Problem != "":
		return "DAMAGED: " + m.Problem
	case m.Fenced != nil:
		return "failed over by " + m.Fenced.By
	case m.End == nil:
		return "no stream"
	case !m.End.Clean:
		return "end is no point (copy under way)"
	}
	return "ok"
}
