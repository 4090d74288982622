package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore/dataplane/disk/disktest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
	"farshore/tests/lab/stack"
	"farshore/tests/setting"
)

const (
	// shortCells is how many cells of the table the short form takes, by chance.
	shortCells = 8
	// mostPatience bounds how long a program is given to come to its n-th call. Some never make so many.
	mostPatience = 3 * time.Second
)

// calls are the system calls by which each program changes what outlives it, or hears and tells others of it.
var calls = map[string][]string{
	stack.ProcessServer: {"openat", "write", "fsync", "renameat", "linkat", "unlinkat", "mkdirat", "flock"},
	stack.Applier:       {"openat", "write", "pwrite64", "fsync", "renameat", "linkat", "unlinkat", "fallocate", "flock", "ftruncate"},
	stack.Agent:         {"openat", "write", "pread64", "fsync", "renameat", "ftruncate", "mmap", "bpf"},
	restore:             {"openat", "write", "pwrite64", "fsync", "renameat", "ftruncate"},
}

// nths are the calls of a thread at which it is killed, before the call does anything.
var nths = []int{1, 2, 3, 4, 6, 9, 14}

// cell is one place of the table.
type crashCell struct {
	program, call string
	nth           int
}

// A kill in front of the n-th system call of a kind loses nothing either.
func TestNothingAcknowledgedIsLostWhereverASystemCallIsTheLastOne(t *testing.T) {
	disktest.NeedRoot(t)
	if err := need.Programs("this test", "strace"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	rng := rand.New(rand.NewPCG(setting.Seed(t, "CRASH_SEED"), 1<<40))
	var cells []crashCell
	for _, program := range []string{stack.ProcessServer, stack.Applier, stack.Agent, restore} {
		for _, call := range calls[program] {
			for _, n := range nths {
				cells = append(cells, crashCell{program, call, n})
			}
		}
	}
	rng.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
	cells = cells[:min(len(cells), setting.Number(t, "CRASH_CELLS", shortCells))]
	died := map[crashCell]bool{}
	for begin := 0; begin < len(cells) && !t.Failed(); begin += killsEach {
		t.Run(fmt.Sprintf("line %d", begin/killsEach), func(t *testing.T) {
			l := newLine(t, rng)
			for i, c := range cells[begin:min(len(cells), begin+killsEach)] {
				died[c] = l.dieAt(c)
				if l.forward(); t.Failed() {
					t.Fatalf("after a kill at %+v", c)
				}
				if i%pointEvery == 0 {
					l.awaitPoint("a new point after the kills")
				}
			}
			l.conclude()
		})
	}
	t.Log("\n" + cellTable(died))
}

// dieAt runs a program until its n-th call kills it, and then without that. It reports whether it came to die.
func (l *line) dieAt(c crashCell) bool {
	l.t.Helper()
	traced := []string{
		"strace", "--follow-forks", "-qq", "--output=/dev/null",
		"--inject=" + c.call + fmt.Sprintf(":signal=SIGKILL:when=%d", c.nth), "--trace=" + c.call,
	}
	if c.program == restore {
		return l.restoreUnder(traced)
	}
	l.running[c.program].Kill()
	spec := l.specs[c.program]
	spec.Command, spec.Ready = append(traced, spec.Command...), nil
	p, err := process.Start(l.t.Context(), spec)
	if err != nil {
		l.t.Fatal(err)
	}
	died := l.awaitEnd(p)
	p.Kill()
	l.start(c.program)
	return died
}

// awaitEnd waits some time for the end of a program.
func (l *line) awaitEnd(p *process.Process) bool {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for begun := time.Now(); time.Since(begun) < mostPatience; <-look.C {
		if !p.Running() {
			return true
		}
	}
	return false
}

// restoreUnder restores the newest point twice: the first time to its death.
func (l *line) restoreUnder(traced []string) bool {
	l.t.Helper()
	point, out := l.newest.String(), filepath.Join(l.dir, "restored.img")
	spec := l.restoring(point, out)
	plain := spec.Command
	spec.Command = append(traced, plain...)
	p, err := process.Start(l.t.Context(), spec)
	if err != nil {
		l.t.Fatal(err)
	}
	l.await("the end of farshore-restore", func() bool { return !p.Running() })
	_, err = os.Stat(out)
	died := err != nil
	spec.Command = plain
	l.restoreAgain(spec, point, out)
	return died
}

// cellTable shows at which calls the programs died; a dash is a call that was not made so often in time.
func cellTable(died map[crashCell]bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-16s %-10s", "program", "call \\ nth")
	for _, n := range nths {
		fmt.Fprintf(&b, "%6d", n)
	}
	deaths := 0
	for _, program := range []string{stack.ProcessServer, stack.Applier, stack.Agent, restore} {
		for _, call := range calls[program] {
			fmt.Fprintf(&b, "\n%-16s %-10s", program, call)
			for _, n := range nths {
				word, tried := "", false
				switch dead, ok := died[crashCell{program, call, n}]; {
				case ok && dead:
					word, tried = "died", true
					deaths++
				case ok:
					word, tried = "-", true
				}
				if !tried {
					word = "."
				}
				fmt.Fprintf(&b, "%6s", word)
			}
		}
	}
	fmt.Fprintf(&b, "\n%d deaths in %d cells", deaths, len(died))
	return b.String()
}
