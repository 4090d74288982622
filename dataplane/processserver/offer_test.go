package processserver

import (
	"bytes"
	"testing"

	"farshore/dataplane/hashes"
	"farshore/dataplane/session"
)

// want asks for one thing and waits for the answer, whatever else comes.
func (r *replication) want(w session.Want) *session.Offer {
	r.a.w.t.Helper()
	must(r.a.w.t, r.link.Want(r.a.w.t.Context(), w))
	for m := range r.link.Events() {
		if o, ok := m.(*session.Offer); ok {
			return o
		}
	}
	r.a.w.t.Fatalf("the session ended: %v", <-r.done)
	return nil
}

func TestWhatWasOfferedToTheEpochIsPassedOnUnread(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	r := w.agent("web-01", 1).open(server.address)
	head, part := session.Want{Number: 1}, session.Want{Disk: "WD-2", Number: 3}
	if o := r.want(head); o.Want != head || len(o.Object) != 0 {
		t.Errorf("nothing was offered, and %+v came", o)
	}
	epoch := r.opened.Epoch
	put := func(name string, body []byte) {
		_, err := w.store.PutIfAbsent(t.Context(), name, body)
		must(t, err)
	}
	put(hashes.HeadName("web-01", 1, epoch, 1), []byte("the head"))
	put(hashes.PartName("web-01", 1, epoch, "WD-2", 3), bytes.Repeat([]byte("x"), hashes.MaxPartBytes))
	put(hashes.PartName("web-01", 1, epoch, "WD-2", 4), make([]byte, session.MaxOfferBytes+1))
	put(hashes.PartName("db-01", 1, epoch, "WD-1", 3), []byte("another machine's"))
	put(hashes.PartName("web-01", 1, epoch+1, "WD-1", 3), []byte("another epoch's"))
	if o := r.want(head); string(o.Object) != "the head" {
		t.Errorf("the head came as %q", o.Object)
	}
	must(t, r.copyAll())
	if o := r.want(part); len(o.Object) != hashes.MaxPartBytes {
		t.Errorf("the part came with %d bytes", len(o.Object))
	}
	for name, x := range map[string]session.Want{
		"one that is too long":  {Disk: "WD-2", Number: 4},
		"one that others asked": {Disk: "WD-1", Number: 3},
	} {
		if o := r.want(x); len(o.Object) != 0 {
			t.Errorf("%s came: %q", name, o.Object[:min(20, len(o.Object))])
		}
	}
}
