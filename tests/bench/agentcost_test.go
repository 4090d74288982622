package bench

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/bitmap"
	"farshore/dataplane/tracker/capture"
)

// spent is the kernel's own account of a program.
type spent struct {
	runs uint64
	time time.Duration
}

// accounts gives the accounts of the programs that this process holds: others on the machine may be called the same.
func (a *agentBench) accounts() map[string]spent {
	a.Helper()
	all := map[string]spent{}
	for id := range a.programs() {
		name, s, err := account(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended meanwhile
		}
		if err != nil {
			a.Fatal(err)
		}
		all[name] = spent{all[name].runs + s.RunCount, all[name].time + s.Runtime}
	}
	return all
}

// programs finds the programs by the descriptors that this process has of them and of their links.
func (a *agentBench) programs() map[ebpf.ProgramID]bool { return held[ebpf.ProgramID](a, "prog_id") }

// held gives the numbers that descriptors of this process have under a name.
func held[ID ~uint32](a *agentBench, name string) map[ID]bool {
	a.Helper()
	own := map[ID]bool{}
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		a.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			continue // the descriptor of the listing itself
		}
		for line := range strings.Lines(string(content)) {
			var id ID
			if n, _ := fmt.Sscanf(line, name+":\t%d", &id); n == 1 {
				own[id] = true
			}
		}
	}
	return own
}

func account(id ebpf.ProgramID) (string, *ebpf.ProgramStats, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", nil, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", nil, err
	}
	s, err := p.Stats()
	return info.Name, s, err
}

// costRate is how fast the writes come whose costs are measured: so slow that the ring never overflows, for a write that is not
// recorded any more costs little.
const costRate = "--rate=25m"

// costs measures the run time of the programs. They also run, shortly, for every request of other disks: on a machine that does
// something else, the sum for a write of ours is too high, and the mean of a run too low.
func (a *agentBench) costs(grades []string) string {
	a.Helper()
	var text strings.Builder
	text.WriteString("run time of the programs by the kernel's account (its own cost is some 20 ns a run), at 25 MiB/s\n")
	for _, grade := range grades {
		a.protect(grade)
		for _, job := range [][]string{
			{"4 KiB", "--rw=randwrite", "--bs=4k", "--iodepth=32"}, {"64 KiB", "--rw=randwrite", "--bs=64k", "--iodepth=8"}, {"1 MiB", "--rw=write", "--bs=1m", "--iodepth=4"},
		} {
			stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
			if err != nil {
				a.Fatal(err)
			}
			before := a.accounts()
			writes := a.fio(append(job[1:], costRate)...).Jobs[0].Write.Total
			after := a.accounts()
			if err := stats.Close(); err != nil {
				a.Error(err)
			}
			text.WriteString(costLine(grade, job[0], writes, before, after))
			if now := a.now.Observe().Grade; now != grade {
				fmt.Fprintf(&text, "NOT VALID: the agent was in grade %s in the end\n", now)
			}
		}
		a.end()
	}
	return text.String()
}

func costLine(grade, job string, writes int64, before, after map[string]spent) string {
	var total time.Duration
	var each []string
	for _, name := range slices.SortedFunc(maps.Keys(after), cmp.Compare[string]) {
		runs, t := after[name].runs-before[name].runs, after[name].time-before[name].time
		if runs*10 < uint64(writes) { // not of the way of a write
			continue
		}
		total += t
		each = append(each, fmt.Sprintf("%s %d (%.1f runs)", name, t.Nanoseconds()/int64(runs), float64(runs)/float64(max(writes, 1))))
	}
	return fmt.Sprintf("%-8s %-7s %6d ns a write; ns a run: %s\n", grade, job, total.Nanoseconds()/max(writes, 1), strings.Join(each, ", "))
}

// memory opens the trackers on a disk of 1 TiB that takes no room.
func (a *agentBench) memory(grades []string) string {
	a.Helper()
	const tib = 1<<40 - 1<<20 // of exactly 1 TiB, blocks of 8 KiB would be tracked, in half the memory
	path := filepath.Join(disktest.Dir(a), "tib.img")
	err := os.WriteFile(path, nil, 0o600)
	if err == nil {
		err = os.Truncate(path, tib)
	}
	var loop *disk.Loop
	if err == nil {
		loop, err = disk.AttachLoop(path)
	}
	if err != nil {
		return fmt.Sprintf("SKIPPED: memory of 1 TiB: %v\n", err)
	}
	defer loop.Detach()
	device, err := disk.Open(loop.Path)
	if err != nil {
		a.Fatal(err)
	}
	defer device.Close()
	before := a.mapped()
	pins := filepath.Join(filepath.Dir(a.deps.PinDir), "tib")
	bits, err := bitmap.Open(a.Context(), pins, []bitmap.Target{{ID: farshore.DiskID("tib"), Device: device}})
	if err != nil {
		a.Fatal(err)
	}
	text := fmt.Sprintf("kernel memory for 1 TiB: bitmap %.1f MiB", float64(a.mapped()-before)/(1<<20))
	if slices.Contains(grades, string(tracker.Capture)) {
		middle := a.mapped()
		c, err := capture.Open(a.Context(), capture.Config{Devices: []*disk.Device{device}, RingBytes: benchRing})
		if err != nil {
			a.Fatal(err)
		}
		text += fmt.Sprintf(", capture beside it %.1f MiB, of which the ring %d MiB", float64(a.mapped()-middle)/(1<<20), benchRing>>20)
		if err := c.Close(); err != nil {
			a.Error(err)
		}
	}
	if err := errors.Join(bits.Close(), bitmap.Forget(pins)); err != nil {
		a.Error(err)
	}
	return text + "\n"
}

// mapped is the memory of all maps that this process holds.
func (a *agentBench) mapped() (bytes uint64) {
	a.Helper()
	for id := range held[ebpf.MapID](a, "map_id") {
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			a.Fatal(err)
		}
		info, err := m.Info()
		m.Close()
		if err != nil {
			a.Fatal(err)
		}
		n, _ := info.Memlock()
		bytes += n
	}
	return bytes
}

// sustained writes faster and faster until write order is lost, and gives the rates that were held end to end: from the
// file system into the ring, the change log, over TLS and into the sink.
func (a *agentBench) sustained() string {
	a.Helper()
	var text strings.Builder
	text.WriteString("sustained capture, end to end into the sink (1 MiB sequential writes at a fixed rate)\n")
	for _, job := range [][2]string{{"1 MiB", "--bs=1m"}, {"4 KiB", "--bs=4k"}} {
		for mib := 25; mib <= 1600; mib *= 2 {
			a.protect(string(tracker.Capture))
			lost := a.now.Observe().Downgrades
			_, before, _ := a.sink.Taken()
			begun := time.Now()
			written := a.fio("--rw=write", job[1], "--iodepth=8", fmt.Sprintf("--rate=%dm", mib)).Jobs[0].Write
			took := a.drained().Sub(begun)
			_, after, _ := a.sink.Taken()
			held := a.now.Observe().Downgrades == lost
			a.end()
			fmt.Fprintf(&text, "%s, %4d MiB/s wanted: %6.0f MiB/s written, %6.0f MiB/s arrived, write order kept: %v\n", job[0], mib, written.Rate/(1<<20),
				float64(after-before)/took.Seconds()/(1<<20), held)
			if !held || written.Rate < float64(mib<<20)*0.7 {
				break
			}
		}
	}
	return text.String()
}

// drained waits until nothing more arrives, and says when the last did.
func (a *agentBench) drained() (at time.Time) {
	a.Helper()
	const quietLooks = 15
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	last, at := int64(-1), time.Now()
	for quiet := 0; quiet < quietLooks; quiet++ {
		if _, now, _ := a.sink.Taken(); now != last {
			last, at, quiet = now, time.Now(), 0
		}
		<-look.C
	}
	return at
}
