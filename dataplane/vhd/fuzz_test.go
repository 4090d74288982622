package vhd

import (
	"bytes"
	"testing"
	"time"

	"farshore/dataplane/block"
)

// FuzzSectors: a footer is read or refused; with one bit changed it is refused.
func FuzzSectors(f *testing.F) {
	footer := Footer(2048*64, [16]byte{1, 2}, time.Unix(1_700_000_000, 0))
	f.Add(footer[:], uint16(7))
	f.Add([]byte("conectix"), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, bit uint16) {
		n, err := Sectors(b)
		if err != nil {
			return
		}
		if n.Bytes()%block.SectorSize != 0 {
			t.Fatalf("a disk of %d bytes", n.Bytes())
		}
		at := int(bit) % (8 * FooterBytes)
		spoiled := bytes.Clone(b)
		spoiled[at/8] ^= 1 << (at % 8)
		if n, err := Sectors(spoiled); err == nil {
			t.Fatalf("with bit %d changed it is a footer of %d sectors", at, n)
		}
	})
}
