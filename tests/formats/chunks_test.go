package formats

import (
	"bytes"
	"os"
	"testing"

	"farshore/dataplane/manifest"
)

func TestAChunkListV1IsReadAndWrittenAsItWas(t *testing.T) {
	const path = "testdata/chunks-v1.fsc"
	c := &manifest.Chunks{Sectors: 3*manifest.ChunkSectors - 1000}
	for n := range manifest.Count(c.Sectors) {
		c.Add(bytes.Repeat([]byte{byte(n % 2 * 7)}, int(c.Extent(n).Count.Bytes())))
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, c.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.Encode(), stored) {
		t.Error("today's form is another than the stored one")
	}
	old, err := manifest.Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	if !old.Zero(0) || old.Zero(1) || !old.Zero(2) || !old.Matches(1, bytes.Repeat([]byte{7}, int(old.Extent(1).Count.Bytes()))) {
		t.Error("it is read as something else")
	}
}
