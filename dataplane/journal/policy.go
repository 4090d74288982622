package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// retentionDocument is a stored retention policy of a machine: the one with the highest number counts.
type retentionDocument struct {
	Version int                `json:"version"`
	Vault   string             `json:"vault"`
	Machine farshore.MachineID `json:"machine"`
	Number  uint32             `json:"number"`
	Time    time.Time          `json:"time"`
	Tiers   []tierDocument     `json:"tiers"`
}

type tierDocument struct {
	EverySeconds int64 `json:"everySeconds"` // 0: every point
	ForSeconds   int64 `json:"forSeconds"`
}

func (d *retentionDocument) at() time.Time { return d.Time }

func (d *retentionDocument) policy() retention.Policy {
	var p retention.Policy
	for _, t := range d.Tiers {
		p = append(p, retention.Tier{Every: time.Duration(t.EverySeconds) * time.Second, For: time.Duration(t.ForSeconds) * time.Second})
	}
	return p
}

// PutRetention stores what shall stay of a machine's points, unless the newest stored policy says the same.
func PutRetention(ctx context.Context, d Deps, m farshore.MachineID, p retention.Policy) error {
	if err := p.Check(); err != nil {
		return fmt.Errorf("store the retention of machine %s: %w", m, err)
	}
	r := Reader{Store: d.Store, Vault: d.Vault, Roots: d.Roots, Report: d.Report}
	for range maxClaimTries {
		n, stored, err := r.newestRetention(ctx, m)
		if err != nil {
			return err
		}
		if stored != nil && slices.Equal(stored.policy(), p) {
			return nil
		}
		doc := retentionDocument{Version: Version, Vault: d.Vault.String(), Machine: m, Number: n + 1, Time: d.Now().UTC()}
		for _, t := range p {
			doc.Tiers = append(doc.Tiers, tierDocument{EverySeconds: int64(t.Every / time.Second), ForSeconds: int64(t.For / time.Second)})
		}
		body, err := store(d.Signer, retentionDomain, doc)
		if err != nil {
			return err
		}
		outcome, err := put(ctx, d.Store, chain.RetentionName(m, n+1), body)
		if err != nil {
			return fmt.Errorf("put the retention of machine %s: %w", m, err)
		}
		if outcome != vault.Other {
			return nil
		}
	}
	return &fault.Fault{
		Code: "FS-3506", Kind: fault.Transient, Subject: "machine " + string(m),
		What: fmt.Sprintf("%d tries to store its retention lost against others", maxClaimTries), Remedy: "try again",
	}
}

// Retention gives what shall stay of a machine's points; nil: nobody has said it, so everything does.
func (r Reader) Retention(ctx context.Context, m farshore.MachineID) (retention.Policy, error) {
	_, doc, err := r.newestRetention(ctx, m)
	if err != nil || doc == nil {
		return nil, err
	}
	return doc.policy(), nil
}

// newestRetention gives the highest number in use and the newest policy that is believed.
func (r Reader) newestRetention(ctx context.Context, m farshore.MachineID) (uint32, *retentionDocument, error) {
	entries, err := list(ctx, r.Store, chain.RetentionPrefix(m))
	if err != nil {
		return 0, nil, fmt.Errorf("list the retention policies of machine %s: %w", m, err)
	}
	highest := uint32(0)
	for i := len(entries) - 1; i >= 0; i-- {
		n, err := chain.ParseRetentionName(entries[i].Name)
		if err != nil {
			continue
		}
		highest = max(highest, n)
		body, found, err := get(ctx, r.Store, entries[i].Name)
		if err != nil {
			return 0, nil, fmt.Errorf("read %s: %w", entries[i].Name, err)
		}
		if !found {
			continue
		}
		doc, err := r.readRetention(entries[i].Name, body)
		if err == nil {
			return highest, &doc, nil
		}
		if r.Report != nil {
			r.Report(BadClaim{Name: entries[i].Name, Err: err})
		}
	}
	return highest, nil, nil
}

func (r Reader) readRetention(name string, body []byte) (retentionDocument, error) {
	var doc retentionDocument
	_, err := believe(r.Roots, body, retentionDomain, &doc, farshore.RoleControl, farshore.RoleOperator)
	if err == nil && (doc.Version != Version || doc.Vault != r.Vault.String() || chain.RetentionName(doc.Machine, doc.Number) != name) {
		err = fmt.Errorf("version %d, made for number %d of machine %s in vault %s", doc.Version, doc.Number, doc.Machine, doc.Vault)
	}
	if err == nil {
		err = doc.policy().Check()
	}
	if err != nil {
		return doc, fmt.Errorf("retention %s: %w", name, err)
	}
	return doc, nil
}
