//go:build linux && amd64

package capture

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker/trackertest"
)

// BenchmarkWritesUnderCapture writes to a loop device in memory, in order, while a reader throws away what is captured.
// ns/event is the time that the programs took for one write, by the kernel's own measure, which a busy machine disturbs
// little; of that, ns/queue is the program that copies.
func BenchmarkWritesUnderCapture(b *testing.B) {
	needCapture(b)
	for _, recording := range []bool{false, true} {
		for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("recording=%v/%dKiB", recording, size>>10), func(b *testing.B) { benchmark(b, recording, size) })
		}
	}
}

func benchmark(b *testing.B, recording bool, size int) {
	const diskSize = 64 << 20
	loop := disktest.NewLoop(b, diskSize)
	c := open(b, 64<<20, loop)
	if err := c.Record(recording); err != nil {
		b.Fatal(err)
	}
	account := trackertest.NewAccount(b, c.links...)
	stop, busy := make(chan struct{}), time.Duration(0)
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			begun := time.Now()
			if err := c.Read(func(Write) error { return nil }); err != nil {
				b.Error(err)
			}
			busy += time.Since(begun)
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
		}
	})
	node, data, lost := direct(b, loop), disk.Buffer(size), c.Lost()
	before := account.Spent(b)
	b.SetBytes(int64(size))
	for i := 0; b.Loop(); i++ {
		put(b, node, int64(i)*int64(size)%diskSize, data)
	}
	b.StopTimer()
	after := account.Spent(b)
	close(stop)
	reader.Wait()
	total := time.Duration(0)
	for i := range after {
		total += after[i] - before[i]
	}
	queue := after[len(after)-1] - before[len(before)-1]
	b.ReportMetric(float64(total)/float64(b.N), "ns/event")
	b.ReportMetric(float64(queue)/float64(b.N), "ns/queue")
	b.ReportMetric(float64(busy)/float64(b.N), "reader-ns/event")
	b.ReportMetric(float64(c.Lost()-lost), "lost")
}
