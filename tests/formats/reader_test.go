package formats

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

// readBySpec is what reader.py prints.
type readBySpec struct {
	Header struct {
		Machine     farshore.MachineID
		Position    string
		Previous    string
		FirstLSN    farshore.LSN
		LastLSN     farshore.LSN
		UTC         int64
		Flags       []string
		Consistency farshore.Consistency
		Label       string
		Disks       []segment.Disk
	}
	Hash    string
	Extents []specExtent
}

type specExtent struct {
	Disk   uint16
	Start  block.Sector
	Count  block.Count
	Kind   string
	SHA256 string
}

func python(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("NOT RUN: python3 is not installed (package python3)")
	}
	return program
}

func TestAReaderWrittenFromTheSpecificationAloneReadsTheSame(t *testing.T) {
	program := python(t)
	key := count(1)
	for _, name := range []string{"segment-v1.fsj", "seal-v1.fsj"} {
		path := filepath.Join("testdata", name)
		out, err := exec.CommandContext(t.Context(), program, "reader.py", path, hex.EncodeToString(key[:])).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got readBySpec
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := segment.Open(file, key)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(ourReading(t, s, got.Header.Flags), got); d != "" {
			t.Errorf("%s (-ours +theirs):\n%s", name, d)
		}
	}
}

// ourReading puts our own reader's result in the other's form. Flags are compared apart.
func ourReading(t *testing.T, s *segment.Segment, flags []string) readBySpec {
	t.Helper()
	h := s.Header()
	want := readBySpec{Hash: s.Hash().String(), Extents: []specExtent{}}
	o := &want.Header
	o.Machine, o.Position, o.Previous, o.FirstLSN, o.LastLSN = h.Machine, h.Position().String(), h.Previous.String(), h.FirstLSN, h.LastLSN
	o.UTC, o.Consistency, o.Label, o.Disks, o.Flags = h.UTC.UnixNano(), h.Consistency, h.Label, h.Disks, flags
	if marker := len(flags) == 1 && flags[0] == "marker"; marker != h.Marker || h.Seal != (flags[0] == "seal") {
		t.Errorf("flags = %v, marker %v, seal %v", flags, h.Marker, h.Seal)
	}
	for r, err := range s.Records() {
		if err != nil {
			t.Fatal(err)
		}
		e := specExtent{Disk: r.Disk, Start: r.Extent.Start, Count: r.Extent.Count, Kind: r.Kind.String()}
		if r.Kind == block.Data {
			sum := sha256.Sum256(r.Data)
			e.SHA256 = hex.EncodeToString(sum[:])
		}
		want.Extents = append(want.Extents, e)
	}
	return want
}

func TestTheOtherReaderRefusesDamageToo(t *testing.T) {
	program := python(t)
	key := count(1)
	file, err := os.ReadFile(filepath.Join("testdata", "segment-v1.fsj"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 60, 300, len(file) - 100, len(file) - 50, len(file) - 1} {
		bad := bytes.Clone(file)
		bad[at] ^= 1
		path := filepath.Join(t.TempDir(), "bad.fsj")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), program, "reader.py", path, hex.EncodeToString(key[:])).Output(); err == nil {
			t.Errorf("byte %d may be wrong: %s", at, out)
		}
	}
}
