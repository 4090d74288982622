package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore/dataplane/disk/disktest"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/process"
	"farshore/tests/lab/stack"
	"farshore/tests/setting"
)

const (
	// shortKills is how often something is killed in the short form, killsEach in each line of the long form.
	shortKills = 56
	killsEach  = 100
	// longestLife bounds how long everything runs between two kills, longestAway how long a killed program stays away.
	longestLife = 700 * time.Millisecond
	longestAway = 200 * time.Millisecond
	// pointEvery is after how many kills a new point is waited for.
	pointEvery = 5
	// copied is what the agent logs when it begins a full copy of a disk, and again when it does not trust its tracking.
	copied, copiedAgain = "the whole disk is owed", "a disk is copied again"
)

// restore is killed too, but is not one of the programs that run all the time.
const restore = "restore"

// victims are killed by turns of chance: the agent and the process server hold what must not be lost, so they come more often.
var victims = []string{
	stack.Agent, stack.Agent, stack.Agent, stack.ProcessServer, stack.ProcessServer, stack.ProcessServer, stack.Applier, stack.Applier, restore,
}

// toll counts kills by program.
type toll map[string]int

func (k toll) sum() (n int) {
	for _, of := range k {
		n += of
	}
	return n
}

// A kill at a random moment of any program loses nothing: what was acknowledged is in the stream, each point is an exact prefix,
// points go on without anybody's help, and nothing is copied again.
func TestNothingAcknowledgedIsLostWhicheverProgramOfTheDataplaneIsKilled(t *testing.T) {
	disktest.NeedRoot(t)
	kills := setting.Number(t, "CRASH_KILLS", shortKills)
	seed := setting.Seed(t, "CRASH_SEED")
	all := toll{}
	points := 0
	for n := 0; all.sum() < kills && !t.Failed(); n++ {
		t.Run(fmt.Sprintf("line %d", n), func(t *testing.T) {
			l := newLine(t, rand.New(rand.NewPCG(seed, uint64(n))))
			for until := min(kills, all.sum()+killsEach); all.sum() < until && !t.Failed(); {
				l.strike(all)
			}
			l.conclude()
			points += l.points
			t.Logf("capture %v: %d kills so far %v; %d points in %d segments; everything equal at write %d",
				l.capture, all.sum(), all, l.points, len(l.segments), l.last)
		})
	}
	t.Logf("%d kills %v; %d points, each an exact prefix", all.sum(), all, points)
}

// strike lets everything run for some time, kills one program, or two at once, and starts them again.
func (l *line) strike(all toll) {
	l.t.Helper()
	l.pass(longestLife)
	dead := []string{victims[l.rng.IntN(len(victims))]}
	if other := victims[l.rng.IntN(len(victims))]; l.rng.IntN(4) == 0 && other != dead[0] {
		dead = append(dead, other)
	}
	for _, name := range dead {
		all[name]++
		if name == restore {
			l.killRestore()
			continue
		}
		l.running[name].Kill()
	}
	l.forward()
	l.pass(longestAway)
	for _, name := range dead {
		if name != restore {
			l.start(name)
		}
	}
	if all.sum()%pointEvery == 0 {
		l.awaitPoint("a new point after the kills")
	}
}

// restoring is farshore-restore restoring a point.
func (l *line) restoring(point, out string) process.Spec {
	return process.Spec{
		Name: restore, LogPath: filepath.Join(l.dir, "restore.log"), Command: []string{
			l.tool, "write", string(lineMachine), "--at", point, "--to", "raw", "--out", out, "--yes",
			"--vault-path", l.site.Vault, "--key", l.site.KeyFile,
		},
	}
}

// killRestore kills farshore-restore in the middle of restoring the newest point.
func (l *line) killRestore() {
	l.t.Helper()
	point, out := l.newest.String(), filepath.Join(l.dir, "restored.img")
	spec := l.restoring(point, out)
	p, err := process.Start(l.t.Context(), spec)
	if err != nil {
		l.t.Fatal(err)
	}
	l.pass(longestAway)
	p.Kill()
	l.restoreAgain(spec, point, out)
}

// restoreAgain sees that a restore that was broken off left nothing that looks like a disk, or a whole one, and that started
// again it restores the exact state.
func (l *line) restoreAgain(spec process.Spec, point, out string) {
	l.t.Helper()
	if _, err := os.Stat(out); err == nil {
		l.checkRestored(point, out) // it had ended
	} else if !errors.Is(err, fs.ErrNotExist) {
		l.t.Fatal(err)
	}
	p, err := process.Start(l.t.Context(), spec)
	if err != nil {
		l.t.Fatal(err)
	}
	l.await("the restored disk", func() bool { return !p.Running() })
	l.checkRestored(point, out)
	if err := os.Remove(out); err != nil {
		l.t.Fatal(err)
	}
}

// checkRestored compares a restored disk, byte for byte, with what the writer's log says.
func (l *line) checkRestored(point, path string) {
	l.t.Helper()
	report, err := blockwriter.VerifyDevicePaths([]string{path}, blockwriter.Question{})
	if err != nil || !report.OK || report.Torn && !l.capture {
		l.t.Errorf("point %s was restored to no state of the disk: %+v, %v", point, report, err)
		return
	}
	if report.Torn { // a write larger than a bio is there in part: there is no such state in the log
		return
	}
	expected := filepath.Join(l.dir, "expected.img")
	if err := blockwriter.Replay(l.acknowledged(), report.LastSeq, lineBytes, []string{expected}); err != nil {
		l.t.Errorf("point %s: %v", point, err)
		return
	}
	n, first, err := disktest.Differences(disktest.Open(l.t, path), disktest.Open(l.t, expected), lineBytes)
	if err != nil || n > 0 {
		l.t.Errorf("point %s differs from the log in %d blocks, first at %v: %v", point, n, first, err)
	}
}

// conclude holds the writer and waits until everything is equal to its disk: the newest point, and the applier's replica.
func (l *line) conclude() {
	l.t.Helper()
	last := l.hold()
	l.await("a point with the last write", func() bool {
		l.forward()
		return l.last == last
	})
	if n, first := l.equal(l.loop.Path); n > 0 {
		l.t.Errorf("the newest point %v differs from the disk in %d blocks, first at %v", l.newest, n, first)
	}
	l.awaitReplica()
	log, err := os.ReadFile(l.specs[stack.Agent].LogPath)
	if err != nil {
		l.t.Fatal(err)
	}
	if full, again := strings.Count(string(log), copied), strings.Count(string(log), copiedAgain); full != 1 || again > 0 {
		l.t.Errorf("the disk was copied %d times in full and %d times again, want once", full, again)
	}
}

// awaitReplica waits until the applier's replica holds all of the stream.
func (l *line) awaitReplica() {
	l.t.Helper()
	replica := filepath.Join(l.site.Vault, "replica", "v1", "m", string(lineMachine), "g00000001", string(l.diskID)+".vhd")
	l.await("the replica to be equal", func() bool {
		if _, err := os.Stat(replica); err != nil {
			return false
		}
		l.forward()
		n, _ := l.equal(replica)
		return n == 0
	})
}
