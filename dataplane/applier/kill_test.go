package applier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
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
	key, err := vault.ReadKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca"))
	if err != nil {
		return err
	}
	roots, err := credential.RootsFromPEM(pem)
	if err != nil {
		return err
	}
	s, r, err := file.Open(filepath.Join(dir, "vault"))
	if err != nil {
		return err
	}
	p, err := farshore.ParsePosition(point)
	if err != nil {
		return err
	}
	d := Deps{
		Journal: journal.Reader{Store: s, Vault: key.Vault, Roots: roots, Keys: vault.KeyRing{key}}, Store: s, Replicas: r,
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
	if err := file.Create(filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	s, r, err := file.Open(filepath.Join(dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, seed, s, r)
	err = errors.Join(w.key.WriteFile(filepath.Join(dir, "key")), os.WriteFile(filepath.Join(dir, "ca"), w.ca.Roots(t).PEM(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for range kills {
		w.story(3)
		child := exec.CommandContext(t.Context(), program)
		child.Env = append(os.Environ(), childDir+"="+dir, childPoint+"="+w.order[rand.IntN(len(w.order))].String())
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if err := wait(t.Context(), time.Duration(rand.Int64N(int64(120*time.Millisecond)))); err != nil {
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
	a := w.applier(s, r, eager)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	n := w.judge("at the end")
	o, err := w.materialiseOnce(t.Context(), a, job("t1", w.last()))
	if err != nil {
		t.Fatal(err)
	}
	w.judgeRun("at the end", "t1", w.last(), o.Disks)
	t.Logf("%d kills, %d segments' points, %d checkpoints", kills, len(w.order), n)
}
