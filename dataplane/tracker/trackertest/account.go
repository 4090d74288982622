//go:build linux

package trackertest

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Account is the kernel's own account of the run time of programs, which a busy machine disturbs little.
type Account struct{ programs []*ebpf.Program }

// NewAccount accounts for the programs behind links until the benchmark ends.
func NewAccount(b *testing.B, links ...link.Link) *Account {
	b.Helper()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stats.Close() })
	a := &Account{}
	for _, l := range links {
		info, err := l.Info()
		if err != nil {
			b.Fatal(err)
		}
		program, err := ebpf.NewProgramFromID(info.Program)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := program.Close(); err != nil {
				b.Error(err)
			}
		})
		a.programs = append(a.programs, program)
	}
	return a
}

// Spent gives how long each of the programs has run.
func (a *Account) Spent(b *testing.B) (spent []time.Duration) {
	b.Helper()
	for _, p := range a.programs {
		s, err := p.Stats()
		if err != nil {
			b.Fatal(err)
		}
		spent = append(spent, s.Runtime)
	}
	return spent
}
