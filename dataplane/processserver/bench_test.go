package processserver

import (
	"syscall"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/uplink"
)

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkReplicateScatteredBlocks replicates batches of 63 random 4 KiB blocks that compress two to one, from an agent
// to a durable acknowledgement: both ends, TLS, sealing, spool and a vault in a folder, in one process. cpu-us/block is
// the processor time of all of it.
func BenchmarkReplicateScatteredBlocks(b *testing.B) {
	const blocks, batches, disk = 63, 64, 1 << 16 // a round of 64 batches is 15.75 MiB on a disk of 65,536 blocks
	w := newWorld(b)
	c := w.config(b.TempDir())
	c.CacheBytes, c.SegmentBytes = 256<<20, DefaultSegmentBytes
	server := w.serve("hq-1", c, w.store)
	a := w.agent("web-01", 1)
	config := a.config(server.address, nil)
	disks := []segment.Disk{{ID: farshore.DiskID("WD-1"), Sectors: disk * 8, Clean: true}}
	config.Hello.Disks = disks
	link, _, err := uplink.Open(b.Context(), config)
	must(b, err)
	r := &replication{a: a, link: link, done: make(chan error, 1)}
	go func() { r.done <- link.Run(b.Context()) }()
	data := make([]byte, blocks*4096)
	for i := range data {
		if data[i] = 'x'; i%64 < 32 {
			data[i] = byte(a.rnd.Uint32())
		}
	}
	b.SetBytes(blocks * batches * 4096)
	began, jump := cpu(b), true
	for b.Loop() {
		for range batches {
			batch := &session.Batch{Copy: true, Jump: jump}
			jump = false
			for i := range blocks {
				batch.Records = append(batch.Records, segment.Record{
					Extent: block.Extent{Start: block.Sector(a.rnd.IntN(disk) * 8), Count: 8}, Data: data[i*4096 : (i+1)*4096],
				})
			}
			_, err := link.Send(b.Context(), batch)
			must(b, err)
		}
		n, err := link.Cut(b.Context(), &session.Cut{Disks: disks})
		must(b, err)
		_, err = r.awaitDurable(n)
		must(b, err)
	}
	b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N*blocks*batches), "cpu-us/block")
	link.Close()
	<-r.done
}
