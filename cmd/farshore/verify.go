package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/fault"
)

func (t *tool) verifyCommand() *cobra.Command {
	return noun("verify", "Read everything that the vault holds, and say what of it is not what was written", t.verifyMachineCommand(), t.verifyVaultCommand())
}

// verifyNotes is what both commands do.
const verifyNotes = `

An applier reads every segment of the journal, then compares its replica with it, at a standstill, while replication goes on.
Exit code 13 if anything is not what was written: which object, what of which disk, and which recovery points are lost by it.
An interrupt stops the watching, not the run.`

func (t *tool) verifyMachineCommand() *cobra.Command {
	wait, source := false, false
	cmd := &cobra.Command{
		Use: "machine NAME", Short: "Verify journal and replica of a machine, or its disks against the replica", Long: "Verify journal and replica of a machine." + verifyNotes + sourceNotes,
		Example: "  farshore verify machine web-01\n  farshore verify machine web-01 --source\n  farshore verify machine web-01 -o json | jq '.machines[].findings'", Args: needs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if source {
				return t.compare(cmd.Context(), args[0], wait)
			}
			return t.verify(cmd.Context(), args[0], wait)
		},
	}
	cmd.Flags().BoolVar(&source, "source", false, "have the machine's agent compare its disks with the replica, and read nothing else")
	waitFlag(cmd, &wait, true, "everything was read")
	return cmd
}

func (t *tool) verifyVaultCommand() *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use: "vault", Short: "Verify journal and replica of every machine, one after the other", Long: "Verify journal and replica of every machine, one after the other." + verifyNotes,
		Example: "  farshore verify vault\n  farshore verify vault --wait=false", Args: needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return t.verify(cmd.Context(), "", wait) },
	}
	waitFlag(cmd, &wait, true, "everything was read")
	return cmd
}

// verifyDocument is what verify prints with -o json.
type verifyDocument struct {
	Workflow string       `json:"workflow"`
	Status   string       `json:"status"`
	Machines []scrubbed   `json:"machines,omitempty"`
	Failed   []unverified `json:"failed,omitempty"`
}

// scrubbed is the outcome of the run for one machine.
type scrubbed struct {
	Machine     string            `json:"machine"`
	Segments    uint64            `json:"segments"`
	Bytes       uint64            `json:"bytes"`
	Points      int               `json:"points"`
	At          farshore.Position `json:"at,omitzero"`
	Total       uint64            `json:"totalBytes"`
	Compared    uint64            `json:"comparedBytes"`
	Different   uint64            `json:"differentBytes"`
	NotCompared string            `json:"notCompared,omitempty"`
	Findings    []finding         `json:"findings"`
	Left        int               `json:"left,omitempty"`
}

type finding struct {
	Kind   string              `json:"kind"`
	Object string              `json:"object,omitempty"`
	Disk   string              `json:"disk,omitempty"`
	Offset uint64              `json:"offset"`
	Bytes  uint64              `json:"bytes"`
	Code   string              `json:"code"`
	What   string              `json:"what"`
	Since  farshore.Position   `json:"since,omitzero"`
	Lost   []farshore.Position `json:"lost,omitempty"`
}

type unverified struct {
	Machine string `json:"machine"`
	Why     string `json:"why"`
}

// verify begins the run of a machine, or of all without a name, and tells what it found.
func (t *tool) verify(ctx context.Context, machine string, wait bool) error {
	s, err := t.dial(ctx)
	if err != nil {
		return err
	}
	q := &farshorev1.VerifyRequest{Machine: machine, Id: "cli-" + strings.ToLower(rand.Text())}
	answer, err := within(ctx, s, startTimeout, s.api.Verify, q)
	if err != nil {
		return err
	}
	document := verifyDocument{Workflow: answer.GetWorkflow(), Status: running}
	if !wait {
		return t.print(document, func(x *text) { x.line("watch it: farshore run watch %s", document.Workflow) })
	}
	t.say("verifying as %s; an interrupt stops the watching, not the run", document.Workflow)
	last, ended := t.follow(ctx, s, watch{id: document.Workflow})
	if last.GetRunResponse == nil || ended != nil {
		return ended
	}
	document.Status = last.status
	if err := document.read(machine != "", last.GetRun().GetOutcome()); err != nil {
		return fmt.Errorf("read the outcome of %s: %w", document.Workflow, err)
	}
	if err := t.print(document, document.show); err != nil {
		return err
	}
	return document.verdict(machine)
}

// read reads the outcome of a run of one machine, or of many.
func (d *verifyDocument) read(one bool, outcome string) error {
	if !one {
		return json.Unmarshal([]byte(outcome), d)
	}
	d.Machines = make([]scrubbed, 1)
	return json.Unmarshal([]byte(outcome), &d.Machines[0])
}

func (d *verifyDocument) show(x *text) {
	x.line("MACHINE\tSEGMENTS\tSTORED\tPOINTS\tREPLICA AT\tCOMPARED\tRESULT")
	for _, m := range d.Machines {
		result := "sound"
		if n := len(m.Findings) + m.Left; n > 0 {
			result = fmt.Sprintf("DAMAGED: %s", count(n, "finding"))
		}
		x.line("%s\t%d\t%s\t%d\t%s\t%s of %s\t%s", m.Machine, m.Segments, commandline.Size(m.Bytes), m.Points, placed(m.At), commandline.Size(m.Compared), commandline.Size(m.Total), result)
	}
	for _, f := range d.Failed {
		x.line("%s\t%s\t%s\t%s\t%s\t%s\tnot verified: %s", f.Machine, nothing, nothing, nothing, nothing, nothing, f.Why)
	}
	for _, m := range d.Machines {
		m.show(x)
	}
}

func (m scrubbed) show(x *text) {
	if m.NotCompared != "" {
		x.line("\n%s: the replica was not compared as a whole: %s", m.Machine, m.NotCompared)
	}
	for _, f := range m.Findings {
		x.line("\n%s: %s: %s: %s", m.Machine, f.Code, f.Object, f.What)
		if f.Disk != "" {
			x.line("  disk %s, %d bytes from byte %d on", f.Disk, f.Bytes, f.Offset)
		}
		if !f.Since.IsZero() {
			x.line("  written by segment %s; failovers to points from there on may hold it", f.Since)
		}
		if len(f.Lost) > 0 {
			x.line("  lost recovery points: %s", strings.Trim(fmt.Sprint(f.Lost), "[]"))
		}
	}
	if m.Left > 0 {
		x.line("\n%s: and %d more", m.Machine, m.Left)
	}
}

// verdict makes the exit code.
func (d *verifyDocument) verdict(machine string) error {
	subject, found, damaged := "the vault", 0, 0
	if machine != "" {
		subject = "machine " + machine
	}
	for _, m := range d.Machines {
		if n := len(m.Findings) + m.Left; n > 0 {
			found, damaged = found+n, damaged+1
		}
	}
	switch {
	case found > 0:
		return &fault.Fault{
			Code: "FS-3519", Kind: fault.Corrupt, Subject: subject, What: fmt.Sprintf("%s on %s", count(found, "finding"), count(damaged, "machine")),
			Remedy: "damage of a replica alone: farshore machine rebuild NAME; of a journal: restore a point in front of it, or farshore machine resync NAME",
		}
	case len(d.Failed) > 0:
		return &fault.Fault{
			Code: "FS-7002", Kind: fault.Operator, Subject: subject, What: fmt.Sprintf("%s could not be verified", count(len(d.Failed), "machine")),
			Remedy: "see to what is said of each, then verify them again",
		}
	}
	return nil
}
