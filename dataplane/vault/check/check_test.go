package check

import (
	"context"
	"testing"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

func newVault(t *testing.T) (vault.Store, vault.Replicas) {
	t.Helper()
	s, r, err := connect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestAGoodVaultKeepsEveryPromiseAndNothingIsLeftInIt(t *testing.T) {
	s, r := newVault(t)
	for _, result := range Run(t.Context(), s, r) {
		if result.Err != nil {
			t.Errorf("%s: %v", result.Promise, result.Err)
		}
	}
	for _, c := range vault.Containers() {
		for e, err := range s.List(t.Context(), string(c)+"/", "") {
			t.Errorf("left: %v, %v", e, err)
		}
	}
}

// replacing is a store that replaces what is there, as storage without conditions does.
type replacing struct{ vault.Store }

func (r replacing) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	if err := r.Delete(ctx, name); err != nil {
		return 0, err
	}
	return r.Store.PutIfAbsent(ctx, name, body)
}

func TestStorageThatReplacesObjectsIsFound(t *testing.T) {
	s, r := newVault(t)
	if first := Run(t.Context(), replacing{s}, r)[0]; first.Err == nil {
		t.Errorf("%s: was believed", first.Promise)
	}
}

func TestACheckThatIsCancelledSaysSo(t *testing.T) {
	s, r := newVault(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, result := range Run(ctx, s, r) {
		if result.Err == nil {
			t.Errorf("%s: tried though cancelled", result.Promise)
		}
	}
}
