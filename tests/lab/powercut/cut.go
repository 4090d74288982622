package powercut

import (
	"fmt"
	"math/rand/v2"
	"os"
)

const sector = 512

// Cutter makes images of moments that come one after the other.
type Cutter struct {
	disk    *Disk
	flushed []byte // what no cut can take any more
	upTo    int    // operations in it
}

// Cuts begins with the disk as it was new. Nothing may be written to the disk any more.
func (d *Disk) Cuts() *Cutter { return &Cutter{disk: d, flushed: make([]byte, d.size)} }

// Cut writes to a file what a power cut at a moment could have left; moments must not go back. Writes behind the last flush in
// front of it are there or not by chance, and one in eight of them in part, by whole sectors.
func (c *Cutter) Cut(moment int, rng *rand.Rand, path string) (kept, lost int, err error) {
	log := c.disk.log[:moment]
	last := moment
	for last > 0 && !log[last-1].flush() {
		last--
	}
	if last < c.upTo {
		last = c.upTo
	}
	for _, o := range log[c.upTo:last] {
		copy(c.flushed[o.at:], o.data)
	}
	c.upTo = last
	image := append([]byte(nil), c.flushed...)
	keep := rng.IntN(4) // of four: nothing, few, many, all
	for _, o := range log[last:] {
		switch {
		case rng.IntN(3) >= keep:
			lost++
		case rng.IntN(8) == 0 && len(o.data) > sector:
			copy(image[o.at:], o.data[:sector*(1+rng.IntN(len(o.data)/sector))])
			kept++
		default:
			copy(image[o.at:], o.data)
			kept++
		}
	}
	if err := os.WriteFile(path, image, 0o600); err != nil {
		return 0, 0, fmt.Errorf("write what a power cut left: %w", err)
	}
	return kept, lost, nil
}
