package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/credential"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

// roleCommand makes the command that runs a role with what its configuration file says.
func roleCommand[C any](role, short string, complete func(*C, string) error, run func(context.Context, C, *slog.Logger) error) *cobra.Command {
	path := "/etc/farshore/" + role + ".yaml"
	cmd := &cobra.Command{
		Use: role, Short: short, Args: commandline.NoArguments,
		Example: "  farshore-dataplane " + role + " --config " + path,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c C
			if err := readConfig(path, &c); err != nil {
				return err
			}
			if err := complete(&c, path); err != nil {
				return err
			}
			return run(cmd.Context(), c, commandline.Logger())
		},
	}
	cmd.Flags().StringVar(&path, "config", path, "configuration `FILE`")
	return cmd
}

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
func openVault(ctx context.Context, c vault.Config, roots *credential.Roots, log *slog.Logger) (opened, error) {
	waits := backoff.NewExponentialBackOff()
	said := false
	return backoff.Retry(ctx, func() (opened, error) {
		v, err := tryOpenVault(ctx, c, roots)
		if f, ok := fault.As(err); ok && f.Kind == fault.Transient {
			if !said {
				log.Warn("the vault does not answer; trying on", "err", err)
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
