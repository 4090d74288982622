package disk_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/fault"
)

func TestReadsAtAnyOffsetGiveWhatTheDeviceHolds(t *testing.T) {
	const size = 1<<20 + 512 // ends with a part of a block
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{"image file": image}
	if os.Geteuid() == 0 {
		loop := disktest.NewLoop(t, size)
		if _, err := loop.Node().WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if err := loop.Node().Sync(); err != nil {
			t.Fatal(err)
		}
		paths["loop device"] = loop.Path
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			d := disktest.Open(t, path)
			if n, err := d.Sectors(); err != nil || n.Bytes() != size {
				t.Fatalf("size = %d, %v; want %d", n.Bytes(), err, size)
			}
			for _, at := range []struct{ offset, n int64 }{{0, 4096}, {1, 1}, {511, 513}, {4096, 8192}, {size - 512, 512}, {size - 4608, 4608}, {0, size}, {100, 1 << 19}} {
				got := disk.Buffer(int(at.n))
				if n, err := d.ReadAt(got, at.offset); int64(n) != at.n {
					t.Errorf("read %d at %d: got %d, %v", at.n, at.offset, n, err)
				}
				if !bytes.Equal(got, content[at.offset:at.offset+at.n]) {
					t.Errorf("read %d at %d: wrong bytes", at.n, at.offset)
				}
			}
			if n, err := d.ReadAt(make([]byte, 1024), size-512); n != 512 || err == nil {
				t.Errorf("read over the end = %d, %v; want 512 and an error", n, err)
			}
		})
	}
}

// Without direct reads the page cache of a mounted disk's node answers with what it read before.
func TestReadsOfAMountedDiskAreNotStale(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	mnt, _ := disktest.Mount(t, loop.Path, "ext4")
	d := disktest.Open(t, loop.Path)
	whole := func() []byte {
		b := disk.Buffer(64 << 20)
		if n, err := d.ReadAt(b, 0); n != len(b) {
			t.Fatalf("read %d: %v", n, err)
		}
		return b
	}
	whole()
	secret := []byte(rand.Text() + rand.Text())
	file, err := os.Create(filepath.Join(mnt, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(secret); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(whole(), secret) {
		t.Error("what was written and synced is not in what was read")
	}
}

func TestOpenRefusesWhatIsNoWholeDisk(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "odd.img")
	if err := os.WriteFile(odd, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"folder": dir, "missing": filepath.Join(dir, "no"), "odd size": odd, "character device": "/dev/null"} {
		_, err := disk.Open(path)
		if f, ok := fault.As(err); !ok || f.Code != "FS-1001" || f.Remedy == "" {
			t.Errorf("%s: Open(%s) = %v, want FS-1001 with a remedy", name, path, err)
		}
	}
}

func TestDisksAreNamedByTheirPartitionTableAndElseByTheirFile(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "web 01.img")
	if err := os.WriteFile(image, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	name := func() string {
		id, err := disk.Identify(disktest.Open(t, image))
		if err != nil {
			t.Fatal(err)
		}
		return string(id)
	}
	if got, want := name(), "name-web_01.img"; got != want {
		t.Errorf("empty image: %s, want %s", got, want)
	}
	tool, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Skipf("SKIPPED: needs sgdisk: %v", err)
	}
	const guid = "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0"
	if out, err := exec.CommandContext(t.Context(), tool, "-o", "-U", guid, image).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v\n%s", err, out)
	}
	if got, want := name(), "gpt-"+strings.ToLower(guid); got != want {
		t.Errorf("image with a GPT: %s, want %s", got, want)
	}
}

func TestABareDiskKeepsItsNameWhereverItIs(t *testing.T) {
	for what, maker := range map[string][]string{"by what stands on it": {"mkfs.ext4", "-q", "-F"}, "by its size": {"true"}} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			path, moved := filepath.Join(dir, "db.img"), filepath.Join(dir, "lun0")
			if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), maker[0], append(maker[1:], path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", maker, err, out)
			}
			names := new(disk.Names)
			called := func(path, body string) string {
				v, err := disk.Take("web-01", []disk.Source{{Path: path}}, body, names)
				if err != nil {
					t.Fatal(err)
				}
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
				return string(v.Spec.Disks[0].ID)
			}
			if got := called(path, "metal"); got != "name-db.img" {
				t.Errorf("it is called %s", got)
			}
			if err := os.Rename(path, moved); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := called(moved, "vm"); got != "name-db.img" {
					t.Errorf("in another body it is called %s", got)
				}
			}
		})
	}
}

func TestInventoryDescribesTheMachineAndRefusesTwins(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.img"), filepath.Join(dir, "b.img")
	for _, path := range []string{a, b} {
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v, err := disk.Take("web-01", []disk.Source{{Path: a, Boot: true}, {Path: b}}, "metal", new(disk.Names))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	s := v.Spec
	if len(s.Disks) != 2 || !s.Disks[0].Boot || s.Disks[1].Boot || s.Disks[1].SizeBytes != 1<<20 || s.CPUs < 1 || s.MemoryBytes == 0 || s.OS != "linux" {
		t.Errorf("inventory = %+v", s)
	}
	_, err = disk.Take("web-01", []disk.Source{{Path: a}, {Path: a}}, "metal", new(disk.Names))
	if f, ok := fault.As(err); !ok || f.Code != "FS-1004" {
		t.Errorf("two disks of one name: %v, want FS-1004", err)
	}
}
