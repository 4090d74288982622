package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"farshore"
	"farshore/dataplane/journal"
	"farshore/dataplane/scrub"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// verifiedVault is the report of verify without a machine.
type verifiedVault struct {
	Vault    string             `json:"vault"`
	Machines []verified         `json:"machines"`
	Keys     []journal.KeyCheck `json:"keys"` // those at hand, and the epochs that they open
	Objects  int                `json:"objects"`
	Damaged  []problem          `json:"damaged,omitempty"`     // documents and hashes that are not what was written
	Distrust []problem          `json:"notBelieved,omitempty"` // that no node of this vault made
	Unknown  []string           `json:"unknown,omitempty"`     // names and forms of no kind
}

// verifyVault reads everything that is stored: every machine's journal, then every document beside it.
func verifyVault(ctx context.Context, v *opened, talk io.Writer) (verifiedVault, error) {
	report := verifiedVault{Vault: v.description.Vault, Machines: []verified{}}
	machines, err := v.reader.Machines(ctx)
	if err != nil {
		return report, err
	}
	for _, id := range machines {
		one, err := verifyMachine(ctx, v, id, talk)
		if f, ok := fault.As(err); ok && f.Code == "FS-3512" { // a spec and no stream
			err = nil
		}
		if err != nil {
			return report, err
		}
		report.Machines = append(report.Machines, one)
	}
	if _, err := v.description.Rotated(ctx, v.store); err != nil {
		f, ok := fault.As(err)
		if !ok || f.Kind != fault.Corrupt {
			return report, err
		}
		report.Damaged = append(report.Damaged, problem{Name: f.Subject, What: f.What})
	}
	for _, prefix := range []string{"points/", "control/v1/pins/", "control/v1/incarnation/", "replica/v1/hashes/"} {
		if err := report.documents(ctx, v, prefix); err != nil {
			return report, err
		}
	}
	if ring, ok := v.reader.Keys.(vault.KeyRing); ok {
		report.Keys, err = v.reader.CheckKeys(ctx, ring)
	}
	return report, err
}

// documents explains every object below a prefix; what cannot be explained is told.
func (r *verifiedVault) documents(ctx context.Context, v *opened, prefix string) error {
	entries, _, err := scrub.Objects(ctx, v.store, prefix)
	if err != nil {
		return err
	}
	for _, e := range entries {
		body, err := v.store.Get(ctx, e.Name)
		if errors.Is(err, vault.ErrNotFound) { // deleted meanwhile, which is somebody's right
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Name, err)
		}
		r.Objects++
		in := inspection{Name: e.Name}
		err = in.explain(ctx, v, body)
		f, ok := fault.As(err)
		switch {
		case err == nil && strings.HasPrefix(in.State, distrusted):
			r.Distrust = append(r.Distrust, problem{Name: e.Name, What: strings.TrimPrefix(in.State, distrusted)})
		case err == nil:
		case ok && f.Kind == fault.Refused:
			r.Unknown = append(r.Unknown, e.Name)
		case ok && f.Kind == fault.Corrupt:
			r.Damaged = append(r.Damaged, problem{Name: e.Name, What: err.Error()})
		default:
			return err
		}
	}
	return nil
}

func listVerifiedVault(w io.Writer, r verifiedVault) error {
	for _, m := range r.Machines {
		if _, err := fmt.Fprintf(w, "machine %s\n", m.Machine); err != nil {
			return err
		}
		if err := listVerified(w, m); err != nil {
			return err
		}
	}
	l := &lines{w: w}
	l.add("\nvault %s: %d machines, %d documents", r.Vault, len(r.Machines), r.Objects)
	for _, k := range r.Keys {
		l.add("%s key %s\topens %d of %d epochs", k.Kind, k.ID, k.Opens, k.Epochs)
	}
	for _, part := range []struct {
		what string
		list []problem
	}{{"damaged", r.Damaged}, {"not believed", r.Distrust}} {
		for _, p := range part.list {
			l.add("%s: %s\n  %s", part.what, p.Name, p.What)
		}
	}
	for _, name := range r.Unknown {
		l.add("unknown: %s", name)
	}
	return l.err
}

// verdict makes the exit code: the worst that was found.
func (r verifiedVault) verdict() error {
	var first error
	bad := map[farshore.MachineID]bool{}
	for _, m := range r.Machines {
		if err := m.verdict(); err != nil {
			bad[m.Machine] = true
			if first == nil {
				first = err
			}
		}
	}
	if len(bad) == 0 && len(r.Damaged)+len(r.Distrust)+len(r.Unknown) == 0 {
		return nil
	}
	return &fault.Fault{
		Code: "FS-3519", Kind: fault.Corrupt, Subject: "vault " + r.Vault, Err: first,
		What: fmt.Sprintf("%d of %d machines are damaged, %d documents are damaged, %d are not believed, %d are of no kind",
			len(bad), len(r.Machines), len(r.Damaged), len(r.Distrust), len(r.Unknown)),
		Remedy: "see the report for each; points that are not named can be restored",
	}
}
