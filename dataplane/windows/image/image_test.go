package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const sector = 512

// filled gives a source of n bytes that all say which it is.
func filled(name byte, n int64) *bytes.Reader {
	return bytes.NewReader(bytes.Repeat([]byte{name}, int(n)))
}

func TestADiskIsMadeOfShadowsAndOfItselfBetweenThem(t *testing.T) {
	disk := filled('d', 100*sector)
	m, err := Compose(100*sector, sector,
		Part{Offset: 60 * sector, Length: 30 * sector, From: filled('B', 30*sector), Name: "volume B"},
		Part{Offset: 8 * sector, Length: 20 * sector, From: filled('A', 20*sector), Name: "volume A"})
	if err != nil {
		t.Fatal(err)
	}
	if raw := m.Raw(); len(raw) != 3 || raw.Bytes() != 50*sector || raw[1].Offset != 28*sector || raw[2].Offset != 90*sector {
		t.Errorf("raw pieces: %+v", raw)
	}
	whole := make([]byte, 100*sector)
	if n, err := (&Image{Map: m, Disk: disk}).ReadAt(whole, 0); n != len(whole) || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	want := strings.Repeat("d", 8*sector) + strings.Repeat("A", 20*sector) + strings.Repeat("d", 32*sector) +
		strings.Repeat("B", 30*sector) + strings.Repeat("d", 10*sector)
	if string(whole) != want {
		t.Error("the image is not what its pieces hold")
	}
}

func TestPartsThatDoNotFitAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		parts []Part
		say   string
	}{
		"overlap":     {[]Part{{Offset: 0, Length: 1024, Name: "a"}, {Offset: 512, Length: 512, Name: "b"}}, "overlap"},
		"same":        {[]Part{{Offset: 0, Length: 512, Name: "a"}, {Offset: 0, Length: 512, Name: "b"}}, "overlap"},
		"behind":      {[]Part{{Offset: 4096, Length: 1024, Name: "a"}}, "do not lie on a disk"},
		"too large":   {[]Part{{Offset: 512, Length: 1 << 62, Name: "a"}}, "do not lie on a disk"},
		"not aligned": {[]Part{{Offset: 100, Length: 512, Name: "a"}}, "no whole sectors"},
		"empty":       {[]Part{{Offset: 512, Name: "a"}}, "no whole sectors"},
		"negative":    {[]Part{{Offset: -512, Length: 512, Name: "a"}}, "no whole sectors"},
	} {
		if m, err := Compose(4608, sector, c.parts...); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: Compose = %v, %v; want an error with %q", name, m, err, c.say)
		}
	}
}

func TestAShadowThatIsShorterThanItsPartIsAnError(t *testing.T) {
	m, err := Compose(16*sector, sector, Part{Offset: 4 * sector, Length: 8 * sector, From: filled('A', 7*sector), Name: "volume A"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := (&Image{Map: m, Disk: filled('d', 16*sector)}).ReadAt(make([]byte, 16*sector), 0)
	if n != 11*sector || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(fmt.Sprint(err), "volume A") {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
}

// Any set of parts, read at any offset, gives each byte from where the map says.
func TestEveryByteComesFromItsPiece(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sectors := rapid.Int64Range(1, 64).Draw(t, "sectors")
		want := bytes.Repeat([]byte{'d'}, int(sectors*sector))
		var parts []Part
		for at := int64(0); at < sectors; {
			at += rapid.Int64Range(0, 8).Draw(t, "gap")
			n := rapid.Int64Range(1, 8).Draw(t, "length")
			if at+n > sectors {
				break
			}
			name := byte('A' + len(parts))
			parts = append(parts, Part{Offset: at * sector, Length: n * sector, From: filled(name, n*sector), Name: string(name)})
			copy(want[at*sector:], bytes.Repeat([]byte{name}, int(n*sector)))
			at += n
		}
		shuffled := append([]Part(nil), parts...)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		m, err := Compose(sectors*sector, sector, shuffled...)
		if err != nil {
			t.Fatal(err)
		}
		if m.Bytes() != sectors*sector {
			t.Fatalf("the map covers %d bytes of %d", m.Bytes(), sectors*sector)
		}
		offset := rapid.Int64Range(0, sectors*sector).Draw(t, "offset")
		got := make([]byte, rapid.IntRange(0, int(sectors*sector)).Draw(t, "bytes"))
		n, err := (&Image{Map: m, Disk: filled('d', sectors*sector)}).ReadAt(got, offset)
		if wantN := min(len(got), int(sectors*sector-offset)); n != wantN || (n < len(got)) != errors.Is(err, io.EOF) {
			t.Fatalf("ReadAt(%d bytes at %d) = %d, %v; want %d", len(got), offset, n, err, wantN)
		}
		if !bytes.Equal(got[:n], want[offset:offset+int64(n)]) {
			t.Fatalf("wrong bytes at %d", offset)
		}
	})
}
