package crash

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/document"
	"farshore/dataplane/hub"
	"farshore/dataplane/segment"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/site"
)

// judge reads the stream as it grows. Every clean end must be an exact prefix of what was written, and whatever anybody was
// told to be durable must be there.
type judge struct {
	t        testing.TB
	site     *site.Site
	told     func() farshore.Position // the newest that was acknowledged
	torn     bool                     // the last write of a point may be there in part
	at       chain.Link
	image    *os.File // the disk at the position
	segments map[farshore.Position]bool
	points   int
	last     uint64 // the newest write in the newest point
	newest   farshore.Position
}

func newJudge(l *line) *judge {
	l.t.Helper()
	image, err := os.Create(filepath.Join(l.dir, "judged.img"))
	if err == nil {
		err = image.Truncate(lineBytes)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { image.Close() })
	return &judge{
		t: l.t, site: l.site, told: l.told, torn: l.capture, image: image, at: l.site.Reader().Start(lineMachine, 1), segments: map[farshore.Position]bool{},
	}
}

// told is the newest position that the agent or the process server was told, or told others, to be durable.
func (l *line) told() farshore.Position {
	l.t.Helper()
	var run struct {
		LastPoint farshore.RecoveryPoint `json:"lastPoint"`
	}
	content, err := os.ReadFile(filepath.Join(l.runDir(), "run.json"))
	if err == nil {
		err = document.Decode(content, &run)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.t.Fatal(err)
	}
	newest := run.LastPoint.Position
	tell := func(p farshore.Position) {
		if p.Compare(newest) > 0 {
			newest = p
		}
	}
	tell(hub.Point(l.hub.Observed().GetLastPoint()).Position)
	for _, s := range l.hub.ObservedOf(serverID).GetProcessServer().GetStreams() {
		tell(hub.Position(s.GetDurable()))
	}
	return newest
}

// forward judges what has come since it looked last.
func (j *judge) forward() {
	j.t.Helper()
	told := j.told()
	for s, err := range j.site.Reader().Follow(j.t.Context(), j.at) {
		if err != nil {
			j.t.Fatalf("read behind %v: %v", j.at.Position, err)
		}
		for record, err := range s.Records() {
			if err != nil {
				j.t.Fatalf("read %v: %v", s.Header().Position(), err)
			}
			j.apply(record)
		}
		h := s.Header()
		j.at = chain.LinkOf(h, s.Hash())
		j.segments[h.Position()] = true
		if h.Clean() && !h.Seal {
			j.point(h)
		}
	}
	if !told.IsZero() && told.Seq > 0 && !j.segments[told] {
		j.t.Errorf("%v was acknowledged and is not in the stream, which can be read to %v", told, j.at.Position)
	}
}

func (j *judge) apply(r segment.Record) {
	j.t.Helper()
	data := r.Data
	if r.Kind != block.Data {
		data = make([]byte, r.Extent.Count.Bytes())
	}
	if _, err := j.image.WriteAt(data, r.Extent.Start.Offset()); err != nil {
		j.t.Fatal(err)
	}
}

// point judges the image as it is now.
func (j *judge) point(h segment.Header) {
	j.t.Helper()
	report, err := blockwriter.VerifyDevicePaths([]string{j.image.Name()}, blockwriter.Question{})
	if err != nil {
		j.t.Fatal(err)
	}
	if !report.OK || report.Torn && !j.torn {
		j.t.Errorf("point %v is no state that the disk ever had: %+v", h.Position(), report)
	}
	if report.LastSeq < j.last {
		j.t.Errorf("point %v holds write %d, the one in front of it %d", h.Position(), report.LastSeq, j.last)
	}
	j.points, j.last, j.newest = j.points+1, report.LastSeq, h.Position()
}

// equal compares files or devices with the image.
func (j *judge) equal(path string) (pieces int, first []int64) {
	j.t.Helper()
	d, err := disk.Open(path)
	if err != nil {
		j.t.Fatal(err)
	}
	defer d.Close()
	if pieces, first, err = disktest.Differences(d, j.image, lineBytes); err != nil {
		j.t.Fatal(err)
	}
	return pieces, first
}
