package agent

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/changelog"
)

// fleet is many installations, as they would be made.
func fleet() (all []*state) {
	for range 200 {
		all = append(all, &state{Instance: rand.Text()})
	}
	return all
}

// most gives how many of some moments lie within one twentieth of the time from first to last, where they are closest together.
func most(t *testing.T, moments []float64, first, last float64) int {
	t.Helper()
	var parts [20]int
	for _, m := range moments {
		if m < first || m > last {
			t.Errorf("%v is not between %v and %v", m, first, last)
			continue
		}
		parts[min(int((m-first)/(last-first)*20), 19)]++
	}
	n := 0
	for _, p := range parts {
		n = max(n, p)
	}
	return n
}

// crowd is more than a twentieth of the time can have of 200 machines by chance: ten are expected, and 35 or more come less than
// once in a hundred million runs.
const crowd = 35

func TestMachinesThatLoseTheirServerTogetherDoNotGiveUpOrderTogether(t *testing.T) {
	const budget = 1 << 30
	var full []float64
	for _, s := range fleet() {
		full = append(full, float64(leaveAt(budget, s.place("leave"))))
	}
	if n := most(t, full, budget*leastFill, budget); n >= crowd {
		t.Errorf("%d of 200 machines that write alike give up write order at one moment", n)
	}
}

func TestMachinesThatLostOrderTogetherDoNotTryForItTogether(t *testing.T) {
	const tries = 6
	begun := time.Unix(0, 0)
	now := func() time.Time { return begun }
	late := 0 // machines that are in the last quarter each time
	waits := [tries][]float64{}
	for _, state := range fleet() {
		s := &sending{protection: &protection{agent: &Agent{state: state, deps: Deps{Now: now}}}}
		always := true
		for try := range waits {
			s.postpone()
			wait := s.upgradeAt.Sub(begun)
			waits[try] = append(waits[try], wait.Seconds())
			always = always && wait > s.pause*5/4
		}
		if always {
			late++
		}
	}
	pause := firstUpgrade.Seconds()
	for try, wait := range waits {
		if n := most(t, wait, pause/2, pause*3/2); n >= crowd {
			t.Errorf("try %d: %d of 200 machines come at one moment", try, n)
		}
		pause *= 2
	}
	if late > 5 { // one in twenty runs has one
		t.Errorf("%d of 200 machines are among the last at each of %d tries", late, tries)
	}
}

// The try that a session begins with is at the machine's own moment too, but for the first session: there is no outage behind it.
func TestMachinesThatComeBackTogetherDoNotTryForOrderTogether(t *testing.T) {
	begun := time.Unix(0, 0)
	var waits []float64
	for _, state := range fleet() {
		p := &protection{agent: &Agent{state: state, deps: Deps{Now: func() time.Time { return begun }}}}
		first, second := &sending{protection: p}, &sending{protection: p}
		if first.goOn(); first.upgradeAt.After(begun) {
			t.Fatalf("the first session waits %v for nobody", first.upgradeAt.Sub(begun))
		}
		second.goOn()
		waits = append(waits, second.upgradeAt.Sub(begun).Seconds())
	}
	pause := firstUpgrade.Seconds()
	if n := most(t, waits, pause/2, pause*3/2); n >= crowd {
		t.Errorf("%d of 200 machines come at one moment", n)
	}
}

// Order is given up at the machine's own place, and not only where the log takes no more.
func TestOrderIsGivenUpBeforeTheChangeLogIsFull(t *testing.T) {
	log, err := changelog.Open(changelog.Config{MemoryBytes: 64 << 20, Disks: []farshore.DiskID{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	u := log.Usage()
	r := &recorder{log: log, most: leaveAt(u.MemoryBudget+u.FileBudget, 0.5)}
	data := make([]byte, 4096)
	for held := 0; ; held++ {
		err := log.Append(changelog.Entry{Extent: block.Extent{Start: block.Sector(8 * held), Count: 8}, Kind: block.Data, Pieces: [][]byte{data}})
		if errors.Is(err, changelog.ErrFull) {
			t.Fatalf("the log is full with %d blocks, and order would be kept until then", held)
		}
		if err != nil {
			t.Fatal(err)
		}
		if why := r.broken(nil, 0); why != "" {
			if used := float64(r.held()) / float64(u.MemoryBudget); used < leastFill {
				t.Errorf("order is given up (%s) when %.3f of the log is used", why, used)
			}
			return
		}
	}
}
