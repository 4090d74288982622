package vhd

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"farshore/dataplane/block"
)

func TestSizesAreRoundedUpToWholeMiB(t *testing.T) {
	for _, r := range [][2]block.Count{{0, 0}, {1, 2048}, {2048, 2048}, {2049, 4096}} {
		if got := Align(r[0]); got != r[1] {
			t.Errorf("Align(%d) = %d, want %d", r[0], got, r[1])
		}
	}
}

func TestAFooterIsReadBackAndItsDamageIsFound(t *testing.T) {
	f := Footer(4096, [16]byte{1}, time.Now())
	if n, err := Sectors(f[:]); n != 4096 || err != nil {
		t.Fatalf("Sectors = %d, %v", n, err)
	}
	for i := range f {
		bad := f
		bad[i] ^= 0x10
		if n, err := Sectors(bad[:]); err == nil {
			t.Fatalf("byte %d may be wrong: %d sectors", i, n)
		}
	}
	if _, err := Sectors(f[:511]); err == nil {
		t.Error("a short footer is read")
	}
}

func TestQEMUReadsTheImageWithItsExactSize(t *testing.T) {
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("NOT RUN: qemu-img is not installed (package qemu-utils)")
	}
	for _, sectors := range []block.Count{2048, 2048 * 1025, 1 << 24, 1 << 31} {
		path := filepath.Join(t.TempDir(), "disk.vhd")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		footer := Footer(sectors, [16]byte{9}, time.Now())
		if _, err := file.WriteAt(footer[:], sectors.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), qemu, "info", "-f", "vpc", "--output", "json", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		var info struct {
			Format string `json:"format"`
			Size   int64  `json:"virtual-size"`
		}
		if err := json.Unmarshal(out, &info); err != nil || info.Format != "vpc" || info.Size != sectors.Bytes() {
			t.Errorf("%d sectors: qemu-img sees %+v, %v", sectors, info, err)
		}
	}
}
