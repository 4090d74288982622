package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/chain"
	"farshore/dataplane/changelog"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// inspection is what inspect says of one object.
type inspection struct {
	Name     string             `json:"name"`
	Kind     string             `json:"kind"`
	Bytes    int                `json:"bytes"`
	State    string             `json:"state"` // what was checked, and what came of it
	Segment  *inspectedSegment  `json:"segment,omitempty"`
	Document json.RawMessage    `json:"document,omitempty"` // whatever else it is
	Ticket   json.RawMessage    `json:"ticket,omitempty"`
	Parts    []json.RawMessage  `json:"parts,omitempty"` // of a group's point
	By       *farshore.Identity `json:"by,omitempty"`
	Changes  *changelog.Report  `json:"changes,omitempty"`
}

type inspectedSegment struct {
	Vault       string               `json:"vault"`
	Machine     farshore.MachineID   `json:"machine"`
	Position    farshore.Position    `json:"position"`
	Previous    string               `json:"previous"`
	Hash        string               `json:"hash"`
	FirstLSN    farshore.LSN         `json:"firstLSN"`
	LastLSN     farshore.LSN         `json:"lastLSN"`
	BootFirst   time.Duration        `json:"bootFirstNanos"`
	BootLast    time.Duration        `json:"bootLastNanos"`
	UTC         time.Time            `json:"utc"`
	Flags       []string             `json:"flags"`
	Consistency farshore.Consistency `json:"consistency,omitempty"`
	Label       string               `json:"label,omitempty"`
	Disks       []segment.Disk       `json:"disks"`
	Frames      []segment.Frame      `json:"frames"`
	Extents     int                  `json:"extents,omitempty"`   // with the key
	DataBytes   int64                `json:"dataBytes,omitempty"` // with the key
}

func (t *tool) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE|NAME",
		Short: "Explain one object or file of any format in docs/formats",
		Long: "Explain a file, or an object of the vault by its name: segments, seals, files of a spool; claims, specs, policies, cuts, manifests and\n" +
			"whatever else is signed; hashes, chunk lists, states and checkpoints of replicas; archives, key files, change logs. What can be checked\n" +
			"is checked: without a vault the structure, with a vault the signatures, with --key the encryption.",
		Example: "  farshore-restore inspect s0000000000000001.fsj\n" +
			"  farshore-restore inspect points/v1/m/web-01/g00000001/e00000001.json --vault-path /srv/vault",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := t.inspect(cmd.Context(), args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			err = t.print(cmd, in, func(w io.Writer) error { return listInspection(w, in) })
			if err == nil && in.Changes != nil {
				err = in.Changes.Fault(in.Name)
			}
			return err
		},
	}
}

func (t *tool) inspect(ctx context.Context, name string, talk io.Writer) (inspection, error) {
	in := inspection{Name: name}
	if look, err := in.large(ctx); look || err != nil {
		return in, err
	}
	body, err := os.ReadFile(name)
	local := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return in, fmt.Errorf("read %s: %w", name, err)
	}
	var v *opened
	if _, none := t.vault.settings(); none == nil || !local {
		if v, err = t.vault.open(ctx, talk, false); err != nil {
			return in, err
		}
	}
	if !local {
		if body, err = v.store.Get(ctx, name); errors.Is(err, vault.ErrNotFound) {
			return in, &fault.Fault{
				Code: "FS-3518", Kind: fault.Refused, Subject: name, What: "there is neither such a file nor such an object in the vault",
				Remedy: "see docs/formats/layout.md for the names",
			}
		} else if err != nil {
			return in, err
		}
	}
	in.Bytes = len(body)
	return in, in.explain(ctx, v, body)
}

func (in *inspection) segment(ctx context.Context, v *opened, body []byte) error {
	seg, err := segment.Parse(body)
	if err != nil {
		return &fault.Fault{
			Code: "FS-3510", Kind: fault.Corrupt, Subject: in.Name, What: "the segment is damaged", Err: err,
			Remedy: "find out what it costs: farshore-restore verify MACHINE",
		}
	}
	h := seg.Header()
	in.Kind, in.State = "segment", "structure and hash are right; the content is encrypted and was not checked"
	in.Segment = &inspectedSegment{
		Vault: h.Vault.String(), Machine: h.Machine, Position: h.Position(), Previous: h.Previous.String(), Hash: seg.Hash().String(),
		FirstLSN: h.FirstLSN, LastLSN: h.LastLSN, BootFirst: h.BootFirst, BootLast: h.BootLast, UTC: h.UTC, Flags: flagsOf(h),
		Consistency: h.Consistency, Label: h.Label, Disks: h.Disks, Frames: seg.Frames(),
	}
	if h.Seal {
		in.Kind, in.State = "seal", "structure and hash are right; the segment behind it vouches for it"
		return nil
	}
	if v == nil || v.reader.Keys == nil {
		return nil
	}
	key, err := v.reader.DataKey(ctx, chain.Stream{Vault: h.Vault, Machine: h.Machine, Generation: h.Generation}, h.Epoch)
	if err != nil {
		return err
	}
	if err := seg.Unlock(key); err != nil {
		return journal.Damaged(h, err)
	}
	for r, err := range seg.Records() {
		if err != nil {
			return journal.Damaged(h, err)
		}
		in.Segment.Extents++
		in.Segment.DataBytes += int64(len(r.Data))
	}
	in.State = "structure, hash, signature of the claim and every frame are right"
	return nil
}

func flagsOf(h segment.Header) []string {
	flags := []string{}
	for _, f := range []struct {
		set  bool
		name string
	}{{h.Clean(), "clean"}, {h.Copy, "copy"}, {h.Jump, "jump"}, {h.Seal, "seal"}, {h.Marker, "marker"}, {h.Suspect, "suspect"}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	return flags
}

func listInspection(w io.Writer, in inspection) error {
	if in.Changes != nil {
		return in.Changes.Text(w)
	}
	l := &lines{w: w}
	l.add("name\t%s\nkind\t%s\nbytes\t%d\nstate\t%s", in.Name, in.Kind, in.Bytes, in.State)
	if s := in.Segment; s != nil {
		l.add("machine\t%s\nposition\t%s\nvault\t%s\nprevious\t%s\nhash\t%s", s.Machine, s.Position, s.Vault, s.Previous, s.Hash)
		l.add("LSN\t%d to %d\nUTC\t%s\nboot clock\t%v to %v\nflags\t%v", s.FirstLSN, s.LastLSN, moment(s.UTC), s.BootFirst, s.BootLast, s.Flags)
		if s.Consistency != "" {
			l.add("consistency\t%s\nlabel\t%s", s.Consistency, s.Label)
		}
		for i, d := range s.Disks {
			l.add("disk %d\t%s, %s, clean %v, joining %v", i, d.ID, commandline.Size(d.Sectors.Bytes()), d.Clean, d.Joining)
		}
		if s.Extents > 0 {
			l.add("extents\t%d, %s of data", s.Extents, commandline.Size(s.DataBytes))
		}
		for i, f := range s.Frames {
			l.add("frame %d\tat %d, %d bytes, %s, %d before", i, f.Offset, f.Stored, f.Codec, f.Body)
		}
	}
	type named struct {
		name string
		body json.RawMessage
	}
	documents := []named{{"document", in.Document}, {"ticket", in.Ticket}}
	for _, p := range in.Parts {
		documents = append(documents, named{"part", p})
	}
	for _, part := range documents {
		if part.body == nil {
			continue
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, part.body, "", "  "); err != nil {
			return fmt.Errorf("read the %s: %w", part.name, err)
		}
		l.add("%s\n%s", part.name, pretty.String())
	}
	return l.err
}
