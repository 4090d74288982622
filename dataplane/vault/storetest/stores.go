package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"farshore/dataplane/vault"
)

// Stores tries on a store whatever package vault promises of one. open gives a fresh, empty one.
func Stores(t *testing.T, open func(*testing.T) vault.Store) {
	for name, try := range map[string]func(*testing.T, vault.Store){
		"a name is created once":                        createOnce,
		"of racing writers exactly one creates":         racingWriters,
		"ranges are short at the end":                   ranges,
		"what is not there is not found":                notFound,
		"listings ascend over pages":                    listings,
		"listings begin behind a name":                  listingsAfter,
		"deleting twice is no error":                    deleteTwice,
		"large objects come back whole":                 largeObjects,
		"a cancelled context does nothing":              cancelled,
		"names outside the form are refused":            badNames,
		"an empty object is an object":                  emptyObject,
		"the storage has a clock that goes on":          clock,
		"concurrent puts of different names all happen": manyNames,
	} {
		t.Run(name, func(t *testing.T) { try(t, open(t)) })
	}
}

func put(t *testing.T, s vault.Store, name, body string, want vault.Outcome) {
	t.Helper()
	got, err := s.PutIfAbsent(t.Context(), name, []byte(body))
	if err != nil || got != want {
		t.Fatalf("put %s %q: %v, %v; want %v", name, body, got, err, want)
	}
}

func createOnce(t *testing.T, s vault.Store) {
	const name = "journal/v1/m/web-01/g00000001/e00000001/s0000000000000001.fsj"
	put(t, s, name, "first", vault.Created)
	put(t, s, name, "first", vault.Same)
	put(t, s, name, "other", vault.Other)
	put(t, s, name, "first and more", vault.Other)
	put(t, s, name, "first", vault.Same)
	got, err := s.Get(t.Context(), name)
	if err != nil || string(got) != "first" {
		t.Errorf("get: %q, %v", got, err)
	}
}

func racingWriters(t *testing.T, s vault.Store) {
	const writers, rounds = 6, 20
	for round := range rounds {
		name := fmt.Sprintf("points/v1/m/web-01/g%08x/e00000001.json", round+1)
		var outcomes [writers]vault.Outcome
		var errs [writers]error
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() { // writers 0 and 1 hold the same bytes
				outcomes[w], errs[w] = s.PutIfAbsent(t.Context(), name, fmt.Appendf(nil, "writer %d", max(w, 1)))
			})
		}
		group.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		judgeRace(t, s, name, outcomes[:])
	}
}

func judgeRace(t *testing.T, s vault.Store, name string, outcomes []vault.Outcome) {
	t.Helper()
	body, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	created := 0
	for w, outcome := range outcomes {
		mine := string(body) == fmt.Sprintf("writer %d", max(w, 1))
		if outcome == vault.Created {
			created++
		}
		if mine != (outcome == vault.Created || outcome == vault.Same) {
			t.Errorf("%s holds %q, writer %d was told %v", name, body, w, outcome)
		}
	}
	if created != 1 {
		t.Errorf("%s: %d writers were told that they created it: %v", name, created, outcomes)
	}
}

func ranges(t *testing.T, s vault.Store) {
	const name, body = "journal/v1/ranges", "0123456789"
	put(t, s, name, body, vault.Created)
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 4, "0123"}, {3, 4, "3456"}, {8, 2, "89"}, {8, 100, "89"}, {0, 100, body}, {10, 1, ""}, {500, 9, ""}} {
		got, err := s.GetRange(t.Context(), name, c.offset, c.length)
		if err != nil || string(got) != c.want {
			t.Errorf("%d bytes from %d: %q, %v; want %q", c.length, c.offset, got, err, c.want)
		}
	}
	if _, err := s.GetRange(t.Context(), name, 0, 0); err == nil {
		t.Error("a range of nothing was given")
	}
}

func notFound(t *testing.T, s vault.Store) {
	if _, err := s.Get(t.Context(), "points/v1/nothing"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.GetRange(t.Context(), "points/v1/nothing", 0, 10); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("get range: %v", err)
	}
	for e, err := range s.List(t.Context(), "control/v1/nothing/", "") {
		t.Errorf("list: %v, %v", e, err)
	}
}

// listed gives the names of a listing.
func listed(t *testing.T, s vault.Store, prefix, after string) []string {
	t.Helper()
	var names []string
	for e, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(e.Name)) != e.Size {
			t.Errorf("%s is listed with %d bytes", e.Name, e.Size)
		}
		names = append(names, e.Name)
	}
	return names
}

// fill puts objects whose bodies are their names.
func fill(t *testing.T, s vault.Store, names []string) {
	t.Helper()
	for _, i := range rand.Perm(len(names)) {
		put(t, s, names[i], names[i], vault.Created)
	}
}

func listings(t *testing.T, s vault.Store) {
	var names []string
	for i := range 130 { // adapters use small pages in their tests
		names = append(names, fmt.Sprintf("journal/v1/m/web-01/g00000001/e%08x/s%016x.fsj", i/40, i%40))
	}
	names = append(names, "journal/v1/m/web-01/g00000002/e00000001/s0000000000000001.fsj", "journal/v1/m/web-02/x", "journal/v1/m/web/x", "points/v1/m/web-01/x")
	fill(t, s, names)
	for _, prefix := range []string{
		"journal/", "journal/v1/m/web-01/", "journal/v1/m/web", "journal/v1/m/web-01/g00000001/e00000002/",
		"journal/v1/m/web-01/g00000001/e00000002/s000000000000001", "points/", "journal/v1/m/web-01/g00000001/e0000000", "control/",
	} {
		var want []string
		for _, n := range names {
			if strings.HasPrefix(n, prefix) {
				want = append(want, n)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, listed(t, s, prefix, "")); diff != "" {
			t.Errorf("list %s (-want +got):\n%s", prefix, diff)
		}
	}
	for _, err := range s.List(t.Context(), "journal/", "") { // a reader may stop
		must(t, err)
		break
	}
}

func listingsAfter(t *testing.T, s vault.Store) {
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("points/v1/m/a/%02d/x", i))
	}
	fill(t, s, names)
	for _, c := range []struct {
		after string
		first int
	}{{"", 0}, {names[0], 1}, {names[30], 31}, {"points/v1/m/a/30", 30}, {"points/v1/m/a/30/x0", 31}, {names[59], 60}, {"points/v1/m/b", 60}, {"points/v1/a", 0}} {
		got := listed(t, s, "points/v1/m/a/", c.after)
		if !slices.Equal(got, names[c.first:]) {
			t.Errorf("after %q: %d names from %q, want %d", c.after, len(got), got[:min(1, len(got))], 60-c.first)
		}
	}
}

func deleteTwice(t *testing.T, s vault.Store) {
	const name = "control/v1/tombstone"
	put(t, s, name, "a", vault.Created)
	for range 2 {
		if err := s.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), name); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("get what was deleted: %v", err)
		}
	}
	if err := s.Delete(t.Context(), "control/v1/never/was/there"); err != nil {
		t.Error(err)
	}
	put(t, s, name, "b", vault.Created)
}

func largeObjects(t *testing.T, s vault.Store) {
	for _, size := range []int{1, 511, 64<<10 + 1, 9<<20 + 13} {
		name := fmt.Sprintf("journal/v1/large/%d", size)
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rand.Uint32())
		}
		for _, want := range []vault.Outcome{vault.Created, vault.Same} {
			if got, err := s.PutIfAbsent(t.Context(), name, body); err != nil || got != want {
				t.Fatalf("put %d bytes: %v, %v; want %v", size, got, err, want)
			}
		}
		got, err := s.Get(t.Context(), name)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(body) {
			t.Errorf("get %d bytes: %d bytes, %v", size, len(got), err)
		}
		from := size / 2
		got, err = s.GetRange(t.Context(), name, int64(from), int64(size))
		if err != nil || !bytes.Equal(got, body[from:]) {
			t.Errorf("get from %d of %d bytes: %d bytes, %v", from, size, len(got), err)
		}
	}
}

func cancelled(t *testing.T, s vault.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.PutIfAbsent(ctx, "points/v1/cancelled", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Get(t.Context(), "points/v1/cancelled"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("a cancelled put was done: %v", err)
	}
	if _, err := s.Get(ctx, "points/v1/cancelled"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if err := s.Delete(ctx, "points/v1/cancelled"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	ended := false
	for _, err := range s.List(ctx, "points/", "") {
		ended = errors.Is(err, context.Canceled)
	}
	if !ended {
		t.Error("a cancelled listing did not say so")
	}
}

func badNames(t *testing.T, s vault.Store) {
	for _, name := range []string{
		"", "journal", "journal/", "/journal/a", "elsewhere/a", "journal//a", "journal/../points/a", "journal/./a", "journal/a/",
		"journal/a b", "journal/ä", "journal/a\\b", "journal/a?b", "journal/" + strings.Repeat("x", 600),
	} {
		if _, err := s.PutIfAbsent(t.Context(), name, nil); err == nil {
			t.Errorf("put %q was accepted", name)
		}
		if _, err := s.Get(t.Context(), name); err == nil || errors.Is(err, vault.ErrNotFound) {
			t.Errorf("get %q: %v", name, err)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("delete %q was accepted", name)
		}
	}
}

func emptyObject(t *testing.T, s vault.Store) {
	const name = "points/v1/empty"
	put(t, s, name, "", vault.Created)
	put(t, s, name, "", vault.Same)
	put(t, s, name, "x", vault.Other)
	if got, err := s.Get(t.Context(), name); err != nil || len(got) != 0 {
		t.Errorf("get: %q, %v", got, err)
	}
	if got, err := s.GetRange(t.Context(), name, 0, 10); err != nil || len(got) != 0 {
		t.Errorf("get range: %q, %v", got, err)
	}
}

func manyNames(t *testing.T, s vault.Store) {
	var group sync.WaitGroup
	var errs [40]error
	for i := range errs {
		group.Go(func() {
			outcome, err := s.PutIfAbsent(t.Context(), fmt.Sprintf("journal/v1/many/%02d/%02d", i%4, i), []byte("x"))
			if err == nil && outcome != vault.Created {
				err = fmt.Errorf("object %d: %v", i, outcome)
			}
			errs[i] = err
		})
	}
	group.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
}

func clock(t *testing.T, s vault.Store) {
	first, err := s.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Now(t.Context())
	if err != nil || first.IsZero() || second.Before(first) {
		t.Errorf("the clock says %v, then %v, %v", first, second, err)
	}
}
