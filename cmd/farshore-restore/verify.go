package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/chain"
	"farshore/dataplane/scrub"
	"farshore/fault"
)

// verified is the report of verify.
type verified struct {
	Machine     farshore.MachineID `json:"machine"`
	Generations []scrub.Generation `json:"generations"`
	NotBelieved []problem          `json:"notBelieved,omitempty"` // claims and specs that no node of this vault made
}

func (t *tool) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [MACHINE]",
		Short: "Read every byte of a machine's journal, or of the whole vault, and say exactly what is damaged",
		Long: "Read every segment of every generation: hashes, chain, signatures of claims, decryption and decompression of every frame.\n" +
			"Exit code 13 if anything is damaged, with the segment, the bytes, what of which disk they held, and the recovery points that are lost by it.\n" +
			"Without a machine all of them, and every document of the vault besides; and each key is tried on every epoch.",
		Example: "  farshore-restore verify web-01 --vault-path /srv/vault --key vault.key\n" +
			"  farshore-restore verify --vault-path /srv/vault --key vault.key",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactly(1)(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, talk := cmd.Context(), cmd.ErrOrStderr()
			v, err := t.vault.open(ctx, talk, true)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				report, err := verifyVault(ctx, v, talk)
				if err != nil {
					return err
				}
				return errors.Join(t.print(cmd, report, func(w io.Writer) error { return listVerifiedVault(w, report) }), report.verdict())
			}
			id, err := farshore.ParseMachineID(args[0])
			if err != nil {
				return err
			}
			report, err := verifyMachine(ctx, v, id, talk)
			if err != nil {
				return err
			}
			return errors.Join(t.print(cmd, report, func(w io.Writer) error { return listVerified(w, report) }), report.verdict())
		},
	}
}

func verifyMachine(ctx context.Context, v *opened, id farshore.MachineID, talk io.Writer) (verified, error) {
	report := verified{Machine: id, Generations: []scrub.Generation{}}
	told := len(v.bad.list)
	generations, err := v.reader.Generations(ctx, id)
	if err != nil {
		return report, err
	}
	for _, g := range generations {
		one, err := verifyGeneration(ctx, v, id, g, talk)
		if err != nil {
			return report, err
		}
		report.Generations = append(report.Generations, one)
	}
	if err := v.reader.CheckDocuments(ctx, id); err != nil {
		return report, err
	}
	report.NotBelieved = v.bad.list[told:]
	return report, nil
}

func verifyGeneration(ctx context.Context, v *opened, id farshore.MachineID, g farshore.Generation, talk io.Writer) (scrub.Generation, error) {
	entries, total, err := scrub.Objects(ctx, v.store, chain.JournalPrefix(id, g))
	if err != nil {
		return scrub.Generation{}, err
	}
	bar := newProgress(talk, fmt.Sprintf("verify generation %d", g), total)
	defer bar.end()
	return scrub.ReadGeneration(ctx, v.reader, id, g, entries, bar.add)
}

func listVerified(w io.Writer, report verified) error {
	l := &lines{w: w}
	l.add("GENERATION\tSEGMENTS\tSTORED\tPOINTS\tEND\tUNREAD\tRESULT")
	for _, g := range report.Generations {
		result := "good"
		if g.Damage != nil {
			result = "DAMAGED, " + g.Damage.Loss()
		}
		l.add("%d\t%d\t%s\t%d\t%s\t%d\t%s", g.Generation, g.Segments, commandline.Size(g.Bytes), g.Points, g.End, g.Unread, result)
	}
	for _, g := range report.Generations {
		if g.Damage == nil {
			continue
		}
		listDamage(l, g.Damage)
	}
	for _, p := range report.NotBelieved {
		l.add("\nnot believed: %s\n  %s", p.Name, p.What)
	}
	return l.err
}

// listDamage prints all of a damage.
func listDamage(l *lines, d *scrub.Damage) {
	l.add("\ndamaged: %s\n  %s", d.Segment, d.What)
	for _, h := range d.Hits {
		l.add("  hit: %s, %d bytes from byte %d on", h.Part, h.Bytes, h.Offset)
		for _, x := range h.Held {
			l.add("    it held parts of disk %s between byte %d and byte %d", x.Disk, x.Offset, x.Offset+x.Bytes)
		}
	}
	for _, p := range d.Lost {
		l.add("  lost point: %s", p)
	}
	for _, p := range d.Unclear {
		l.add("  lost, and may have been a point: %s", p)
	}
}

// verdict makes the exit code.
func (r verified) verdict() error {
	for _, g := range r.Generations {
		if g.Damage != nil {
			return &fault.Fault{
				Code: "FS-3515", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s, generation %d", r.Machine, g.Generation),
				What:   fmt.Sprintf("good up to %s, damaged at %s; %s, %d can be restored", g.End, g.Damage.Segment, g.Damage.Loss(), g.Points),
				Remedy: "restore a point up to there; then: farshore machine resync " + string(r.Machine),
			}
		}
	}
	if len(r.NotBelieved) > 0 {
		return &fault.Fault{
			Code: "FS-3514", Kind: fault.Corrupt, Subject: "machine " + string(r.Machine),
			What:   fmt.Sprintf("its stream is good, but %d objects were not made by nodes of this vault", len(r.NotBelieved)),
			Remedy: "find out who writes to the vault besides Farshore",
		}
	}
	return nil
}
