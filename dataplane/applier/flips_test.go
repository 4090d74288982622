package applier

import (
	"context"
	"testing"

	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/tests/flips"
)

// An intent or a position that reads well and is another one would put pages of the future into a checkpoint.
func TestNoFlippedBitInTheStateOfAReplicaGoesUnnoticed(t *testing.T) {
	s := diskState{Version: stateVersion, Vault: "v", Machine: "web-01", Disk: "sda", Applied: cursor{Position: "g1.e2.s3", Hash: "00ff", LSN: 9}, Intent: "g1.e2.s4", Runs: 3}
	stored, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	flips.Try(t, flips.Object{Kind: "state of a replica disk", Stored: stored, Read: func(stored []byte) error {
		_, _, err := parseState("sda.vhd", stored)
		return err
	}})
}

func TestNoFlippedBitInTheManifestOfACheckpointGoesUnnoticed(t *testing.T) {
	store, replicas := fileVault(t)
	w := newWorld(t, 1, store, replicas)
	w.story(3)
	a := w.applier(store, replicas, eager)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	positions, err := checkpoints(t.Context(), store, web, 1)
	if err != nil || len(positions) == 0 {
		t.Fatalf("%d checkpoints, %v", len(positions), err)
	}
	stream := chain.Stream{Vault: w.vault.ID, Machine: web, Generation: 1}
	name := chain.CheckpointName(web, positions[0])
	stored, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	flips.Try(t, flips.Object{Kind: "manifest of a checkpoint", Stored: stored, Read: func(stored []byte) error {
		_, _, err := readCheckpoint(t.Context(), only{body: stored}, stream, positions[0])
		return err
	}})
}

// only is a store with one object.
type only struct {
	vault.Store
	body []byte
}

// Get gives it, whatever is asked for.
func (o only) Get(context.Context, string) ([]byte, error) { return o.body, nil }
