package applier

import (
	"testing"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
)

// FuzzStored feeds the readers of a disk's state and of a checkpoint's manifest anything. A state that is read is written as
// the same state; a manifest that is read says what it was read for.
func FuzzStored(f *testing.F) {
	stream := chain.Stream{Vault: segment.VaultID{1}, Machine: "web-01", Generation: 1}
	at := farshore.Position{Generation: 1, Epoch: 2, Seq: 3}
	hash := segment.Hash{7}.String()
	f.Add([]byte(`{"version":1,"vault":"x","machine":"web-01","disk":"d","applied":{"position":"g1.e2.s3","hash":"` + hash + `","lsn":9},"intent":"g1.e2.s5"}`))
	f.Add([]byte(`{"version":1,"vault":"` + stream.Vault.String() + `","machine":"web-01","at":{"position":"g1.e2.s3","hash":"` + hash + `","lsn":9},"utc":"2026-01-02T03:04:05Z","disks":[{"disk":"d","sectors":8,"snapshot":"1"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok, err := parseState("d", b); err == nil && ok {
			again, err := s.encode()
			if err != nil {
				t.Fatal(err)
			}
			if same, _, err := parseState("d", again); err != nil || same != s {
				t.Fatalf("%+v is written as %s and read as %+v, %v", s, again, same, err)
			}
			if a, err := s.applied(stream); err == nil && a.Stands(at) && !a.Reaches(at) {
				t.Fatalf("a disk stands at %v and does not reach it: %+v", at, a)
			}
		}
		if _, l, err := parseCheckpoint(stream, at, b); err == nil && l.Position != at {
			t.Fatalf("the manifest of %v is taken for that of %v", l.Position, at)
		}
	})
}
