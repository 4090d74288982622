package processserver

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
)

// manyDisks are decoded anew for each message, as from the line.
func manyDisks() []segment.Disk {
	disks := make([]segment.Disk, segment.MaxDisks)
	for i := range disks {
		disks[i] = segment.Disk{ID: farshore.DiskID(fmt.Sprintf("disk-with-a-rather-long-name-of-its-own-%08d", i)), Sectors: 1000}
	}
	return disks
}

// TestWhatWaitsInMemoryIsBoundedByTheWindow lets an agent send as much as the server takes while nothing is sealed, in the
// shapes that cost most for what they carry.
func TestWhatWaitsInMemoryIsBoundedByTheWindow(t *testing.T) {
	const window = 16 << 20
	zero := func(n int) []segment.Record {
		all := make([]segment.Record, n)
		for i := range all {
			all[i] = segment.Record{Kind: block.Zero, Extent: block.Extent{Start: block.Sector(i % 1000), Count: 1}}
		}
		return all
	}
	shapes := map[string]func(n uint64) session.Message{
		"jumps of one record": func(n uint64) session.Message {
			return &session.Batch{Number: n, Copy: true, Jump: true, FirstLSN: 1, Records: zero(1)}
		},
		"jumps without records": func(n uint64) session.Message {
			return &session.Batch{Number: n, Copy: true, Jump: true, FirstLSN: 1}
		},
		"batches without records": func(n uint64) session.Message {
			return &session.Batch{Number: n, Copy: true, Jump: n == 1, FirstLSN: 1}
		},
		"full batches of zeros": func(n uint64) session.Message {
			return &session.Batch{Number: n, Copy: true, Jump: n == 1, FirstLSN: 1, Records: zero(session.MaxBatchRecords)}
		},
		"cuts": func(n uint64) session.Message { return &session.Cut{Number: n, Disks: manyDisks()} },
	}
	for name, message := range shapes {
		t.Run(name, func(t *testing.T) {
			limits := session.DefaultLimits()
			limits.WindowBytes = window
			now := time.Now()
			s := session.NewServer(now, farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}, limits)
			s.Step(now, session.Received{Message: &session.Hello{Machine: "web-01", Session: 1, Ticket: []byte("x"), Disks: manyDisks()}})
			s.Step(now, session.Claimed{Opened: session.Opened{Generation: 1, Epoch: 1}})
			before := heap()
			a := newAssembly(chain.Link{}, manyDisks(), 8<<20, unlimited())
			var sealing []closed
			n := uint64(0)
			for refused := false; !refused; {
				if n++; n > window {
					t.Fatal("more messages were taken than the window has bytes")
				}
				for _, e := range s.Step(now, session.Received{Message: message(n)}) {
					switch e := e.(type) {
					case session.Append:
						sealing = append(sealing, a.add(now, e.Batch)...)
					case session.End:
						sealing = append(sealing, a.end(now, e.Cut)...)
					case session.Close:
						refused = true
					}
				}
			}
			held := heap() - before
			t.Logf("%d messages, %d KiB held", n-1, held>>10)
			if held > 2*window {
				t.Errorf("%d MiB are held, the window is %d MiB", held>>20, window>>20)
			}
			runtime.KeepAlive(sealing)
			runtime.KeepAlive(a)
			runtime.KeepAlive(s)
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
