package applier

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/host"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/vault"
)

// The environment of a process that is an applier and will be killed.
const (
	childDir   = "FARSHORE_TEST_APPLIER"       // folder of vault, key and CA
	childPoint = "FARSHORE_TEST_APPLIER_POINT" // what it shall make besides
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := beApplier(context.Background(), dir, os.Getenv(childPoint)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beApplier is an applier of its own process: it keeps the replica and makes the disks of a point, until it is killed.
func beApplier(ctx context.Context, dir, point string) error {
	reader, replicas, err := journaltest.Open(dir)
	if err != nil {
		return err
	}
	p, err := farshore.ParsePosition(point)
	if err != nil {
		return err
	}
	d := Deps{
		Journal: reader, Store: reader.Store, Replicas: replicas,
		Settings: Settings{FillBytes: 8 << 10, Checkpoints: 5}.WithDefaults(vault.KindFile), Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
	eager(&d)
	desired := make(chan Desired, 1)
	desired <- Desired{Machines: []farshore.MachineID{web}, Jobs: []Job{job("t1", p)}}
	return New(d).Run(ctx, desired)
}

func TestReplicaAndJobSurviveKilledProcesses(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const seed, kills = 30, 15
	dir := disktest.Dir(t)
	v := journaltest.NewVault(t, dir)
	w := newWorldIn(t, seed, v)
	for range kills {
		w.story(3)
		child := exec.CommandContext(t.Context(), program)
		child.Env = append(os.Environ(), childDir+"="+dir, childPoint+"="+w.Order[rand.IntN(len(w.Order))].String())
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if err := host.Pause(t.Context(), time.Duration(rand.Int64N(int64(120*time.Millisecond)))); err != nil {
			t.Fatal(err)
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Fatalf("the applier ended before it was killed: %v", err)
		}
		if _, wrong := w.judgeCheckpoints(1); len(wrong) > 0 {
			t.Fatalf("after a kill: %v", wrong)
		}
	}
	a := w.applier(v.Store, v.Replicas, eager)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	n := w.judge("at the end")
	o, err := w.materialiseOnce(t.Context(), a, job("t1", w.Last()))
	if err != nil {
		t.Fatal(err)
	}
	w.judgeRun("at the end", "t1", w.Last(), o.Disks)
	t.Logf("%d kills, %d segments' points, %d checkpoints", kills, len(w.Order), n)
}
