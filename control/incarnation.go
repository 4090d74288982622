package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"farshore/dataplane/vault"
)

// incarnationPrefix begins the names control/v1/incarnation/00000001.json. They count the starts of configuration servers:
// each start creates the next name, and of two that try at once only one succeeds.
const incarnationPrefix = "control/v1/incarnation/"

// incarnation is the content of such an object, for whoever looks.
type incarnation struct {
	Server  string    `json:"server"`
	Started time.Time `json:"started"`
}

// nextIncarnation takes the next number. Everything this server desires carries it, so that nodes believe a server that
// was restored from an old backup.
func nextIncarnation(ctx context.Context, store vault.Store, server string, now time.Time) (uint64, error) {
	body, err := json.Marshal(incarnation{Server: server, Started: now.UTC()})
	if err != nil {
		return 0, fmt.Errorf("take the next incarnation: %w", err)
	}
	highest, err := highestIncarnation(ctx, store)
	if err != nil {
		return 0, err
	}
	for n := highest + 1; ; n++ {
		outcome, err := store.PutIfAbsent(ctx, fmt.Sprintf("%s%08x.json", incarnationPrefix, n), body)
		if err != nil {
			return 0, fmt.Errorf("take incarnation %d: %w", n, err)
		}
		if outcome != vault.Other {
			return n, nil
		}
	}
}

func highestIncarnation(ctx context.Context, store vault.Store) (uint64, error) {
	var highest uint64
	for entry, err := range store.List(ctx, incarnationPrefix, "") {
		if err != nil {
			return 0, fmt.Errorf("list the incarnations: %w", err)
		}
		text, ok := strings.CutSuffix(strings.TrimPrefix(entry.Name, incarnationPrefix), ".json")
		n, err := strconv.ParseUint(text, 16, 64)
		if !ok || err != nil {
			return 0, fmt.Errorf("list the incarnations: %s is none", entry.Name)
		}
		highest = max(highest, n)
	}
	return highest, nil
}
