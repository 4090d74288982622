package stack

import (
	"context"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// JournalBytes is how much the journal in the vault takes.
func (s *Stack) JournalBytes(ctx context.Context) (uint64, error) {
	content, err := os.ReadFile(s.path("control.yaml"))
	if err != nil {
		return 0, fmt.Errorf("find the vault: %w", err)
	}
	var config struct {
		Vault vault.Config `yaml:"vault"`
	}
	if err := yaml.Unmarshal(content, &config); err != nil {
		return 0, fmt.Errorf("find the vault: %w", err)
	}
	store, _, err := connect.Open(ctx, config.Vault)
	if err != nil {
		return 0, err
	}
	var total uint64
	for entry, err := range store.List(ctx, "journal/", "") {
		if err != nil {
			return 0, fmt.Errorf("measure the journal: %w", err)
		}
		total += uint64(entry.Size)
	}
	return total, nil
}
