package manifest

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"farshore/dataplane/block"
)

// listOf makes the list of a disk whose chunks are zeros where the stamp is 0.
func listOf(sectors block.Count, stamps []byte) *Chunks {
	c := &Chunks{Sectors: sectors}
	for n := range Count(sectors) {
		c.Add(bytes.Repeat(stamps[n:n+1], int(c.Extent(n).Count.Bytes())))
	}
	return c
}

func TestAListReadsWhatItWroteAndKnowsItsChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sectors := block.Count(rapid.IntRange(1, 3*int(ChunkSectors)).Draw(t, "sectors"))
		stamps := rapid.SliceOfN(rapid.ByteRange(0, 2), Count(sectors), Count(sectors)).Draw(t, "stamps")
		c, err := Decode(listOf(sectors, stamps).Encode())
		if err != nil {
			t.Fatal(err)
		}
		for n, s := range stamps {
			content := bytes.Repeat([]byte{s}, int(c.Extent(n).Count.Bytes()))
			if c.Zero(n) != (s == 0) || !c.Matches(n, content) {
				t.Fatalf("chunk %d of %d, zero %v, does not match what it was made of", n, c.Len(), c.Zero(n))
			}
			content[rapid.IntRange(0, len(content)-1).Draw(t, "byte")] ^= 0x40
			if c.Matches(n, content) {
				t.Fatalf("chunk %d matches something else", n)
			}
		}
	})
}

func TestEveryBitOfAListCounts(t *testing.T) {
	good := listOf(3*ChunkSectors-7, []byte{1, 0, 2}).Encode()
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := Decode(bad); err == nil {
			t.Fatalf("bit %d of byte %d may be wrong", i%8, i/8)
		}
	}
	for n := range good {
		if _, err := Decode(good[:n]); err == nil {
			t.Fatalf("it may end after %d bytes", n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(listOf(ChunkSectors+5, []byte{3, 0}).Encode())
	f.Add([]byte("FSCL\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := Decode(b); err == nil && !bytes.Equal(c.Encode(), b) {
			t.Error("it reads something else than it writes")
		}
	})
}
