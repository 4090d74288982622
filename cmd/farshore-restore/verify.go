package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// verified is the report of verify.
type verified struct {
	Machine     farshore.MachineID   `json:"machine"`
	Generations []verifiedGeneration `json:"generations"`
	NotBelieved []problem            `json:"notBelieved,omitempty"` // claims and specs that no node of this vault made
}

type verifiedGeneration struct {
	Generation farshore.Generation `json:"generation"`
	Segments   int                 `json:"segments"` // read and right, seals among them
	Bytes      int64               `json:"bytes"`    // as stored
	Points     int                 `json:"points"`   // that can be restored
	End        farshore.Position   `json:"end"`
	Horizon    string              `json:"horizon,omitempty"` // retention may have let go of what lies before; it was not read
	Unread     int                 `json:"unread"`            // objects behind a hole or a seal: harmless, never part of the stream
	Damage     *damage             `json:"damage,omitempty"`
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
	report := verified{Machine: id, Generations: []verifiedGeneration{}}
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

func verifyGeneration(ctx context.Context, v *opened, id farshore.MachineID, g farshore.Generation, talk io.Writer) (verifiedGeneration, error) {
	report := verifiedGeneration{Generation: g, End: farshore.Position{Generation: g}}
	entries, total, err := journalEntries(ctx, v.store, chain.JournalPrefix(id, g))
	if err != nil {
		return report, err
	}
	bar := newProgress(talk, fmt.Sprintf("verify generation %d", g), total)
	defer bar.end()
	at := v.reader.Start(id, g)
	cut, err := v.reader.Cut(ctx, id, g)
	if err != nil {
		return report, err
	}
	if cut != nil { // what lies before may be gone
		at = cut.At
		report.Horizon = at.Position.String()
		entries = slices.DeleteFunc(entries, func(e vault.Entry) bool { return e.Name <= chain.NameOf(id, at.Position) })
	}
	for seg, err := range v.reader.Follow(ctx, at) {
		if err == nil {
			err = readRecords(seg)
		}
		if err != nil {
			report.Damage, err = v.damageBehind(ctx, at, entries, err)
			return report, err
		}
		report.Segments++
		report.Bytes += seg.Size()
		if _, ok := journal.PointOf(seg.Header()); ok {
			report.Points++
		}
		at = chain.LinkOf(seg.Header(), seg.Hash())
		report.End = at.Position
		bar.add(seg.Size())
	}
	report.Unread = len(entries) - report.Segments
	return report, nil
}

func readRecords(seg *segment.Segment) error {
	for _, err := range seg.Records() {
		if err != nil {
			return journal.Damaged(seg.Header(), err)
		}
	}
	return nil
}

// journalEntries lists the objects of a generation with the sum of their sizes.
func journalEntries(ctx context.Context, s vault.Store, prefix string) (entries []vault.Entry, bytes int64, err error) {
	for e, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, e)
		bytes += e.Size
	}
	return entries, bytes, nil
}

func listVerified(w io.Writer, report verified) error {
	l := &lines{w: w}
	l.add("GENERATION\tSEGMENTS\tSTORED\tPOINTS\tEND\tUNREAD\tRESULT")
	for _, g := range report.Generations {
		result := "good"
		if g.Damage != nil {
			result = "DAMAGED, " + g.Damage.loss()
		}
		l.add("%d\t%d\t%s\t%d\t%s\t%d\t%s", g.Generation, g.Segments, size(g.Bytes), g.Points, g.End, g.Unread, result)
	}
	for _, g := range report.Generations {
		if g.Damage == nil {
			continue
		}
		g.Damage.list(l)
	}
	for _, p := range report.NotBelieved {
		l.add("\nnot believed: %s\n  %s", p.Name, p.What)
	}
	return l.err
}

// verdict makes the exit code.
func (r verified) verdict() error {
	for _, g := range r.Generations {
		if g.Damage != nil {
			return &fault.Fault{
				Code: "FS-3515", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s, generation %d", r.Machine, g.Generation),
				What:   fmt.Sprintf("good up to %s, damaged at %s; %s, %d can be restored", g.End, g.Damage.Segment, g.Damage.loss(), g.Points),
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
