package hashes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

var secret = Secret{1, 2, 3}

func example(sectors block.Count, number uint32) *Part {
	p := &Part{Vault: segment.VaultID{9}, Machine: "web-01", Generation: 1, Epoch: 4, Offer: 2, Disk: "WD-1", Number: number, Sectors: sectors}
	h := secret.Hasher(p.Disk)
	for i := range ChunksOf(number, sectors) {
		chunk := make([]byte, 8)
		if i%3 != 1 {
			chunk[i%8] = 1
		}
		p.Chunks = append(p.Chunks, h.Chunk(uint64(p.Extent(i).Start)/ChunkSectors, chunk))
	}
	return p
}

func sealed(t testing.TB, p *Part) []byte {
	t.Helper()
	b, err := p.Seal(secret)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAPartIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sectors := block.Count(rapid.IntRange(1, 3*PartSectors).Draw(rt, "sectors"))
		p := example(sectors, uint32(rapid.IntRange(0, int(PartsOf(sectors))-1).Draw(rt, "number")))
		s, err := Parse(sealed(t, p))
		if err != nil {
			rt.Fatal(err)
		}
		got, err := s.Open(secret)
		if err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(p, got); d != "" {
			rt.Fatalf("-written +read\n%s", d)
		}
		end := block.Sector(0)
		for i := range got.Chunks {
			e := got.Extent(i)
			if e.Empty() || i > 0 && e.Start != end || e.End() > block.Sector(sectors) {
				rt.Fatalf("chunk %d is %v", i, e)
			}
			end = e.End()
		}
	})
}

func TestAHashIsBoundToSecretDiskAndPlace(t *testing.T) {
	chunk := bytes.Repeat([]byte("x"), ChunkBytes)
	want := secret.Hasher("WD-1").Chunk(7, chunk)
	for name, got := range map[string]Chunk{
		"another secret": Secret{1}.Hasher("WD-1").Chunk(7, chunk),
		"another disk":   secret.Hasher("WD-2").Chunk(7, chunk),
		"another place":  secret.Hasher("WD-1").Chunk(8, chunk),
		"a shorter one":  secret.Hasher("WD-1").Chunk(7, chunk[:512]),
		"zeros":          secret.Hasher("WD-1").Chunk(7, make([]byte, ChunkBytes)),
	} {
		if got == want {
			t.Errorf("%s has the same hash", name)
		}
	}
	if got := secret.Hasher("WD-1").Chunk(7, chunk); got != want {
		t.Errorf("the same has another hash: %v, %v", got, want)
	}
}

func TestAPartThatWasChangedIsNotBelieved(t *testing.T) {
	b := sealed(t, example(PartSectors+100, 0))
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		spoiled := bytes.Clone(b)
		spoiled[random.IntN(len(b))] ^= 1 << random.IntN(8)
		s, err := Parse(spoiled)
		if err == nil {
			_, err = s.Open(secret)
		}
		var d *Damage
		if !errors.As(err, &d) {
			t.Fatalf("a changed part was believed: %v", err)
		}
	}
	s, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(Secret{7}); !errors.Is(err, ErrSecret) {
		t.Errorf("with another offer's secret: %v", err)
	}
}

// resealed gives the bytes a checksum again: what a forger would do.
func resealed(t *testing.T, change func(p *Part)) []byte {
	t.Helper()
	p := example(1000, 0)
	change(p)
	return sealed(t, p)
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	b := sealed(t, example(1000, 0))
	newer := bytes.Clone(b)
	newer[4] = 2
	for name, row := range map[string]struct {
		bytes []byte
		want  string
	}{
		"nothing":       {nil, "not a part"},
		"a segment":     {[]byte("FSJ1..................."), "not a part"},
		"a newer one":   {newer, "version 2, this program reads 1"},
		"cut off":       {b[:len(b)-1], "checksum"},
		"only its head": {b[:headerBytes], "only 56 bytes"},
		"far too long":  {make([]byte, MaxPartBytes+1), "at most"},
	} {
		if _, err := Parse(row.bytes); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	for name, change := range map[string]func(*Part){
		"no machine":      func(p *Part) { p.Machine = "" },
		"a disk's path":   func(p *Part) { p.Disk = "a/b" },
		"no generation":   func(p *Part) { p.Generation = 0 },
		"chunks missing":  func(p *Part) { p.Chunks = p.Chunks[1:] },
		"behind its disk": func(p *Part) { p.Number = 1 },
		"no size":         func(p *Part) { p.Sectors = 0 },
	} {
		p := example(1000, 0)
		change(p)
		if _, err := p.Seal(secret); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if _, err := Parse(resealed(t, func(p *Part) { p.Epoch = 5 })); err != nil {
		t.Errorf("another epoch's part: %v", err)
	}
}

func TestNamesAreReadBack(t *testing.T) {
	for _, name := range []string{HeadName("web-01", 1, 0x1f, 1), PartName("web-01", 1, 0x1f, "WD-1", 3)} {
		if e, ok := EpochOf("web-01", 1, name); !ok || e != 0x1f {
			t.Errorf("%s is of epoch %d, %v", name, e, ok)
		}
		if e, ok := EpochOf("web-01", 2, name); ok {
			t.Errorf("%s is of epoch %d of another generation", name, e)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	if s := secret.String() + secret.GoString(); strings.Contains(s, "1") {
		t.Error(s)
	}
}

// FuzzParse feeds the reader anything, with the right checksum. What it takes can be written again, byte for byte.
func FuzzParse(f *testing.F) {
	f.Add(sealed(f, example(1000, 0)))
	f.Add(sealed(f, example(PartSectors+1, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at := len(b) - trailerBytes; at >= 0 {
			sum := sha256.Sum256(b[:at])
			copy(b[at:], sum[:])
			copy(b[at+sha256.Size:], secret.code(b[:at+sha256.Size]))
		}
		s, err := Parse(b)
		if err != nil {
			return
		}
		if again := sealed(t, &s.Part); !bytes.Equal(again, b) {
			t.Fatalf("%x was read, and is written as %x", b, again)
		}
	})
}

func BenchmarkChunk(b *testing.B) {
	chunk := bytes.Repeat([]byte("x"), ChunkBytes)
	h := secret.Hasher("WD-1")
	b.SetBytes(ChunkBytes)
	for b.Loop() {
		h.Chunk(1, chunk)
	}
}
