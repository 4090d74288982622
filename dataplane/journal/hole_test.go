package journal

import (
	"testing"

	"farshore"
	"farshore/dataplane/chain"
)

// TestASegmentBehindAHoleIsNeverTakenForTheEnd: from the first segment that is missing on, nobody reads; so neither may a
// take-over go on there, nor a failover call it the end.
func TestASegmentBehindAHoleIsNeverTakenForTheEnd(t *testing.T) {
	const written = 3 * chain.MaxInFlight
	rows := []struct {
		name    string
		missing farshore.Seq
		broken  bool
	}{
		{"as far from the end as a writer may be", written - chain.MaxInFlight + 1, false},
		{"so far from the end that the vault has lost it", written - chain.MaxInFlight, true},
		{"near the start", 3, true},
		{"the last", written, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			writer, _ := w.claim("hq-1")
			for i := range written {
				w.write(writer, byte(i%200))
			}
			hole := position(1, 1, row.missing)
			if err := w.store.Delete(t.Context(), chain.NameOf(web, hole)); err != nil {
				t.Fatal(err)
			}
			_, resume, err := Claim(t.Context(), w.server("hq-2"), w.ticket("hq-2"))
			if row.broken {
				wantFault(t, err, "FS-3505")
				_, err = w.reader().Tail(t.Context(), web)
				wantFault(t, err, "FS-3505")
				return
			}
			if err != nil || resume.Link.Position != hole || !resume.Link.Seal {
				t.Errorf("resume at %v, %v; want the seal in the hole %v", resume.Link.Position, err, hole)
			}
		})
	}
}
