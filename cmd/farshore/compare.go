package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/fault"
)

// sourceNotes is what --source does.
const sourceNotes = `

With --source the machine's agent reads its disks and compares them with hashes of the replica as it stood at one place in the stream, while replication
goes on. What is written meanwhile is not compared, and counted. A difference that nobody wrote is exit code 13: its place is told, the
source's bytes are sent again, and points made before are not to be trusted there.`

// comparedDocument is what verify machine --source prints with -o json.
type comparedDocument struct {
	Workflow string          `json:"workflow"`
	Status   string          `json:"status"`
	Source   *comparedSource `json:"source,omitempty"`
}

// comparedSource is the outcome of the run.
type comparedSource struct {
	Machine     string                 `json:"machine"`
	At          farshore.Position      `json:"at,omitzero"`
	Total       uint64                 `json:"totalBytes"`
	Equal       uint64                 `json:"equalBytes"`
	Changed     uint64                 `json:"changedBytes"`
	Unspecified uint64                 `json:"unspecifiedBytes"`
	Unclear     uint64                 `json:"unclearBytes"`
	Different   uint64                 `json:"differentBytes"`
	NotCompared []string               `json:"notCompared,omitempty"`
	Differences []difference           `json:"differences"`
	Left        int                    `json:"left,omitempty"`
	Unproven    bool                   `json:"unproven,omitempty"`
	Healed      farshore.RecoveryPoint `json:"healed,omitzero"`
}

type difference struct {
	Disk   string `json:"disk"`
	Offset uint64 `json:"offset"`
	Bytes  uint64 `json:"bytes"`
}

// compare begins a comparison of the machine's disks with their replica, and tells what it showed.
func (t *tool) compare(ctx context.Context, machine string, wait bool) error {
	s, err := t.dial(ctx)
	if err != nil {
		return err
	}
	q := &farshorev1.VerifyRequest{Machine: machine, Source: true, Id: "cli-" + strings.ToLower(rand.Text())}
	answer, err := within(ctx, s, startTimeout, s.api.Verify, q)
	if err != nil {
		return err
	}
	document := comparedDocument{Workflow: answer.GetWorkflow(), Status: running}
	if !wait {
		return t.print(document, func(x *text) { x.line("watch it: farshore run watch %s", document.Workflow) })
	}
	t.say("comparing as %s; an interrupt stops the watching, not the run (farshore run cancel does)", document.Workflow)
	last, ended := t.follow(ctx, s, watch{id: document.Workflow})
	if last.GetRunResponse == nil || ended != nil {
		return ended
	}
	document.Status, document.Source = last.status, &comparedSource{}
	if err := json.Unmarshal([]byte(last.GetRun().GetOutcome()), document.Source); err != nil {
		return fmt.Errorf("read the outcome of %s: %w", document.Workflow, err)
	}
	if err := t.print(document, document.Source.show); err != nil {
		return err
	}
	return document.Source.verdict()
}

func (c *comparedSource) show(x *text) {
	x.line("MACHINE\tREPLICA AT\tEQUAL\tWRITTEN MEANWHILE\tOF NO MEANING\tDIFFERENT\tRESULT")
	result := "no difference"
	switch n := len(c.Differences) + c.Left; {
	case n > 0:
		result = "DIFFERENT: " + count(n, "place")
	case len(c.NotCompared) > 0:
		result = "not compared as a whole"
	}
	x.line("%s\t%s\t%s of %s\t%s\t%s\t%s\t%s", c.Machine, placed(c.At), commandline.Size(c.Equal), commandline.Size(c.Total), commandline.Size(c.Changed),
		commandline.Size(c.Unspecified), commandline.Size(c.Different), result)
	for _, why := range c.NotCompared {
		x.line("\nnot compared: %s", why)
	}
	if c.Unclear > 0 {
		x.line("\n%s were not judged, since a part of a block there has no meaning; they were copied again", commandline.Size(c.Unclear))
	}
	for _, d := range c.Differences {
		x.line("\ndisk %s, %d bytes from byte %d on differ though nobody wrote them", d.Disk, d.Bytes, d.Offset)
	}
	if c.Left > 0 {
		x.line("\nand %d more places", c.Left)
	}
	if c.Unproven {
		x.line("\nthat no write was missed could not be proven: the disk was never quiet")
	}
	if !c.Healed.Position.IsZero() {
		x.line("\nthe source's bytes were sent again: recovery points from %s on hold them. Do not trust earlier ones of generation %d for these ranges", c.Healed.Position, c.Healed.Position.Generation)
	}
}

// verdict makes the exit code.
func (c *comparedSource) verdict() error {
	if n := len(c.Differences) + c.Left; n > 0 {
		return &fault.Fault{
			Code: "FS-1027", Kind: fault.Corrupt, Subject: "machine " + c.Machine, What: fmt.Sprintf("%d bytes in %s differ from its replica though nobody wrote them", c.Different, count(n, "place")),
			Remedy: "look for the cause: the disk and its cables (kernel log, SMART), memory, the process server, who writes to the vault; then compare again",
		}
	}
	return nil
}
