package applier

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore/dataplane/chain"
	"farshore/dataplane/document"
	"farshore/dataplane/segment"
)

// golden compares what is written today with the stored file, or writes it if there is none and the environment says
// UPDATE=1. It lies with the golden files of all formats.
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
		t.Fatalf("%s: today's form is\n%s\nthe stored one\n%s\n%v", name, got, want, err)
	}
	return want
}

func goldenCursor() cursor {
	link := chain.Link{Hash: segment.Hash{1, 2, 3}, LastLSN: 77}
	link.Position.Generation, link.Position.Epoch, link.Position.Seq = 1, 2, 345
	return cursorOf(link)
}

func TestAStateV1HasTheFieldsItHad(t *testing.T) {
	s := diskState{
		Version: 1, Vault: "0fa50102-0304-4506-8708-090a0b0c0d0e", Machine: "web-01", Disk: "S3EVNX0K100", Applied: goldenCursor(),
		Intent: "g1.e2.s350", Segments: 3, Runs: 400, Bytes: 5 << 20, Target: "g1.e2.s350", Made: true,
	}
	body, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := parseState("a disk", golden(t, "replica-state-v1.json", body))
	if d := cmp.Diff(s, got); !ok || err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestTheManifestOfACheckpointV1HasTheFieldsItHad(t *testing.T) {
	m := manifest{
		Version: 1, Vault: "0fa50102-0304-4506-8708-090a0b0c0d0e", Machine: "web-01", At: goldenCursor(), UTC: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC),
		Disks: []snapshotDisk{{Disk: "S3EVNX0K100", Sectors: 1 << 21, Snapshot: "0000000000000007"}},
	}
	body, err := document.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	var got manifest
	if err := document.Decode(golden(t, "checkpoint-v1.json", body), &got); err != nil || cmp.Diff(m, got) != "" {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(m, got))
	}
}
