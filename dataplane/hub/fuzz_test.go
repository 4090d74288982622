package hub

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
)

// FuzzDesired: whatever lies in the desired document's place is read or refused, and what is read is kept as it was read.
func FuzzDesired(f *testing.F) {
	f.Add([]byte(`{"version":{"incarnation":"2","number":"7"},"agent":{"protect":true,"disks":["WD-1"],"processServers":["hq-1:9443"],"cut":{"number":"1","consistency":"app"}}}`))
	f.Add([]byte(`{"version":{"incarnation":"2","number":"7"},"applier":{"machines":["web-01"],"jobs":[{"id":"j","kind":"APPLIER_JOB_KIND_MATERIALISE","position":{"generation":1}}]}}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, DesiredFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := LoadDesired(dir)
		if err != nil {
			return
		}
		if err := saveDesired(dir, d); err != nil {
			t.Fatalf("what was read cannot be kept: %v", err)
		}
		if again, err := LoadDesired(dir); err != nil || !proto.Equal(d, again) {
			t.Fatalf("it was %v, and is %v, %v", d, again, err)
		}
	})
}
