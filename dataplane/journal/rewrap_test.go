package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// newKey draws another key for the world's vault.
func (w *world) newKey(kind vault.KeyKind) vault.PrivateKey {
	w.t.Helper()
	k, err := vault.NewPrivateKey(kind, w.vault, sha256.Sum256(w.ca.DER()))
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) authority() vault.Authority {
	cert, key := w.ca.KeyPair()
	return vault.Authority{Certificate: cert, Key: key}
}

// with reads with other keys.
func (r Reader) with(k ...vault.PrivateKey) Reader {
	r.Keys = vault.KeyRing(k)
	return r
}

// stamps reads the whole stream.
func stamps(t *testing.T, r Reader) ([]byte, error) {
	t.Helper()
	var read []byte
	for seg, err := range r.Follow(t.Context(), r.Start(web, 1)) {
		if err != nil {
			return read, err
		}
		for record, err := range seg.Records() {
			if err != nil {
				return read, err
			}
			read = append(read, record.Data[0])
		}
	}
	return read, nil
}

func TestAfterARotationTheNewKeyAloneOpensEveryEpoch(t *testing.T) {
	w := newWorld(t)
	former := w.keys[0]
	first, _ := w.claim("hq-1")
	w.write(first, 1, 2)
	segments := w.bytesOf(chain.SegmentName(web, 1, 1, 1), chain.ClaimName(web, 1, 1))
	fresh := w.newKey(vault.VaultKey)
	in := vault.Recipients{fresh.Recipient()}
	deps := w.server("hq-2") // a server that was started before the rotation
	deps.Rotated = func(context.Context) (vault.Recipients, error) { return in, nil }
	second, _, err := Claim(w.ctx(), deps, w.ticket("hq-2"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(second, 3)
	_, err = stamps(t, w.reader().with(fresh))
	wantCode(t, "the new key, before epoch 1 is sealed to it", err, "FS-3008")
	_, err = stamps(t, w.reader().with(former))
	wantCode(t, "the former key, in epoch 2", err, "FS-3008")
	for round := range 2 { // again changes nothing
		done, err := w.reader().with(former, fresh).Rewrap(w.ctx(), w.authority(), in, time.Now())
		if err != nil || done.Epochs != 2 || done.Wrapped != 1-round || len(done.Failed) > 0 {
			t.Errorf("round %d: %+v, %v", round, done, err)
		}
	}
	if got, err := stamps(t, w.reader().with(fresh)); err != nil || !bytes.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("the new key reads %v: %v", got, err)
	}
	if !bytes.Equal(segments, w.bytesOf(chain.SegmentName(web, 1, 1, 1), chain.ClaimName(web, 1, 1))) {
		t.Error("a rotation wrote data again")
	}
	checks, err := w.reader().CheckKeys(w.ctx(), vault.KeyRing{fresh, former})
	if err != nil || checks[0].Opens != 2 || checks[1].Opens != 1 || checks[1].Closed[0].Name != chain.ClaimName(web, 1, 2) {
		t.Errorf("checks = %+v, %v", checks, err)
	}
}

// bytesOf gives objects, one behind the other.
func (w *world) bytesOf(names ...string) []byte {
	w.t.Helper()
	var all []byte
	for _, name := range names {
		body, err := w.store.Get(w.ctx(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, body...)
	}
	return all
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestARewrapThatTheCADidNotSignIsReportedAndOpensNothing(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	w.write(writer, 1)
	fresh := w.newKey(vault.VaultKey)
	in := vault.Recipients{fresh.Recipient()}
	name := chain.RewrapName(web, 1, 1, fresh.Recipient().Fingerprint())
	other := newWorld(t)
	c, err := w.reader().claims().read(w.ctx(), web, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.keys = append(w.keys, fresh)
	if trouble, err := w.reader().rewrap(w.ctx(), c, other.authority(), in[0], time.Now()); trouble != nil || err != nil {
		t.Fatal(trouble, err)
	}
	_, err = stamps(t, w.reader().with(fresh))
	wantCode(t, "the new key", err, "FS-3008")
	if len(w.bad) == 0 || w.bad[0].Name != name {
		t.Errorf("reported: %+v", w.bad)
	}
	done, err := w.reader().Rewrap(w.ctx(), w.authority(), in, time.Now())
	if err != nil || done.Wrapped != 0 || len(done.Failed) != 1 || !strings.Contains(done.Failed[0].What, "keeps needing the former key") {
		t.Errorf("a name that is taken: %+v, %v", done, err)
	}
	if got, err := stamps(t, w.reader()); err != nil || !bytes.Equal(got, []byte{1}) {
		t.Errorf("with the former key: %v, %v", got, err)
	}
}

func TestASurveyOfClaimsIsNotConfusedByRewraps(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	w.write(writer, 1)
	fresh := w.newKey(vault.VaultKey)
	if _, err := w.reader().Rewrap(w.ctx(), w.authority(), vault.Recipients{fresh.Recipient()}, time.Now()); err != nil {
		t.Fatal(err)
	}
	_, resume := w.claim("hq-2")
	if resume.Epoch != 2 || resume.LastLSN != 1 {
		t.Errorf("resume = %+v", resume)
	}
	if machines, err := w.reader().Machines(w.ctx()); err != nil || len(machines) != 1 || machines[0] != farshore.MachineID("web-01") {
		t.Errorf("machines = %v, %v", machines, err)
	}
}
