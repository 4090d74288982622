package changelog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"farshore/dataplane/hrl"
)

// spilled makes a file with frames in every slot, the last ones over older ones.
func spilled(t *testing.T) (path string, content []byte) {
	t.Helper()
	path = filePlace(t)
	l := openSmall(t, smallConfig(3, 4, path))
	for serial := uint64(1); serial < 200; serial++ {
		if err := l.Append(dataEntry(serial, 8)); errors.Is(err, ErrFull) {
			_, next := l.Span()
			l.Trim(next - 2)
		}
	}
	if u := l.Usage(); u.Written < 5*smallPages*hrl.PageBytes {
		t.Fatalf("only %d bytes went to the file", u.Written)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, content
}

func inspectBytes(t *testing.T, content []byte) (*Report, error) {
	t.Helper()
	return Inspect(bytes.NewReader(content), int64(len(content)))
}

func TestAFileThatIsCutOffAnywhereIsReportedThere(t *testing.T) {
	_, content := spilled(t)
	for at := 0; at < len(content); at += hrl.PageBytes {
		for _, size := range []int{at, at + 1, at + hrl.PageBytes - 1} {
			r, err := inspectBytes(t, content[:size])
			if size < hrl.HeaderBytes {
				var d *hrl.Damage
				if !errors.As(err, &d) {
					t.Fatalf("cut at %d: %v is no damage", size, err)
				}
				continue
			}
			if err != nil || len(r.Damages) == 0 || !strings.Contains(r.State, "DAMAGE") {
				t.Fatalf("cut at %d: %v, nothing is reported", size, err)
			}
			for _, f := range r.Frames {
				if f.State == SlotFrame && f.Offset+int64(hrl.Pages(int(f.DataBytes)+(f.Data+f.Zero+f.Unspecified)*hrl.RecordHeadBytes))*hrl.PageBytes > int64(size) {
					t.Fatalf("cut at %d: the frame in slot %d is called right", size, f.Slot)
				}
			}
		}
	}
}

func TestEveryFlippedBitOfAFileIsReportedWithItsPage(t *testing.T) {
	_, content := spilled(t)
	if r, err := inspectBytes(t, content); err != nil || len(r.Damages) > 0 {
		t.Fatalf("an untouched file is reported as damaged: %v %v", err, r.Damages)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for page := 0; page < len(content); page += hrl.PageBytes {
		at, bit := page+random.IntN(hrl.PageBytes), random.IntN(8)
		content[at] ^= 1 << bit
		r, err := inspectBytes(t, content)
		content[at] ^= 1 << bit
		var d *hrl.Damage
		if errors.As(err, &d) && page < hrl.HeaderBytes {
			continue
		}
		if err != nil || !reports(r, page) {
			t.Fatalf("bit %d of byte %d flipped: %v; want damage in the page at byte %d, got %q", bit, at, err, page, r.Damages)
		}
	}
}

// reports tells whether a damage names a byte of the page.
func reports(r *Report, page int) bool {
	for _, d := range r.Damages {
		_, behind, _ := strings.Cut(d, "at byte ")
		var at int
		if _, err := fmt.Sscan(strings.TrimRight(strings.Fields(behind + " x")[0], ":"), &at); err == nil && at >= page && at < page+hrl.PageBytes {
			return true
		}
	}
	return false
}

func TestAFrameWhoseWriteWasCutOffIsCalledTorn(t *testing.T) {
	_, content := spilled(t)
	r, err := inspectBytes(t, content)
	if err != nil {
		t.Fatal(err)
	}
	h := r.header
	newest := r.Frames[len(r.Frames)-1]
	next := hrl.Frame{Seq: newest.Frame + 1, Run: h.Run(), First: newest.Last + 1, Records: 1}
	slot := make([]byte, h.SlotBytes())
	var body []byte
	w := dataEntry(1, 56)
	record := hrl.Record{Last: true}
	record.Extent, record.Data = w.Extent, bytes.Join(w.Pieces, nil)
	body = append(hrl.AppendHead(body, record), record.Data...)
	used := hrl.Weave(slot, h.Cookie, next, body)
	for pages := 1; pages*hrl.PageBytes < used; pages++ {
		broken := bytes.Clone(content)
		copy(broken[h.SlotAt(h.SlotOf(next.Seq)):], slot[:pages*hrl.PageBytes])
		r, err := inspectBytes(t, broken)
		if err != nil {
			t.Fatal(err)
		}
		torn := 0
		for _, f := range r.Frames {
			if f.State == SlotTorn && f.Frame == next.Seq {
				torn++
			}
		}
		if torn != 1 || !reports(r, int(h.SlotAt(h.SlotOf(next.Seq)))+pages*hrl.PageBytes) {
			t.Errorf("%d pages of frame %d were written: %q", pages, next.Seq, r.Damages)
		}
	}
}

func TestWhatTheFileGivesBackWrongIsNeverRead(t *testing.T) {
	path := filePlace(t)
	l := openSmall(t, smallConfig(3, 6, path))
	for serial := uint64(1); serial < 60; serial++ {
		appendAll(t, l, dataEntry(serial, 8))
	}
	if l.Usage().FileBytes == 0 {
		t.Fatal("nothing went to the file")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("a bad sector"), l.header.SlotAt(0)+5000); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	records, _, _, err := l.Read(1, Limit{Bytes: 1 << 20})
	if mustFault(t, err, "FS-1019"); len(records) > 0 {
		t.Errorf("%d records were given with the fault", len(records))
	}
	l.Reset(1000)
	appendAll(t, l, dataEntry(1, 8))
	if records, _, _, err := l.Read(1000, Limit{}); err != nil || len(records) != 1 {
		t.Errorf("after the reset: %d records, %v", len(records), err)
	}
}

func TestALogWhoseFileCannotBeWrittenGoesOnInMemory(t *testing.T) {
	l := openSmall(t, smallConfig(4, 6, filePlace(t)))
	handle := l.file.handle
	var err error
	if l.file.handle, err = os.Open(l.file.path); err != nil { // not for writing
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
	n := fillUp(t, l)
	u := l.Usage()
	if mustFault(t, u.File, "FS-1018"); u.FileBytes != 0 || u.Records != uint64(n) {
		t.Errorf("usage is %+v after %d writes", u, n)
	}
	for from := uint64(1); from <= uint64(n); {
		records, next, _, err := l.Read(from, Limit{Bytes: 1 << 20})
		if err != nil || len(records) == 0 {
			t.Fatalf("read from %d: %d records, %v", from, len(records), err)
		}
		from = next
	}
}

func TestALaterRunUsesTheFileAgainAndCallsItsFramesOld(t *testing.T) {
	path, _ := spilled(t)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := open(smallConfig(3, 4, path), smallPages, testTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was made anew: %v", err)
	}
	r := inspectFile(t, path)
	for _, f := range r.Frames {
		if f.State != SlotOld {
			t.Errorf("frame %d is called %s, want %s", f.Frame, f.State, SlotOld)
		}
	}
	if first, next := l.Span(); first != 1 || next != 1 || len(r.Frames) != 4 {
		t.Errorf("the new log spans %d to %d, %d frames are there", first, next, len(r.Frames))
	}
}

// FuzzInspect puts any body into a frame that is right around it, flips a byte and cuts the file.
func FuzzInspect(f *testing.F) {
	record := hrl.Record{Last: true}
	record.Extent.Count, record.Kind = 8, 1
	body := hrl.AppendHead(nil, record)
	f.Add(body, 1, -1, 1<<20)
	f.Add(append(body, body...), 2, 20000, 1<<20)
	f.Add(body, 1, -1, 20000)
	h := hrl.Header{Cookie: testCookie, Opened: testTime, FramePages: smallPages, Slots: 1, Disks: testDisks}
	head, err := h.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, records, flip, cut int) {
		slot := make([]byte, h.SlotBytes())
		hrl.Blank(slot, testCookie)
		hrl.Weave(slot, testCookie, hrl.Frame{Seq: 1, Run: h.Run(), First: 1, Records: max(records, 1)}, body[:min(len(body), hrl.BodyBytes(smallPages))])
		content := append(bytes.Clone(head), slot...)
		if flip >= 0 && flip < len(content) {
			content[flip] ^= 0x20
		}
		content = content[:min(max(cut, 0), len(content))]
		r, err := Inspect(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			var d *hrl.Damage
			if !errors.As(err, &d) {
				t.Fatalf("%v is no damage", err)
			}
			return
		}
		if err := r.Text(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
		if err := r.Replay(bytes.NewReader(content), func(uint64, hrl.Record) error { return nil }); err != nil {
			t.Fatalf("what was called right cannot be replayed: %v", err)
		}
	})
}
