package footprint

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

func TestBudgetsFollowFromWhatTheMachineAndItsGroupsAllow(t *testing.T) {
	for _, tt := range []struct {
		name              string
		limits            Limits
		ring, log, window int64
		allowed           int64
		short             bool
	}{
		{"nothing is known", Limits{}, 8 * mib, 16 * mib, 32 * mib, 96 * mib, false},
		{"a small machine", Limits{MachineBytes: 512 * mib, ProtectedBytes: tib / 32}, 4 * mib, 19 * mib, 32 * mib, 96 * mib, false},
		{"2 GiB", Limits{MachineBytes: 2 * gib}, 16 * mib, 40 * mib, 32 * mib, 128 * mib, false},
		{"8 GiB and 1 TiB of disks", Limits{MachineBytes: 8 * gib, ProtectedBytes: tib}, 64 * mib, 266 * mib, 110 * mib, 512 * mib, false},
		{"32 GiB", Limits{MachineBytes: 32 * gib}, 256 * mib, 1024 * mib, 256 * mib, 2 * gib, false},
		{"a giant", Limits{MachineBytes: 1024 * gib}, 256 * mib, 1024 * mib, 256 * mib, 2 * gib, false},
		{"a small group on a large machine", Limits{MachineBytes: 64 * gib, GroupBytes: 256 * mib}, 32 * mib, 130 * mib, 54 * mib, 256 * mib, false},
		{"a group as large as the machine", Limits{MachineBytes: 2 * gib, GroupBytes: 2 * gib}, 16 * mib, 40 * mib, 32 * mib, 128 * mib, false},
		{"a group, the machine is not known", Limits{GroupBytes: 256 * mib}, 32 * mib, 130 * mib, 54 * mib, 256 * mib, false},
		{"a group too small for the disks", Limits{MachineBytes: 64 * gib, GroupBytes: 128 * mib, ProtectedBytes: 8 * tib}, 4 * mib, 8 * mib, 32 * mib, 128 * mib, true},
	} {
		b := Budget(tt.limits)
		if b.RingBytes != tt.ring || b.LogBytes != tt.log || b.WindowBytes != tt.window || b.AllowedBytes != tt.allowed {
			t.Errorf("%s: ring %d, log %d, window %d of %d MiB; want %d, %d, %d of %d", tt.name,
				b.RingBytes/mib, b.LogBytes/mib, b.WindowBytes/mib, b.AllowedBytes/mib, tt.ring/mib, tt.log/mib, tt.window/mib, tt.allowed/mib)
		}
		if f := b.Fault(); (f != nil) != tt.short || f != nil && (f.Code != "FS-1020" || f.Remedy == "") {
			t.Errorf("%s: %d MiB in all of %d allowed: fault %v, want one: %v", tt.name, b.Total()/mib, b.AllowedBytes/mib, f, tt.short)
		}
	}
}

func TestBudgetsNeverExceedWhatIsAllowedUnlessItIsTooLittleForAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{
			MachineBytes: rapid.Int64Range(0, 1<<42).Draw(t, "machine"), GroupBytes: rapid.Int64Range(0, 1<<34).Draw(t, "group"),
			ProtectedBytes: rapid.Int64Range(0, 1<<44).Draw(t, "protected"),
		}
		b := Budget(l)
		smallest := b.RingBytes == ringLeast && b.LogBytes == logLeast && b.WindowBytes == windowLeast
		if b.Total() > b.AllowedBytes && !smallest || b.RingBytes&(b.RingBytes-1) != 0 {
			t.Fatalf("%+v for %+v", b, l)
		}
		w := Wish{RingBytes: 1 << 23, WindowBytes: 5 * mib}
		if c := b.With(w); c.RingBytes != w.RingBytes || c.WindowBytes != w.WindowBytes || c.LogBytes != b.LogBytes {
			t.Fatalf("wished %+v, got %+v", w, c)
		}
	})
}

func TestCopyingMakesWayWhenOthersWait(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stall Stall
		want  float64
	}{
		{"nobody waits", Stall{}, 0},
		{"a little of everything", Stall{CPU: 0.5, Memory: 0.05, Disk: 0.4}, 0},
		{"a database waits for its disks", Stall{Disk: 0.65}, 0.375},
		{"everybody waits for the disks", Stall{Disk: 1}, 0.75},
		{"everybody waits for processors", Stall{CPU: 1}, 0.75},
		{"memory is short", Stall{Memory: 0.4}, 1},
		{"the worst counts", Stall{CPU: 0.6, Memory: 0.225, Disk: 0.5}, 0.5},
	} {
		if got := Pressure(tt.stall); got < tt.want-1e-9 || got > tt.want+1e-9 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// kernel is what the kernel shows: the agent in a service, beside a database, a user and a container.
func kernel() fstest.MapFS {
	files := fstest.MapFS{}
	put := func(name, text string) { files[name] = &fstest.MapFile{Data: []byte(text)} }
	psi := func(group string, cpu, memory, disk float64) {
		for name, share := range map[string]float64{"cpu": cpu, "memory": memory, "io": disk} {
			put("sys/fs/cgroup/"+group+"/"+name+".pressure",
				fmt.Sprintf("some avg10=%.2f avg60=1.00 avg300=1.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1\n", share))
		}
	}
	put("proc/self/cgroup", "9:memory:/elsewhere\n0::/system.slice/farshore-agent.service\n")
	put("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:         1 kB\n")
	put("proc/pressure/cpu", "some avg10=33.00 avg60=0.00 avg300=0.00 total=0\n")
	put("proc/pressure/memory", "some avg10=22.00 avg60=0.00 avg300=0.00 total=0\n")
	put("proc/pressure/io", "some avg10=99.00 avg60=0.00 avg300=0.00 total=0\n")
	put("sys/fs/cgroup/cgroup.controllers", "cpu io memory\n")
	put("sys/fs/cgroup/system.slice/memory.max", "max\n")
	put("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n")
	put("sys/fs/cgroup/system.slice/farshore-agent.service/memory.max", "536870912\n")
	put("sys/fs/cgroup/system.slice/farshore-agent.service/memory.high", "402653184\n")
	put("sys/fs/cgroup/system.slice/farshore-agent.service/cpu.max", "50000 100000\n")
	psi("system.slice", 99, 99, 99)
	psi("system.slice/farshore-agent.service", 98, 98, 98)
	psi("system.slice/postgresql.service", 10, 0, 61.5)
	psi("user.slice", 42, 7.25, 0)
	return files
}

func TestTheKernelIsAskedForLimitsAndForTheStallsOfOthersOnly(t *testing.T) {
	root := kernel()
	want := Limits{MachineBytes: 8 * gib, GroupBytes: 384 * mib, CPUs: 0.5}
	if d := cmp.Diff(want, Read(root)); d != "" {
		t.Errorf("limits (-want +got):\n%s", d)
	}
	if d := cmp.Diff(Stall{CPU: 0.42, Memory: 0.0725, Disk: 0.615}, Stalls(root)); d != "" {
		t.Errorf("stalls (-want +got):\n%s", d)
	}
	root["proc/self/cgroup"].Data = []byte("0::/\n") // run by hand
	if d := cmp.Diff(Stall{CPU: 0.33, Memory: 0.22}, Stalls(root)); d != "" {
		t.Errorf("stalls in the root group (-want +got):\n%s", d)
	}
	if got := Read(root); got.GroupBytes != 0 {
		t.Errorf("limit in the root group: %d", got.GroupBytes)
	}
}

func TestAKernelThatTellsNothingLimitsNothing(t *testing.T) {
	for name, root := range map[string]fs.FS{
		"empty": fstest.MapFS{},
		"nonsense": fstest.MapFS{
			"proc/self/cgroup": {Data: []byte("0::/a/../../b\n")}, "proc/meminfo": {Data: []byte("MemTotal: many kB\nMemTotal:\n")},
			"proc/pressure/cpu": {Data: []byte("some\nsome avg10=x\nsome avg10=-4\n")}, "sys/fs/cgroup/cgroup.controllers": {},
			"sys/fs/cgroup/b/memory.max": {Data: []byte("-7")}, "sys/fs/cgroup/b/cpu.max": {Data: []byte("1 0")},
		},
	} {
		if d := cmp.Diff(Limits{CPUs: float64(runtime.NumCPU())}, Read(root)); d != "" {
			t.Errorf("%s: limits (-want +got):\n%s", name, d)
		}
		if got := Stalls(root); got != (Stall{}) {
			t.Errorf("%s: stalls %+v", name, got)
		}
	}
}

func TestThisMachineTellsItsMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: no /proc here")
	}
	root := os.DirFS("/")
	l := Read(root)
	if l.MachineBytes < 64*mib || l.CPUs <= 0 {
		t.Errorf("limits %+v", l)
	}
	t.Logf("limits %+v, budgets %+v, stalls %+v", l, Budget(l), Stalls(root))
}

func TestAWatchLooksAgainOnlyAfterAWhile(t *testing.T) {
	root, now := kernel(), time.Unix(1000, 0)
	w := NewWatch(root, func() time.Time { return now })
	first := w.Pressure()
	root["sys/fs/cgroup/user.slice/memory.pressure"].Data = []byte("some avg10=90.00\n")
	if again := w.Pressure(); again != first {
		t.Errorf("looked again at once: %v, then %v", first, again)
	}
	now = now.Add(lookEvery)
	if later := w.Pressure(); later != 1 {
		t.Errorf("after a while: %v, want 1", later)
	}
	root["sys/fs/cgroup/user.slice/memory.pressure"].Data = nil
	now = now.Add(-time.Hour) // a clock that was set back
	if later := w.Pressure(); later == 1 {
		t.Error("a clock that was set back makes the watch blind")
	}
}

func FuzzWhatTheKernelSays(f *testing.F) {
	f.Add("MemTotal: 1 kB", "0::/a", "some avg10=1.00", "1 2")
	f.Fuzz(func(t *testing.T, meminfo, group, psi, cpu string) {
		root := fstest.MapFS{
			"proc/meminfo": {Data: []byte(meminfo)}, "proc/self/cgroup": {Data: []byte(group)}, "proc/pressure/cpu": {Data: []byte(psi)},
			"sys/fs/cgroup/cgroup.controllers": {}, "sys/fs/cgroup/a/cpu.max": {Data: []byte(cpu)}, "sys/fs/cgroup/b/io.pressure": {Data: []byte(psi)},
		}
		l, s := Read(root), Stalls(root)
		if l.MachineBytes < 0 || l.GroupBytes < 0 || Budget(l).RingBytes < ringLeast {
			t.Fatalf("limits %+v", l)
		}
		if p := Pressure(s); !(p >= 0 && p <= 1) {
			t.Fatalf("pressure %v of %+v", p, s)
		}
	})
}
