package sink

import (
	"os"
	"path/filepath"
	"testing"

	"farshore/tests/flips"
)

// A sink that believed a wrong bit would leave blocks as they are that the stream has other content for.
func TestNoFlippedBitInTheStateOfASinkGoesUnnoticed(t *testing.T) {
	dir := t.TempDir()
	load := map[string]func(path string) error{
		"sink-v1.json": func(path string) error {
			d := taken{dir: filepath.Dir(path)}
			_, err := d.load()
			return err
		},
		"sink-known-v1.bin": func(path string) error {
			_, err := loadKnown(path, 20*granule)
			return err
		},
	}
	for _, o := range []struct{ kind, golden, name string }{{"state of a sink", "sink-v1.json", "sink.json"}, {"known granules of a sink", "sink-known-v1.bin", "known"}} {
		stored, err := os.ReadFile(filepath.Join("..", "..", "tests", "formats", "testdata", o.golden))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, o.name)
		flips.Try(t, flips.Object{Kind: o.kind, Stored: stored, Read: func(stored []byte) error {
			if err := os.WriteFile(path, stored, 0o600); err != nil {
				return err
			}
			return load[o.golden](path)
		}})
	}
}
