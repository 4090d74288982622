package azblob

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// A try that was answered early goes on reading while the next one begins.
func TestATryThatSharesItsBodyWithAFormerOneIsTooShortAndNeverOther(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	short := 0
	for range 200 {
		b := sending(content)
		var former sync.WaitGroup
		former.Go(func() {
			p := make([]byte, 4096)
			for range 100 {
				if _, err := b.Read(p); err != nil {
					return
				}
			}
		})
		if _, err := b.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b)
		former.Wait()
		if err != nil || len(got) == len(content) && !bytes.Equal(got, content) {
			t.Fatalf("%d bytes, and not those of the body; %v", len(got), err)
		}
		if len(got) < len(content) {
			short++
		}
	}
	t.Logf("%d of 200 tries were too short", short)
}
