package applier

import (
	"errors"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/azblob"
	"farshore/dataplane/vault/storetest"
	"farshore/tests/lab/azurite"
)

func azuriteVault(t *testing.T) (vault.Store, vault.Replicas) {
	t.Helper()
	if err := azurite.Missing(); err != nil {
		t.Skip(err)
	}
	server, err := azurite.Start(t.Context(), azurite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	key, err := service.NewSharedKeyCredential(server.Account, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	account := azblob.Account{Endpoint: server.Endpoint, Name: server.Account, Key: key}
	if err := azblob.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	s, r, err := azblob.Open(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestPageBlobsFollowAStreamAndBecomeDisks(t *testing.T) {
	s, r := azuriteVault(t)
	w := newWorld(t, 20, s, r)
	w.story(8)
	blobs := func(d *Deps) { d.Settings.FillBytes = fillForBlobs }
	for n := 5; n < 60; n += 9 { // some deaths; vault/file has them all
		fs, fr := storetest.Faulty(s, r, storetest.DieAt(n, nil))
		if err := w.catchUp(t.Context(), w.applier(fs, fr, blobs)); err != nil && !errors.Is(err, storetest.ErrDead) {
			t.Fatal(err)
		}
	}
	a := w.applier(s, r, blobs, eager)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if n := w.judge("page blobs"); n == 0 {
		t.Error("there is no checkpoint")
	}
	for i, p := range w.Order {
		fs, fr := storetest.Faulty(s, r, storetest.DieAt(3+2*i, nil))
		if _, err := w.materialiseOnce(t.Context(), w.applier(fs, fr, blobs), job("t1", p)); err != nil && !errors.Is(err, storetest.ErrDead) {
			t.Fatal(err)
		}
		o, err := w.materialiseOnce(t.Context(), a, job("t1", p))
		if err != nil {
			t.Fatal(err)
		}
		w.judgeRun(p.String(), "t1", p, o.Disks)
	}
	w.judge("page blobs after the runs")
}
