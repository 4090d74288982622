package journal

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"farshore/dataplane/chain"
	"farshore/dataplane/vault"
)

// commitAtOnce commits segments at the same time and gives what came of each.
func commitAtOnce(t *testing.T, w *Writer, some []Prepared) []error {
	t.Helper()
	errs := make([]error, len(some))
	var group sync.WaitGroup
	for i, p := range some {
		group.Go(func() { errs[i] = w.Commit(t.Context(), p) })
	}
	group.Wait()
	return errs
}

// held is a vault in which one object is held up on its way.
type held struct {
	vault.Store
	name string
	free chan struct{}
}

func (h *held) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	if name == h.name {
		select {
		case <-h.free:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return h.Store.PutIfAbsent(ctx, name, body)
}

// commitBehindAHole begins to commit four segments of which the second is held up, and waits until nothing moves any more.
func commitBehindAHole(t *testing.T, w *world) (writer *Writer, on *held, some []Prepared, came chan int, errs []error) {
	t.Helper()
	writer, _ = w.claim("hq-1")
	for i := range 4 {
		some = append(some, prepare(t, writer, byte(i+1)))
	}
	on = &held{Store: w.store, name: some[1].Name, free: make(chan struct{})}
	writer.deps.Store = on
	came, errs = make(chan int, len(some)), make([]error, len(some))
	for i, p := range some {
		go func() {
			errs[i] = writer.Commit(t.Context(), p)
			came <- i
		}()
	}
	synctest.Wait()
	if first := <-came; first != 0 || len(came) > 0 || errs[0] != nil {
		t.Fatalf("segment %d returned first (%v), and %d more, while the second was held up", first, errs[first], len(came))
	}
	if _, err := w.store.Get(t.Context(), some[3].Name); err != nil {
		t.Fatalf("the last was not put: %v", err)
	}
	return writer, on, some, came, errs
}

func TestSegmentsArePutAtOnceAndAreDurableInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		writer, on, some, came, errs := commitBehindAHole(t, w)
		close(on.free)
		for range some[1:] {
			if i := <-came; errs[i] != nil {
				t.Error(errs[i])
			}
		}
		if writer.Durable().Position != some[3].Header.Position() {
			t.Errorf("durable up to %v", writer.Durable().Position)
		}
		if err := writer.Commit(t.Context(), some[2]); err != nil {
			t.Errorf("what is durable, committed again: %v", err)
		}
		w.wantContent(1, 1, 2, 3, 4)
	})
}

// What a fenced writer had put behind the seal is nobody's: none of it is acknowledged, or read.
func TestWhatStandsBehindAHoleWhenTheNextWriterSealsItIsNeverAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, on, some, came, errs := commitBehindAHole(t, w)
		next, resume := w.claim("hq-2")
		if resume.LastLSN != some[0].Header.LastLSN {
			t.Errorf("resumed behind LSN %d", resume.LastLSN)
		}
		close(on.free)
		for range some[1:] {
			if i := <-came; !errors.Is(errs[i], ErrFenced) {
				t.Errorf("segment %d came back with %v, want fenced", i, errs[i])
			}
		}
		w.write(next, 9)
		w.wantContent(1, 1, 9)
	})
}

func TestAWriterThatIsTooFarAheadPanics(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	for i := range chain.MaxInFlight {
		prepare(t, writer, byte(i))
	}
	p := prepare(t, writer, 100)
	defer func() {
		if recover() == nil {
			t.Error("it was put where nobody would look for it")
		}
	}()
	if err := writer.Commit(t.Context(), p); err != nil {
		t.Error(err)
	}
}
