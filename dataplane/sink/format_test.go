package sink

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/document"
)

// golden compares what is written today with the stored file, or writes it if there is none and the environment says
// UPDATE=1.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("..", "..", "tests", "formats", "testdata", name)
	if _, err := os.Stat(path); os.IsNotExist(err) && os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: today's form is\n%q\nthe stored one\n%q\n%v", name, got, want, err)
	}
	return want
}

func TestASinkV1HasTheFieldsItHad(t *testing.T) {
	r := record{
		Version: 1, Machine: "web-01", Disk: "S3EVNX0K100", Kind: farshore.HomeDevice, Path: "/dev/disk/by-id/scsi-36000c29", Identity: "wwn-6000c29",
		Name: name, Sectors: 1 << 21, State: []byte("state"), Written: 5 << 20, Equal: 7 << 20, Signature: "00ff",
	}
	body, err := document.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	var got record
	if err := document.Decode(golden(t, "sink-v1.json", body), &got); err != nil || cmp.Diff(r, got) != "" {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(r, got))
	}
}

func TestTheListOfWhatIsKnownV1HasTheFormItHad(t *testing.T) {
	const size = 19*granule + 1
	k := newKnown(size)
	for _, g := range []int{0, 3, 8, 19} {
		k.add(g)
	}
	path := filepath.Join(t.TempDir(), "known")
	if err := k.save(path); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "sink-known-v1.bin", body)
	for _, sectors := range []block.Count{size, 9 * granule, 40 * granule} { // a resize was broken off
		got, err := loadKnown(path, sectors)
		if err != nil {
			t.Fatal(err)
		}
		for g := range granulesOf(sectors) {
			if want := g == 0 || g == 3 || g == 8 || g == 19; got.has(g) != want {
				t.Errorf("of %d sectors: granule %d known: %v", sectors, g, got.has(g))
			}
		}
	}
	for i := range body {
		spoiled := bytes.Clone(body)
		spoiled[i] ^= 1
		if err := os.WriteFile(path, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadKnown(path, size); err == nil {
			t.Errorf("a bit of byte %d was turned over, and nobody noticed", i)
		}
	}
}
