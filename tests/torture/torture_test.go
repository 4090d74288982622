package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker/trackertest"
	"farshore/tests/lab/need"
	"farshore/tests/setting"
)

func TestMain(m *testing.M) { trackertest.Main(m) }

// cell is one grade on one kind of disk.
type cell struct {
	grade  string
	kind   string // of file system, or raw
	rounds int
	points int // wanted under the load of each round
	sample int // one point in so many has its file system examined
}

func (c cell) name() string { return c.grade + "/" + c.kind }

const raw = "raw"

var (
	grades = []string{captureGrade, bitmapGrade, scanGrade}
	kinds  = []string{"ext4", "xfs", "btrfs", raw}
)

// What the long form wants of each round: two thousand points in two hundred.
const (
	longPoints = 11
	longSample = 8
)

// cells gives the short form, or as many rounds as are asked for, over all grades and kinds in turn.
func cells(t *testing.T) []cell {
	t.Helper()
	rounds := setting.Number(t, "TORTURE_ROUNDS", 0)
	if rounds == 0 {
		return []cell{
			{bitmapGrade, "ext4", 2, 5, 4},
			{bitmapGrade, "btrfs", 1, 5, 4},
			{bitmapGrade, raw, 1, 5, 4},
			{scanGrade, "ext4", 1, 2, 2},
			{captureGrade, "ext4", 2, 6, 4},
			{captureGrade, "xfs", 1, 6, 4},
			{captureGrade, raw, 1, 6, 4},
		}
	}
	var all []cell
	for rounds > 0 {
		for _, k := range kinds {
			for _, g := range grades {
				n := min(rounds, life[g])
				all = append(all, cell{g, k, n, longPoints, longSample})
				rounds -= n
			}
		}
	}
	return all
}

// life is how many rounds a cell of the long form lives, before others have their turn. Scans take long.
var life = map[string]int{captureGrade: 5, bitmapGrade: 5, scanGrade: 2}

func TestEveryPointIsSoundAndTheLastEqualsTheDisksInEveryGrade(t *testing.T) {
	disktest.NeedRoot(t)
	if err := need.Programs("this test", "fio", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "mkfs.btrfs", "btrfs"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	seed := setting.Seed(t, "TORTURE_SEED")
	only, err := regexp.Compile(os.Getenv("TORTURE_CELLS"))
	if err != nil {
		t.Fatalf("TORTURE_CELLS: %v", err)
	}
	var table []tally
	begun, most := time.Now(), time.Duration(setting.Number(t, "TORTURE_MINUTES", 0))*time.Minute
	for i, c := range cells(t) {
		if !only.MatchString(c.name()) || c.rounds == 0 {
			continue
		}
		if most > 0 && time.Since(begun) > most {
			t.Logf("TORTURE_MINUTES are over: cells from %s on were left out", c.name())
			break
		}
		t.Run(c.name(), func(t *testing.T) {
			run := newRun(t, c, rand.New(rand.NewPCG(seed, uint64(i))))
			defer func() { table = append(table, run.tally) }()
			run.all()
		})
	}
	t.Log("\n" + summary(table))
}

// tally counts what a cell has seen.
type tally struct {
	cell
	done, offered, restored, ordered, differing, examined, unsound, disordered int
	downgrades, upgrades, gaps, troubles                                       int
	lost, unseen                                                               uint64 // sectors: ended unseen, healed; and still in the table at a quiet end
	sent, written                                                              int64
}

// good reports whether nothing was wrong.
func (l *tally) good() bool {
	return l.differing+l.unsound+l.disordered == 0 && l.restored == l.offered
}

// summary is the table of all cells with their sum.
func summary(table []tally) string {
	var b strings.Builder
	b.WriteString("grade    disks  rounds  points in order restored differing examined  unsound  order    down/up  gaps troubles  lost sectors  sent MiB  loaded MiB\n" +
		"                                                    blocks              (fsck)    bad     grades                 (healed)\n")
	var sum tally
	sum.grade = "all"
	cells := map[string]*tally{}
	var names []string
	for _, l := range table {
		if cells[l.name()] == nil {
			names = append(names, l.name())
			cells[l.name()] = &tally{cell: l.cell}
		}
		cells[l.name()].add(l)
	}
	slices.Sort(names)
	line := func(l tally) {
		fmt.Fprintf(&b, "%-8s %-6s %6d %7d %8d %8d %9d %8d %8d %6d %6d/%-4d %4d %8d %13d %9d %11d\n", l.grade, l.kind, l.done, l.offered, l.ordered, l.restored,
			l.differing, l.examined, l.unsound, l.disordered, l.downgrades, l.upgrades, l.gaps, l.troubles, l.lost+l.unseen, l.sent>>20, l.written>>20)
	}
	for _, n := range names {
		line(*cells[n])
		sum.add(*cells[n])
	}
	line(sum)
	return b.String()
}

func (l *tally) add(o tally) {
	l.done += o.done
	l.offered += o.offered
	l.restored += o.restored
	l.ordered += o.ordered
	l.differing += o.differing
	l.examined += o.examined
	l.unsound += o.unsound
	l.disordered += o.disordered
	l.downgrades += o.downgrades
	l.upgrades += o.upgrades
	l.gaps += o.gaps
	l.troubles += o.troubles
	l.lost += o.lost
	l.unseen += o.unseen
	l.sent += o.sent
	l.written += o.written
}
