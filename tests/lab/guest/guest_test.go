package guest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"farshore/fault"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/need"
)

// image gives a copy of the bootable image, or skips loudly.
func image(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: building the guest takes a minute")
	}
	if err := Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	cache, err := need.Cache()
	if err != nil {
		t.Fatal(err)
	}
	path, err := Build(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "disk.img")
	if err := Copy(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	return copied
}

// release frees the image at the end of the test, whatever the test did.
func release(t *testing.T, image string) {
	t.Cleanup(func() {
		if err := Release(context.WithoutCancel(t.Context()), image); err != nil {
			t.Error(err)
		}
	})
}

// sectorsWritten reads what the queue of a whole disk has written.
func sectorsWritten(t *testing.T, device string) int64 {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(raw))[6], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWritesBelowTheMountPassThroughTheQueueOfTheWholeDisk(t *testing.T) {
	path := image(t)
	release(t, path)
	d, err := Attach(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	before := sectorsWritten(t, d.Device)
	w, err := blockwriter.New(blockwriter.Options{
		Dir: filepath.Join(d.Root, "var/lib/blockwriter"), Log: filepath.Join(t.TempDir(), "log"), Seed: 1, Ops: 80, RingBytes: 8 << 20,
	})
	if err == nil {
		err = w.Run(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := sectorsWritten(t, d.Device) - before; got < 8<<20/sectorBytes {
		t.Errorf("the whole disk saw %d sectors, want the %d of both rings at least", got, 8<<20/sectorBytes)
	}
	if fstab, err := os.ReadFile(filepath.Join(d.Root, "etc/fstab")); err != nil || !bytes.Contains(fstab, []byte("UUID="+rootUUID+" / ext4")) {
		t.Errorf("fstab of the guest: %s (%v)", fstab, err)
	}
}

func TestAnImageIsAttachedOnceAndReleasedAsOftenAsOneLikes(t *testing.T) {
	path := image(t)
	release(t, path)
	d, err := Attach(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Attach(t.Context(), path)
	if f, ok := fault.As(err); !ok || f.Kind != fault.Refused {
		t.Errorf("a second Attach = %v, want a refusal", err)
	}
	// Release knows only the path, as after a crash of whoever attached it.
	for range 2 {
		if err := Release(t.Context(), path); err != nil {
			t.Error(err)
		}
	}
	if err := d.Detach(t.Context()); err != nil {
		t.Errorf("Detach after Release = %v", err)
	}
	if loops, err := loopsOf(path); err != nil || len(loops) != 0 {
		t.Errorf("still attached: %v, %v", loops, err)
	}
	if _, err := os.Stat(d.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount point is still there: %v", err)
	}
}

func TestPlainDisksCarryTheirFileSystem(t *testing.T) {
	if err := errors.Join(need.Root("plain disks"), need.Programs("plain disks", "mkfs.ext4", "mkfs.xfs", "losetup")); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	for system, size := range map[FileSystem]int64{Ext4: 64 << 20, XFS: 320 << 20} {
		path := filepath.Join(t.TempDir(), "plain.img")
		release(t, path)
		d, err := Plain(t.Context(), path, size, system)
		if err != nil {
			t.Fatal(err)
		}
		kind, err := need.Run(t.Context(), "stat", "-f", "-c", "%T", d.Root)
		if got := strings.TrimSpace(kind); err != nil || !strings.HasPrefix(got, strings.TrimSuffix(string(system), "4")) {
			t.Errorf("%s is mounted as %q (%v)", system, got, err)
		}
		if err := d.Detach(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestAFailedAttachLeavesNothingBehind(t *testing.T) {
	if err := need.Root("attaching"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	path := filepath.Join(t.TempDir(), "empty.img")
	release(t, path)
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := Attach(t.Context(), path); err == nil {
		t.Errorf("an empty disk was attached: %+v", d)
	}
	if loops, err := loopsOf(path); err != nil || len(loops) != 0 {
		t.Errorf("still attached: %v, %v", loops, err)
	}
}

func TestOnlyTheNewestImagesStayInTheCache(t *testing.T) {
	dir := t.TempDir()
	for n, name := range []string{"guest-c.img", "guest-a.img", "guest-b.img"} {
		path, born := filepath.Join(dir, name), time.Unix(int64(1000+n), 0)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, born, born)); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(dir, 2); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if want := []string{filepath.Join(dir, "guest-a.img"), filepath.Join(dir, "guest-b.img")}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left %v (%v), want %v", left, err, want)
	}
}
