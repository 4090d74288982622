package agent

import (
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"farshore/dataplane/block"
)

func collect(b *bitset) *block.Set {
	s := &block.Set{}
	for at := block.Sector(0); ; {
		run, ok := b.next(at)
		if !ok {
			return s
		}
		s.Add(run)
		at = run.End()
	}
}

func TestABitmapHoldsTheUnitsThatWereMarkedAndNotRemoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sectors := block.Count(rapid.IntRange(1, 5000).Draw(t, "sectors"))
		b, err := openBitset("", sectors)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close() // memory only
		want := map[uint64]bool{}
		for range rapid.IntRange(0, 10).Draw(t, "steps") {
			start := uint64(rapid.IntRange(0, int(sectors)-1).Draw(t, "start"))
			end := uint64(rapid.IntRange(int(start)+1, int(sectors)).Draw(t, "end"))
			e := block.Extent{Start: block.Sector(start), Count: block.Count(end - start)}
			inside := &block.Set{} // units that lie in e wholly
			for s := uint64(0); s < b.units(); s++ {
				if s*8 >= start && min(s*8+8, uint64(sectors)) <= end {
					inside.Add(block.Extent{Start: block.Sector(s * 8), Count: min(8, sectors-block.Count(s*8))})
				}
			}
			if got := block.SetOf(b.within(e)); !got.Equal(inside) {
				t.Fatalf("within %v lies %v, want %v", e, got, inside)
			}
			step := rapid.SampledFrom([]string{"mark", "remove", "unmark"}).Draw(t, "step")
			switch step {
			case "mark":
				b.Mark(e)
			case "remove":
				b.remove(e)
			case "unmark":
				b.unmark(e)
			}
			for s := start >> 3; s <= (end-1)>>3; s++ {
				switch {
				case step == "mark":
					want[s] = true
				case step == "unmark" || inside.Overlaps(block.Extent{Start: block.Sector(s * 8), Count: 1}):
					delete(want, s)
				}
			}
		}
		set := &block.Set{}
		for s := range want {
			set.Add(block.Extent{Start: block.Sector(s * 8), Count: min(8, sectors-block.Count(s*8))})
		}
		if got := collect(b); !got.Equal(set) {
			t.Fatalf("the bitmap holds %v, want %v", got, set)
		}
		if got := b.bytes(0); got != int64(len(want))*4096 || b.empty() != (len(want) == 0) {
			t.Fatalf("bytes %d, empty %v; want %d units", got, b.empty(), len(want))
		}
	})
}

func TestASpanIsWholeWhereAPieceIsCut(t *testing.T) {
	b, err := openBitset("", 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close() // memory only
	b.Mark(block.Extent{Start: 100, Count: 2000})
	span, _ := b.span(0)
	piece, _ := b.next(0)
	if span.String() != "[96,2104)" || piece.String() != "[96,512)" {
		t.Errorf("span %v and piece %v, want [96,2104) and [96,512)", span, piece)
	}
}

func TestABitmapInAFileGoesOnAndOneOfAnotherSizeBeginsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	first, err := openBitset(path, 4096)
	if err != nil {
		t.Fatal(err)
	}
	first.Mark(block.Extent{Start: 100, Count: 1})
	again, err := openBitset(path, 4096) // while the first is still mapped: nothing was flushed
	if err != nil {
		t.Fatal(err)
	}
	if got := collect(again); got.String() != "{[96,104)}" {
		t.Errorf("opened again: %v", got)
	}
	other, err := openBitset(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if !other.empty() {
		t.Errorf("of another size: %v, want nothing", collect(other))
	}
	other.fill()
	if got := other.bytes(0); got != 512<<20 {
		t.Errorf("filled: %d bytes, want the disk", got)
	}
	for _, b := range []*bitset{again, other} {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}
}
