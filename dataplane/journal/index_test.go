package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// ranged counts what is read of segments one by one.
type ranged struct {
	vault.Store
	n atomic.Int64
}

func (r *ranged) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	r.n.Add(1)
	return r.Store.GetRange(ctx, name, offset, n)
}

// points gives the positions of all points, and how many headers were read from segments for that.
func (w *world) pointsAndReads() ([]farshore.Position, int) {
	w.t.Helper()
	r := w.reader()
	counted := &ranged{Store: w.store}
	r.Store = counted
	points, err := r.Points(w.ctx(), web)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []farshore.Position
	for _, p := range points {
		all = append(all, p.Position)
	}
	return all, int(counted.n.Load())
}

// index has the headers indexed that are there.
func (w *world) index() int {
	w.t.Helper()
	n, err := PutIndex(w.ctx(), w.collector(), web, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) indexes() []string {
	w.t.Helper()
	entries, err := list(w.ctx(), w.store, chain.IndexPrefix(web, 1))
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// indexedStream is a stream of three epochs, two of them over and the third going on, with indexes of all but its end.
func indexedStream(t *testing.T) (w *world, writer *Writer, truth []farshore.Position) {
	t.Helper()
	w = newWorld(t)
	for range 3 {
		writer, _ = w.claim("hq-1")
		for i := range 40 {
			w.write(writer, byte(i))
		}
	}
	truth, reads := w.pointsAndReads()
	if len(truth) != 120 || reads != 122 {
		t.Fatalf("%d points with %d reads without an index", len(truth), reads)
	}
	if n := w.index(); n != 121 { // 40 and a seal, twice, and 39 of those whose hash is known
		t.Fatalf("%d headers were indexed", n)
	}
	return w, writer, truth
}

func TestAnIndexSparesReadingHeadersOneByOne(t *testing.T) {
	w, writer, truth := indexedStream(t)
	if got, reads := w.pointsAndReads(); !slices.Equal(got, truth) || reads != 1 {
		t.Errorf("%d points with %d reads", len(got), reads)
	}
	if n := w.index(); n != 0 {
		t.Errorf("%d headers were indexed again", n)
	}
	for i := range 33 { // it is older than the stream
		w.write(writer, byte(100+i))
	}
	got, reads := w.pointsAndReads()
	if len(got) != 153 || !slices.Equal(got[:120], truth) || reads != 34 {
		t.Errorf("%d points with %d reads behind a stale index", len(got), reads)
	}
	if n := w.index(); n != 33 {
		t.Errorf("%d headers were added", n)
	}
	if got, reads := w.pointsAndReads(); len(got) != 153 || reads != 1 {
		t.Errorf("%d points with %d reads", len(got), reads)
	}
}

// Whatever becomes of an index, what is said of the stream stays the same.
func TestAMissingDamagedOrForgedIndexOnlyCostsTime(t *testing.T) {
	for what, harm := range map[string]func(w *world, name string){
		"missing": func(w *world, name string) {
			if err := w.store.Delete(w.ctx(), name); err != nil {
				w.t.Fatal(err)
			}
		},
		"damaged": func(w *world, name string) {
			body := w.bytesOf(name)
			body[len(body)/3] ^= 1
			w.replace(name, body)
		},
		"another's": func(w *world, name string) {
			other := w.indexes()
			i := slices.Index(other, name)
			w.replace(name, w.bytesOf(other[(i+1)%len(other)]))
		},
		"by a process server": func(w *world, name string) {
			d, err := w.reader().readIndex(name, w.bytesOf(name))
			if err != nil {
				w.t.Fatal(err)
			}
			d.Headers = d.Headers[:2]
			body, err := store(w.server("hq-1").Signer, indexDomain, d)
			if err != nil {
				w.t.Fatal(err)
			}
			w.replace(name, body)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w, _, truth := indexedStream(t)
			for i, name := range w.indexes() {
				harm(w, name)
				got, reads := w.pointsAndReads()
				if !slices.Equal(got, truth) || reads < 40 {
					t.Errorf("index %d %s: %d points with %d reads", i, what, len(got), reads)
				}
			}
			if bad := len(w.bad) > 0; bad == (what == "missing") {
				t.Errorf("reported: %v", w.bad)
			}
		})
	}
}

// What stands behind a hole is nobody's, whoever has seen it there: the next writer's seal goes into the hole.
func TestWhatStandsBehindAHoleIsInNoIndex(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	for i := range 40 {
		w.write(writer, byte(i))
	}
	prepare(t, writer, 40) // never arrives
	for i := range 40 {
		p := prepare(t, writer, byte(41+i))
		if _, err := w.store.PutIfAbsent(t.Context(), p.Name, p.Sealed); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.index(); n != 39 {
		t.Errorf("%d headers were indexed in front of the hole", n)
	}
	next, _ := w.claim("hq-2")
	w.write(next, 90, 91)
	w.index()
	got, _ := w.pointsAndReads()
	if len(got) != 42 || got[41] != position(1, 2, 2) {
		t.Errorf("%d points up to %v", len(got), got[len(got)-1])
	}
	if slices.ContainsFunc(w.indexes(), func(name string) bool { return strings.Contains(name, "s000000000000002a") }) {
		t.Errorf("indexes %v", w.indexes())
	}
}

func TestAnIndexV1HasTheFieldsItHad(t *testing.T) {
	data := filepath.Join("..", "..", "tests", "formats", "testdata")
	stored, err := os.ReadFile(filepath.Join(data, "segment-v1.fsj"))
	if err != nil {
		t.Fatal(err)
	}
	seg, err := segment.Parse(stored)
	if err != nil {
		t.Fatal(err)
	}
	h := seg.Header()
	want := indexDocument{
		Version: Version, Vault: h.Vault.String(), Machine: h.Machine, Generation: h.Generation, Epoch: h.Epoch, First: h.Seq,
		Time: time.Date(2026, 11, 27, 5, 0, 0, 0, time.UTC), Headers: [][]byte{segment.HeaderBytes(stored)}, Hash: seg.Hash().String(),
	}
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(data, "index-v1.json")
	if _, err := os.Stat(path); os.IsNotExist(err) && os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(golden, body) {
		t.Fatalf("today's form is\n%s\nthe stored one\n%s\n%v", body, golden, err)
	}
	var got indexDocument
	if err := errors.Join(decodeStrict(golden, &got), got.check()); err != nil || got.Hash != want.Hash {
		t.Errorf("%+v, %v", got, err)
	}
}
