package bitmap

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker/kernel"
	"farshore/dataplane/tracker/trackertest"
)

// BenchmarkWritesUnderTheBitmap writes to a loop device in memory, in order. ns/event is the time that the programs took for one
// write, by the kernel's own account.
func BenchmarkWritesUnderTheBitmap(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) { benchmark(b, size) })
	}
}

func benchmark(b *testing.B, size int) {
	const diskSize = 64 << 20
	pinDir := needBPF(b)
	loop := disktest.NewLoop(b, diskSize)
	tr := open(b, own(b), pinDir, target(b, "a", loop))
	if err := kernel.Direct(loop.Node(), true); err != nil {
		b.Fatal(err)
	}
	data := disk.Buffer(size)
	account := trackertest.NewAccount(b, slices.Collect(maps.Values(tr.sets[0].links))...)
	before := account.Spent(b)
	b.SetBytes(int64(size))
	for i := 0; b.Loop(); i++ {
		if _, err := loop.Node().WriteAt(data, int64(i)*int64(size)%diskSize); err != nil {
			b.Fatal(err)
		}
	}
	total := time.Duration(0)
	for i, spent := range account.Spent(b) {
		total += spent - before[i]
	}
	b.ReportMetric(float64(total)/float64(b.N), "ns/event")
}
