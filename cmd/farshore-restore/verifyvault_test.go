package main

import (
	"slices"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/fault"
)

func TestAWholeVaultIsVerifiedAndWhateverDoesNotBelongThereIsNamed(t *testing.T) {
	w := newWorld(t)
	w.history()
	if err := journal.PutSpec(t.Context(), w.deps, farshore.MachineSpec{ID: web, Hostname: "web"}); err != nil {
		t.Fatal(err)
	}
	if err := journal.PutSpec(t.Context(), w.deps, farshore.MachineSpec{ID: "db-01", Hostname: "db"}); err != nil { // it has no stream yet
		t.Fatal(err)
	}
	var r verifiedVault
	w.mustRun(&r, "verify")
	if len(r.Machines) != 2 || r.Objects != 5 || len(r.Keys) != 1 || r.Keys[0].Opens != 2 || r.Keys[0].Epochs != 2 {
		t.Errorf("report = %+v", r)
	}
	for name, body := range map[string]string{
		"points/v1/recipients-00000001.json": "{}", "points/v1/m/db-01/notes.txt": "somebody was here", "replica/v1/hashes/web-01/g00000001/e00000003/d-sda/p00000000.fsh": "FSHTnot really",
	} {
		if _, err := w.store.PutIfAbsent(t.Context(), name, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	w.flip(chain.SegmentName(web, 1, 2, 2))
	w.flipBit(chain.SpecName("db-01", 1), 400)
	code, stdout, stderr := w.run("verify")
	if code != fault.ExitCorrupt || !strings.Contains(stderr, "FS-3519") || !strings.Contains(stderr, "1 of 2 machines") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{
		"damaged: points/v1/recipients-00000001.json", "unknown: points/v1/m/db-01/notes.txt", "damaged: replica/v1/hashes/web-01", chain.SegmentName(web, 1, 2, 2),
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not told in\n%s", want, stdout)
		}
	}
	if !slices.ContainsFunc(strings.Split(stdout, "\n"), func(l string) bool { return strings.Contains(l, chain.SpecName("db-01", 1)) }) {
		t.Errorf("the damaged spec is not told in\n%s", stdout)
	}
}
