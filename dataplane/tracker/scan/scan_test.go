package scan

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/trackertest"
)

func TestMain(m *testing.M) { trackertest.Main(m) }

func openScan(t testing.TB, dir string, id farshore.DiskID, device *disk.Device) *Disk {
	t.Helper()
	d, err := Open(dir, id, device, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.table.mapped == nil {
			return
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestAReplicaKeptByScanningEqualsTheDisk(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			opener := func(t testing.TB, id farshore.DiskID, device *disk.Device) tracker.Disk {
				return openScan(t, disktest.Dir(t), id, device)
			}
			got := trackertest.Run(t, opener, trackertest.Options{FileSystem: kind, Rounds: trackertest.Rounds(t, 2), Copies: 2})
			if got.Mismatches > 0 || got.Gaps > 0 {
				t.Errorf("%d of %d rounds ended with a wrong replica, %d with a gap", got.Mismatches, got.Rounds, got.Gaps)
			}
		})
	}
}

func image(t *testing.T, size int) (path string, device *disk.Device) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, disktest.Open(t, path)
}

func changed(t *testing.T, d *Disk) *block.Set {
	t.Helper()
	var m tracker.Marks
	if err := d.Exchange(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	return &m.Set
}

// send plays the copier: it reads what is marked and says so.
func send(t *testing.T, d *Disk, set *block.Set) {
	t.Helper()
	for e := range set.All() {
		b := make([]byte, e.Count.Bytes())
		if n, err := d.device.ReadAt(b, e.Start.Offset()); n < len(b) {
			t.Fatal(err)
		}
		d.Sent(e, b)
	}
}

// An allocation map changes when a block is taken and changes back when it is freed.
func TestAChunkThatChangesAndChangesBackIsFound(t *testing.T) {
	path, device := image(t, 1<<20)
	d := openScan(t, t.TempDir(), "a", device)
	send(t, d, changed(t, d))
	put := func(b byte) {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = file.WriteAt([]byte{b}, 300000)
		}
		if err == nil {
			err = file.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	found := changed(t, d)
	put(2) // between the scan and the copy
	send(t, d, found)
	put(1)
	if got := changed(t, d); !got.Equal(found) || got.Empty() {
		t.Errorf("found %v, want %v: the replica holds 2, the disk 1", got, found)
	}
}

func TestATableGoesOnAfterARestartAndFindsWhatChangedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	path, device := image(t, 1<<20+512)
	first := openScan(t, dir, "a", device)
	got := changed(t, first)
	if got.Sectors() != 2049 {
		t.Errorf("the first scan found %v, want the whole disk", got)
	}
	send(t, first, got)
	era := first.Era()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{300000, 1 << 20} {
		if _, err := file.WriteAt([]byte{1}, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	second := openScan(t, dir, "a", device)
	want := block.SetOf(block.Extent{Start: 512, Count: 512}, block.Extent{Start: 2048, Count: 1})
	got = changed(t, second)
	if !got.Equal(want) || second.Era() != era {
		t.Errorf("after the restart: %v of era %s, want %v of %s", got, second.Era(), want, era)
	}
	send(t, second, got)
	if got := changed(t, second); !got.Empty() {
		t.Errorf("found twice: %v", got)
	}
}

func TestAResizedImageBeginsANewEra(t *testing.T) {
	dir := t.TempDir()
	path, device := image(t, 1<<20)
	first := openScan(t, dir, "a", device)
	era := first.Era()
	if err := os.Truncate(path, 2<<20); err != nil {
		t.Fatal(err)
	}
	if gap, err := first.Check(false); gap == "" || err != nil {
		t.Errorf("Check = %q, %v; want a gap", gap, err)
	}
	if err := first.Renew(); err == nil {
		t.Error("Renew went on with an image of another size")
	}
	if got := openScan(t, dir, "a", device).Era(); got == era {
		t.Error("the era went on")
	}
}

// What was written since a snapshot is in no scan of it: the counters of the disk, sampled meanwhile, must not hide it.
func TestAScanOfASnapshotDoesNotVouchForTheDisk(t *testing.T) {
	path, device := image(t, 1<<20)
	d := openScan(t, t.TempDir(), "a", device)
	send(t, d, changed(t, d))
	device.View(bytes.NewReader(make([]byte, 1<<20)))
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	d.now = func() time.Time { return time.Now().Add(time.Hour) } // the change of the file's times is old too
	if got := changed(t, d); !got.Empty() {
		t.Errorf("the snapshot shows %v", got)
	}
	device.View(nil)
	if got := changed(t, d); got.Sectors() != 2048 {
		t.Errorf("behind the snapshot: %v, want the whole disk", got)
	}
}
