package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/retention"
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
	return retentions(m).put(ctx, d, func(stored retentionDocument) bool { return slices.Equal(stored.policy(), p) }, func(n uint32) retentionDocument {
		doc := retentionDocument{Version: Version, Vault: d.Vault.String(), Machine: m, Number: n, Time: d.Now().UTC()}
		for _, t := range p {
			doc.Tiers = append(doc.Tiers, tierDocument{EverySeconds: int64(t.Every / time.Second), ForSeconds: int64(t.For / time.Second)})
		}
		return doc
	})
}

func retentions(m farshore.MachineID) numbered[retentionDocument] {
	return numbered[retentionDocument]{
		what: "retention", domain: retentionDomain, machine: m, prefix: chain.RetentionPrefix(m), number: chain.ParseRetentionName,
		name: func(n uint32) string { return chain.RetentionName(m, n) },
		read: func(r Reader, n uint32, body []byte) (retentionDocument, error) {
			return r.readRetention(chain.RetentionName(m, n), body)
		},
	}
}

// Retention gives what shall stay of a machine's points; nil: nobody has said it, so everything does.
func (r Reader) Retention(ctx context.Context, m farshore.MachineID) (retention.Policy, error) {
	_, doc, err := retentions(m).newest(ctx, r)
	if err != nil || doc == nil {
		return nil, err
	}
	return doc.policy(), nil
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
