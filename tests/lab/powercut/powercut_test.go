package powercut

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
)

// What was synced is there behind every later cut; what was not may be gone.
func TestWhatWasSyncedSurvivesEveryLaterCut(t *testing.T) {
	if err := Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	disktest.NeedRoot(t)
	d := New(t, 24<<20)
	loop := disktest.Attach(t, d.Path)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	content := bytes.Repeat([]byte("synced"), 1000)
	f, err := os.Create(filepath.Join(mnt, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	synced := d.Moment()
	if _, err := f.WriteAt(bytes.Repeat([]byte("later!"), 1000), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	unmount()
	seed := rand.Uint64()
	t.Logf("seed %d; %d operations, %d of them flushes; synced at %d", seed, d.Moment(), d.Flushes(), synced)
	if d.Flushes() == 0 {
		t.Fatal("no flush ever came to the disk")
	}
	rng, cuts := rand.New(rand.NewPCG(seed, 0)), d.Cuts()
	for moment := synced; moment <= d.Moment(); moment += 1 + (d.Moment()-synced)/6 {
		image := filepath.Join(disktest.Dir(t), "cut.img")
		if _, _, err := cuts.Cut(moment, rng, image); err != nil {
			t.Fatal(err)
		}
		again, err := disk.AttachLoop(image)
		if err != nil {
			t.Fatal(err)
		}
		where, gone := disktest.MountMade(t, again.Path, "ext4")
		got, err := os.ReadFile(filepath.Join(where, "a"))
		if err != nil || !bytes.HasPrefix(got, content) {
			t.Errorf("cut at %d: %d bytes, %v", moment, len(got), err)
		}
		gone()
		if err := again.Detach(); err != nil {
			t.Error(err)
		}
	}
}
