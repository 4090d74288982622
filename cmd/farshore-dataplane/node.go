package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

// loadNode opens the identity of an enrolled node of a role. The error is a *fault.Fault FS-2107.
func loadNode(state string, role farshore.Role) (*credential.Node, error) {
	node, err := credential.Load(state, time.Now)
	if err != nil {
		return nil, identityFault(state, err)
	}
	id, err := node.Identity()
	if err == nil && id.Role != role {
		err = fmt.Errorf("it is enrolled as %s", id)
	}
	if err != nil {
		return nil, identityFault(state, err)
	}
	return node, nil
}

// opened is a vault that this node trusts.
type opened struct {
	store       vault.Store
	replicas    vault.Replicas
	description vault.Description
	id          segment.VaultID
}

// openVault opens the vault and makes sure that it is the one the node was enrolled in. As long as the storage does not
// answer, it tries again: a node that is started during an outage must not give up.
func (m member) openVault(ctx context.Context) (opened, error) {
	waits := backoff.NewExponentialBackOff()
	said := false
	return backoff.Retry(ctx, func() (opened, error) {
		v, err := tryOpenVault(ctx, m.config.Vault, m.roots)
		if f, ok := fault.As(err); ok && f.Kind == fault.Transient {
			if !said {
				m.log.Warn("the vault does not answer; trying on", "err", err)
			}
			said = true
			return opened{}, err
		}
		if err != nil {
			return opened{}, backoff.Permanent(err)
		}
		return v, nil
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(0))
}

// openJournal opens the vault and the key to it, and sees that they belong together.
func (m member) openJournal(ctx context.Context, c KeyConfig) (opened, journal.Reader, error) {
	keys, err := connect.Keys(ctx, c.KeyFile, c.KeyVault, m.config.Vault.Proxy)
	if err != nil {
		return opened{}, journal.Reader{}, err
	}
	v, err := m.openVault(ctx)
	if err != nil {
		return opened{}, journal.Reader{}, err
	}
	if err := v.description.TrustKeys(keys); err != nil {
		return opened{}, journal.Reader{}, err
	}
	return v, journal.Reader{Store: v.store, Vault: v.id, Roots: m.roots, Keys: keys, Report: m.badDocument}, nil
}

// badDocument says that something in the vault was made by nobody whom this node trusts.
func (m member) badDocument(b journal.BadClaim) {
	m.log.Error("the vault holds a document that no node of ours made", "name", b.Name, "err", b.Err)
}

func tryOpenVault(ctx context.Context, c vault.Config, roots *credential.Roots) (opened, error) {
	store, replicas, err := connect.Open(ctx, c)
	if err != nil {
		return opened{}, err
	}
	d, err := vault.Load(ctx, store)
	if err != nil {
		return opened{}, err
	}
	if err := d.Trust(roots.PEM()); err != nil {
		return opened{}, err
	}
	id, err := d.ID()
	if err != nil {
		return opened{}, err
	}
	return opened{store: store, replicas: replicas, description: d, id: id}, nil
}

// recipients gives those in force at this moment: keys may have been rotated since the node was started.
func (o opened) recipients(ctx context.Context) (vault.Recipients, error) {
	d, err := o.description.Rotated(ctx, o.store)
	return d.Recipients, err
}
