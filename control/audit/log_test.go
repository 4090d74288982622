package audit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"farshore/fault"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func write(t *testing.T, path string, n int) {
	t.Helper()
	l := open(t, path)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := l.Append(Entry{Who: "operator/ann", Call: "OperatorService/Start", Request: json.RawMessage(`{"machine":"web-01"}`)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestEntriesFormAChainAcrossRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 5)
	write(t, path, 5)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := Verify(path, bytes.NewReader(content))
	if err != nil || tail.Seq != 10 {
		t.Errorf("tail %+v, %v", tail, err)
	}
}

func TestEveryChangedByteAndEveryMissingLineIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 4)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	last := len(content) - len(lines[3])
	for i := range content[:last] {
		changed := bytes.Clone(content)
		changed[i] ^= 1
		if tail, err := Verify(path, bytes.NewReader(changed)); err == nil {
			t.Fatalf("a changed byte at %d was not found: %+v", i, tail)
		} else if f, ok := fault.As(err); !ok || f.Code != "FS-6025" {
			t.Fatalf("a changed byte at %d: %v", i, err)
		}
	}
	for i := range 3 {
		var without []byte
		for j, line := range lines {
			if i != j {
				without = append(without, line...)
			}
		}
		if _, err := Verify(path, bytes.NewReader(without)); err == nil {
			t.Errorf("missing line %d was not found", i+1)
		}
	}
}

func TestAnUnfinishedLineOfACrashIsCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 2)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(content, `{"seq":3,"ti`...), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, path, 1)
	content, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if tail, err := Verify(path, bytes.NewReader(content)); err != nil || tail.Seq != 3 {
		t.Errorf("tail %+v, %v", tail, err)
	}
}
