package changelog

import (
	"errors"
	"testing"

	"farshore/dataplane/block"
)

// BenchmarkAppendAndRead is the cost of a write from Append to Trim while the reader keeps up.
func BenchmarkAppendAndRead(b *testing.B) {
	for name, sectors := range map[string]block.Count{"4KiB": 8, "64KiB": 128, "1MiB": 2048} {
		b.Run(name, func(b *testing.B) {
			l, err := Open(Config{Cookie: testCookie, Disks: testDisks, MemoryBytes: 64 << 20})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			e, from := dataEntry(1, sectors), uint64(1)
			b.SetBytes(sectors.Bytes())
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := l.Append(e); err != nil {
					b.Fatal(err)
				}
				if i%16 == 15 {
					from = drainAll(b, l, from)
				}
			}
		})
	}
}

// BenchmarkThroughTheFile is the same while everything goes through the file.
func BenchmarkThroughTheFile(b *testing.B) {
	l, err := Open(Config{Path: filePlace(b), Cookie: testCookie, Disks: testDisks, MemoryBytes: 16 << 20, FileBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	e, from := dataEntry(1, 128), uint64(1)
	b.SetBytes(e.Extent.Count.Bytes())
	for b.Loop() {
		err := l.Append(e)
		for errors.Is(err, ErrFull) {
			from = drainAll(b, l, from)
			err = l.Append(e)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(l.Usage().Written)/float64(b.N), "file-bytes/op")
}

func drainAll(b *testing.B, l *Log, from uint64) uint64 {
	b.Helper()
	for {
		records, next, _, err := l.Read(from, Limit{Records: 1024, Bytes: 960 << 10})
		if err != nil {
			b.Fatal(err)
		}
		if len(records) == 0 {
			return from
		}
		l.Trim(next - 1)
		from = next
	}
}
