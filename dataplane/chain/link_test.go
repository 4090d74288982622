package chain

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/segment"
)

var stream = Stream{Vault: segment.VaultID{7}, Machine: "web-01", Generation: 2}

// headerBehind makes the header of an ordinary segment with n log records behind a link.
func headerBehind(l Link, n int) segment.Header {
	p := l.Next()
	return segment.Header{
		Vault: l.Stream.Vault, Machine: l.Stream.Machine, Generation: p.Generation, Epoch: p.Epoch, Seq: p.Seq,
		Previous: l.Hash, FirstLSN: l.LastLSN + 1, LastLSN: l.LastLSN + farshore.LSN(n),
		Disks: []segment.Disk{{ID: "d1", Sectors: 100, Clean: true}},
	}
}

func TestASegmentFollowsOnlyWhatItSaysItFollows(t *testing.T) {
	inside := LinkOf(headerBehind(Start(stream), 4), segment.Hash{1})
	sealed := LinkOf(inside.SealHeader(), segment.Hash{2})
	rows := []struct {
		name   string
		behind Link
		change func(h *segment.Header)
		want   string // part of the refusal; empty: accepted
	}{
		{"the next one", inside, func(*segment.Header) {}, ""},
		{"the first of the next epoch behind a seal", sealed, func(*segment.Header) {}, ""},
		{"the first of the generation", Start(stream), func(*segment.Header) {}, ""},
		{"no log records", inside, func(h *segment.Header) { h.LastLSN = h.FirstLSN - 1 }, ""},
		{"a jump without a gap", inside, func(h *segment.Header) { h.Jump = true }, ""},
		{"a jump over lost records", inside, func(h *segment.Header) { h.Jump, h.FirstLSN, h.LastLSN = true, 50, 51 }, ""},
		{"another vault", inside, func(h *segment.Header) { h.Vault = segment.VaultID{8} }, "belongs to machine web-01, generation 2 of vault 08"},
		{"another machine", inside, func(h *segment.Header) { h.Machine = "web-02" }, "belongs to machine web-02"},
		{"another generation", inside, func(h *segment.Header) { h.Generation = 3 }, "belongs to machine web-01, generation 3"},
		{"a seq left out", inside, func(h *segment.Header) { h.Seq++ }, "behind g2.e1.s1 comes g2.e1.s2"},
		{"the same seq again", inside, func(h *segment.Header) { h.Seq-- }, "comes g2.e1.s2"},
		{"the next epoch without a seal", inside, func(h *segment.Header) { h.Epoch, h.Seq = 2, 1 }, "comes g2.e1.s2"},
		{"the same epoch behind its seal", sealed, func(h *segment.Header) { h.Epoch, h.Seq = 1, 3 }, "comes g2.e2.s1"},
		{"an epoch left out", sealed, func(h *segment.Header) { h.Epoch++ }, "comes g2.e2.s1"},
		{"another predecessor", inside, func(h *segment.Header) { h.Previous[31] ^= 1 }, "follows on a segment with the hash"},
		{"lost records", inside, func(h *segment.Header) { h.FirstLSN++ }, "begin at 6, those in front end at 4"},
		{"repeated records", inside, func(h *segment.Header) { h.FirstLSN-- }, "begin at 4, those in front end at 4"},
		{"a jump back", inside, func(h *segment.Header) { h.Jump, h.FirstLSN = true, 4 }, "begin again at 4, behind 4"},
		{"a seal that knows other records", inside, func(h *segment.Header) { *h = inside.SealHeader(); h.FirstLSN, h.LastLSN = 9, 8 }, "begin at 9"},
	}
	for _, r := range rows {
		h := headerBehind(r.behind, 2)
		r.change(&h)
		err := r.behind.Accept(h)
		var b *Break
		if r.want == "" && err != nil || r.want != "" && (!errors.As(err, &b) || !strings.Contains(err.Error(), r.want)) {
			t.Errorf("%s: got %v, want %q", r.name, err, r.want)
		}
	}
}

func TestASealRepeatsTheEndInFrontOfIt(t *testing.T) {
	h := headerBehind(Start(stream), 4)
	h.Disks = append(h.Disks, segment.Disk{ID: "d2", Sectors: 5, Joining: true})
	l := LinkOf(h, segment.Hash{1})
	seal := l.SealHeader()
	if err := l.Accept(seal); err != nil {
		t.Fatal(err)
	}
	got := LinkOf(seal, segment.Hash{2})
	want := l
	want.Position.Seq, want.Hash, want.Seal = 2, segment.Hash{2}, true
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("link of the seal (-want +got):\n%s", d)
	}
}

func TestAWalkStaysWhereItIsWhenTheNextSegmentDoesNotFollow(t *testing.T) {
	w := NewWalk(Start(stream))
	h := headerBehind(Start(stream), 4)
	if err := w.Take(h, segment.Hash{1}); err != nil {
		t.Fatal(err)
	}
	before := w.At()
	if err := w.Take(h, segment.Hash{1}); err == nil {
		t.Fatal("took one segment twice")
	}
	if d := cmp.Diff(before, w.At()); d != "" {
		t.Errorf("the cursor moved (-want +got):\n%s", d)
	}
	if got, want := w.Next(), (farshore.Position{Generation: 2, Epoch: 1, Seq: 2}); got != want {
		t.Errorf("Next() = %v, want %v", got, want)
	}
}

func TestNamesSortAsTheStreamDoesAndAreReadBack(t *testing.T) {
	last := ""
	for _, p := range []farshore.Position{
		{Generation: 1, Epoch: 1, Seq: 1},
		{Generation: 1, Epoch: 1, Seq: 9},
		{Generation: 1, Epoch: 1, Seq: 10},
		{Generation: 1, Epoch: 2, Seq: 1},
		{Generation: 1, Epoch: 255, Seq: 1 << 63},
		{Generation: 16, Epoch: 3, Seq: 1},
		{Generation: 1<<32 - 1, Epoch: 1<<32 - 1, Seq: 1<<64 - 1},
	} {
		name := NameOf("web-01", p)
		if name <= last {
			t.Errorf("%s does not sort behind %s", name, last)
		}
		last = name
		if m, got, err := ParseSegmentName(name); err != nil || m != "web-01" || got != p {
			t.Errorf("ParseSegmentName(%s) = %s, %v, %v", name, m, got, err)
		}
	}
	if want := "journal/v1/m/web-01/g00000001/e00000002/s00000000000000ff.fsj"; SegmentName("web-01", 1, 2, 255) != want {
		t.Errorf("SegmentName = %s, want %s", SegmentName("web-01", 1, 2, 255), want)
	}
	if name, want := ClaimName("web-01", 1, 2), "points/v1/m/web-01/g00000001/e00000002.json"; name != want {
		t.Errorf("ClaimName = %s, want %s", name, want)
	}
	if m, g, e, err := ParseClaimName(ClaimName("web-01", 1, 2)); err != nil || m != "web-01" || g != 1 || e != 2 {
		t.Errorf("ParseClaimName = %v %v %v %v", m, g, e, err)
	}
	if m, n, err := ParseSpecName(SpecName("web-01", 77)); err != nil || m != "web-01" || n != 77 {
		t.Errorf("ParseSpecName = %v %v %v", m, n, err)
	}
}

func TestForeignNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "journal/v1/m/", "journal/v1/m/web-01/g00000001/e00000002/s1.fsj",
		"journal/v1/m/web-01/g00000001/e00000002/s00000000000000ff.fsj/x",
		"journal/v1/m/web-01/g00000001/e00000002/s00000000000000FF.fsj",
		"journal/v1/m/Web/g00000001/e00000002/s00000000000000ff.fsj",
		"points/v1/m/web-01/g00000001/e00000002.json", "journal/v1/m/../g00000001/e00000002/s00000000000000ff.fsj",
	} {
		if _, _, err := ParseSegmentName(name); err == nil {
			t.Errorf("ParseSegmentName takes %q", name)
		}
	}
	for _, name := range []string{"points/v1/m/web-01/g1/e1.json", "points/v1/m/web-01/g00000001/e00000002.jsonx", "points/v1/vault.json"} {
		if _, _, _, err := ParseClaimName(name); err == nil {
			t.Errorf("ParseClaimName takes %q", name)
		}
	}
	if _, _, err := ParseSpecName("points/v1/m/web-01/spec-1.json"); err == nil {
		t.Error("ParseSpecName takes a short number")
	}
}

func FuzzNames(f *testing.F) {
	f.Add(SegmentName("web-01", 1, 2, 255))
	f.Add(ClaimName("web-01", 1, 2))
	f.Add(SpecName("web-01", 1))
	f.Fuzz(func(t *testing.T, name string) {
		if m, p, err := ParseSegmentName(name); err == nil && NameOf(m, p) != name {
			t.Fatalf("%q is read as %s", name, NameOf(m, p))
		}
		if m, g, e, err := ParseClaimName(name); err == nil && ClaimName(m, g, e) != name {
			t.Fatalf("%q is read as %s", name, ClaimName(m, g, e))
		}
		if m, n, err := ParseSpecName(name); err == nil && SpecName(m, n) != name {
			t.Fatalf("%q is read as %s", name, SpecName(m, n))
		}
	})
}
