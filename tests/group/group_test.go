package group

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"farshore/dataplane/journal"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/capture"
)

// counter writes a number to the files, one after the other, each durable before the next begins: whoever shows a number has seen
// it in front of him.
func counter(t *testing.T, paths ...string) (stop func() int) {
	t.Helper()
	done, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { ended <- n }()
		for {
			for _, path := range paths {
				select {
				case <-done:
					return
				default:
				}
				if err := put(path, n+1); err != nil {
					t.Error(err)
					return
				}
			}
			n++
		}
	}()
	return func() int {
		close(done)
		return <-ended
	}
}

func put(path string, n int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%012d", n), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

func get(t *testing.T, path string) (n int) {
	t.Helper()
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(body) == 0 {
		return 0 // before the first
	}
	if err == nil {
		_, err = fmt.Sscanf(string(body), "%d", &n)
	}
	if err != nil {
		t.Errorf("the restored file says %q: %v", body, err)
	}
	return n
}

// chains starts a counter that goes through the machines forth and one that goes back.
func (w *world) chains() (stop func()) {
	var forth, back []string
	for _, m := range w.machines {
		forth, back = append(forth, filepath.Join(m.mnt, "forth")), append(back, filepath.Join(m.mnt, "back"))
	}
	slices.Reverse(back)
	one, other := counter(w.t, forth...), counter(w.t, back...)
	return func() { w.t.Logf("%d transactions forth, %d back", one(), other()) }
}

// consistent restores every member of every point and looks at the counters.
func (w *world) consistent(points []journal.OfferedGroupPoint) {
	w.t.Helper()
	type shown struct{ forth, back []int } // by machine; -1: it is not in the point
	all := make([]shown, len(points))
	for i := range all {
		all[i] = shown{slices.Repeat([]int{-1}, len(w.machines)), slices.Repeat([]int{-1}, len(w.machines))}
	}
	for i, m := range w.machines {
		w.contents(m, points, func(point int, mnt string) {
			all[point].forth[i], all[point].back[len(w.machines)-1-i] = get(w.t, filepath.Join(mnt, "forth")), get(w.t, filepath.Join(mnt, "back"))
		})
	}
	for i, s := range all {
		for _, chain := range [][]int{s.forth, s.back} {
			chain = slices.DeleteFunc(chain, func(n int) bool { return n < 0 })
			if !slices.IsSortedFunc(chain, func(a, b int) int { return b - a }) || chain[0]-chain[len(chain)-1] > 1 {
				w.t.Errorf("round %d shows %v, which never was", points[i].Round, chain)
			}
		}
	}
	w.t.Logf("the points show %v", all)
}

// TestMachinesShareRecoveryPointsUnderLoad is the point of all this.
func TestMachinesShareRecoveryPointsUnderLoad(t *testing.T) {
	for _, grade := range []tracker.Grade{tracker.Bitmap, tracker.Capture} {
		t.Run(string(grade), func(t *testing.T) {
			if grade == tracker.Capture {
				if err := capture.Probe(t.Context()); err != nil {
					t.Skipf("SKIPPED: %v", err)
				}
			}
			w := newWorld(t, grade, "app-01", "db-01", "web-01")
			stop := w.chains()
			whole := func() (n int) {
				for _, g := range w.stored() {
					if len(g.Missing) == 0 {
						n++
					}
				}
				return n
			}
			w.await("points of all", func() bool { return whole() >= 3 })
			stop()
			for _, m := range w.machines {
				m.stop()
			}
			points := w.points()
			w.consistent(points)
			var held []time.Duration
			for _, g := range points {
				if g.Lost != "" || g.By.Name != "app-01" {
					t.Errorf("round %d, led by %s: %s", g.Round, g.By.Name, g.Lost)
				}
				for _, p := range g.Parts {
					held = append(held, time.Duration(p.HeldNanos).Round(time.Millisecond))
				}
			}
			slices.Sort(held)
			t.Logf("%d points; machines were held %v", len(points), held)
		})
	}
}

// TestAMachineThatIsGoneIsToldToBeMissing: the others go on, whoever of them leads; when it is back it is in the points again.
func TestAMachineThatIsGoneIsToldToBeMissing(t *testing.T) {
	w := newWorld(t, tracker.Bitmap, "app-01", "db-01", "web-01")
	stop := w.chains()
	w.await("a point of all", func() bool {
		p := w.stored()
		return len(p) > 0 && len(p[len(p)-1].Missing) == 0
	})
	w.machines[2].still()
	w.await("points without it", func() bool {
		p := w.stored()
		last := p[len(p)-1]
		return len(last.Missing) == 1 && last.Missing[0].Machine == "web-01" && len(last.Parts) == 2
	})
	w.await("the leader to say so", func() bool {
		f := w.machines[0].agent.Observe().Faults
		return len(f) > 0 && f[0].Code == "FS-1031"
	})
	w.speak(w.machines[2])
	w.machines[2].peers.Desire(w.group())
	w.await("points of all again", func() bool {
		p := w.stored()
		return len(p[len(p)-1].Missing) == 0
	})
	w.await("the leader to be content", func() bool { return len(w.machines[0].agent.Observe().Faults) == 0 })
	stop()
	for _, m := range w.machines {
		m.stop()
	}
	w.consistent(w.points())
}
