package scrub

import (
	"context"
	"slices"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// Generation is what reading every segment of a generation has shown.
type Generation struct {
	Generation farshore.Generation `json:"generation"`
	Segments   int                 `json:"segments"` // read and right, seals among them
	Bytes      int64               `json:"bytes"`    // as stored
	Points     int                 `json:"points"`   // that can be restored
	End        farshore.Position   `json:"end"`
	Horizon    string              `json:"horizon,omitempty"` // retention may have let go of what lies before; it was not read
	Unread     int                 `json:"unread"`            // objects behind a hole or a seal: harmless, never part of the stream
	Damage     *Damage             `json:"damage,omitempty"`
}

// walk reads one generation.
type walk struct {
	reader  journal.Reader
	entries []vault.Entry // the objects of the generation that are to be read
}

// Objects lists the objects whose names begin with a prefix, with the sum of their sizes.
func Objects(ctx context.Context, s vault.Store, prefix string) (entries []vault.Entry, bytes int64, err error) {
	for e, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, e)
		bytes += e.Size
	}
	return entries, bytes, nil
}

// ReadGeneration reads every segment of a generation that retention has not let go of. entries are its objects; read is told
// the size of each one that was read and right. Damage is no error.
func ReadGeneration(ctx context.Context, r journal.Reader, id farshore.MachineID, g farshore.Generation, entries []vault.Entry, read func(int64)) (Generation, error) {
	w := &walk{reader: r, entries: entries}
	report := Generation{Generation: g, End: farshore.Position{Generation: g}}
	at := r.Start(id, g)
	cut, err := r.Cut(ctx, id, g)
	if err != nil {
		return report, err
	}
	if cut != nil { // what lies before may be gone
		at = cut.At
		report.Horizon = at.Position.String()
		w.entries = slices.DeleteFunc(slices.Clone(entries), func(e vault.Entry) bool { return e.Name <= chain.NameOf(id, at.Position) })
	}
	for seg, err := range r.Follow(ctx, at) {
		if err == nil {
			err = readRecords(seg)
		}
		if err != nil {
			report.Damage, err = w.damageBehind(ctx, at, err)
			return report, err
		}
		report.Segments++
		report.Bytes += seg.Size()
		if _, ok := journal.PointOf(seg.Header()); ok {
			report.Points++
		}
		at = chain.LinkOf(seg.Header(), seg.Hash())
		report.End = at.Position
		read(seg.Size())
	}
	report.Unread = len(w.entries) - report.Segments
	return report, nil
}

func readRecords(seg *segment.Segment) error {
	for _, err := range seg.Records() {
		if err != nil {
			return journal.Damaged(seg.Header(), err)
		}
	}
	return nil
}
