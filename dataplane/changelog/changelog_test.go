package changelog

import (
	"errors"
	"os"
	"sync"
	"testing"

	"farshore/dataplane/block"
	"farshore/dataplane/hrl"
)

func TestAMachineThatKeepsUpWritesNothingToTheFile(t *testing.T) {
	path := filePlace(t)
	l := openSmall(t, smallConfig(8, 4, path))
	before := stamp(t, path)
	from := uint64(1)
	for i := range uint64(2000) {
		appendAll(t, l, dataEntry(i+1, 8))
		_, next, _, err := l.Read(from, Limit{Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		l.Trim(next - 1)
		from = next
	}
	if u := l.Usage(); u.Written != 0 || u.FileBytes != 0 {
		t.Errorf("%d bytes were written to the file, %d are in use", u.Written, u.FileBytes)
	}
	if after := stamp(t, path); after != before {
		t.Errorf("the file was changed at %v, it was made at %v", after, before)
	}
}

func stamp(t *testing.T, path string) string {
	t.Helper()
	state, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return state.ModTime().String()
}

func TestAppendingAndReadingAllocateNothingInTheSteadyState(t *testing.T) {
	l := openSmall(t, smallConfig(8, 0, ""))
	e, from := dataEntry(1, 8), uint64(1)
	turn := func() {
		for range 20 {
			if err := l.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			_, next, _, err := l.Read(from, Limit{Records: 1000, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			l.Trim(next - 1)
			from = next
		}
	}
	for range 50 {
		turn()
	}
	if n := testing.AllocsPerRun(200, turn); n > 0 {
		t.Errorf("20 writes, 4 reads and trims allocate %v times", n)
	}
}

func TestWhatDoesNotFitIntoMemoryComesBackFromTheFileInOrder(t *testing.T) {
	path := filePlace(t)
	c := Config{Path: path, Cookie: testCookie, Disks: testDisks, MemoryBytes: MinMemoryBytes, FileBytes: 24 << 20}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := story{first: 1}
	for serial := uint64(1); s.next() < 400; serial++ { // 400 records of up to 252 KiB do not fit into 5 MiB
		e := dataEntry(serial, []block.Count{8, 8, 8, 64, 2048, 500}[serial%6])
		_, before := l.Span()
		err := l.Append(e)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		_, after := l.Span()
		s.add(e, int(after-before))
	}
	u := l.Usage()
	if u.FileBytes == 0 || u.Written == 0 || u.File != nil {
		t.Fatalf("nothing went to the file: %+v", u)
	}
	report := inspectFile(t, path)
	if len(report.Damages) > 0 || len(report.Frames) == 0 {
		t.Fatalf("the file is reported as %q, %v", report.State, report.Damages)
	}
	replayed(t, path, report, &s)
	for from := uint64(1); from < s.next(); {
		records, next, _, err := l.Read(from, Limit{Records: 1024, Bytes: 960 << 10})
		if err != nil || len(records) == 0 {
			t.Fatalf("read from %d: %d records, %v", from, len(records), err)
		}
		if err := s.check(from, records); err != nil {
			t.Fatal(err)
		}
		from = next
		l.Trim(next - 1)
	}
	t.Logf("%d records, %d bytes went through the file", s.next()-1, u.Written)
}

// replayed checks that what stands in the file is the story, as far as it goes.
func replayed(t *testing.T, path string, report *Report, s *story) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := uint64(1)
	err = report.Replay(f, func(number uint64, r hrl.Record) error {
		if number != want {
			t.Fatalf("record %d is replayed, %d is next", number, want)
		}
		want++
		return s.check(number, []read{r.Record})
	})
	if err != nil || want == 1 {
		t.Fatalf("%d records were replayed: %v", want-1, err)
	}
}

func TestAFullLogKeepsNothingOfAWriteAndGoesOnWhenThereIsRoom(t *testing.T) {
	for name, c := range map[string]Config{"memory": smallConfig(4, 0, ""), "memory and file": smallConfig(4, 3, filePlace(t))} {
		l := openSmall(t, c)
		n := fillUp(t, l)
		first, next := l.Span()
		if first != 1 || next != uint64(n)+1 {
			t.Fatalf("%s: %d writes were taken, the log spans %d to %d", name, n, first, next)
		}
		if u := l.Usage(); u.MemoryBytes != u.MemoryBudget || u.FileBytes != u.FileBudget/int64(smallPages*hrl.PageBytes)*int64(smallPages*hrl.PageBytes) {
			t.Errorf("%s: full at %+v", name, u)
		}
		l.Trim(next - 2)
		if _, _, _, err := l.Read(next-1, Limit{}); err != nil { // what the last Read was given is given back
			t.Fatal(err)
		}
		appendAll(t, l, dataEntry(1, 8))
		if _, now := l.Span(); now != next+1 {
			t.Errorf("%s: the next record has the number %d, want %d", name, now-1, next)
		}
		t.Logf("%s: full after %d writes of 4 KiB", name, n)
	}
}

func TestReadingWhatIsNotHeldIsRefused(t *testing.T) {
	l := openSmall(t, smallConfig(4, 0, ""))
	appendAll(t, l, dataEntry(1, 8), dataEntry(2, 8), dataEntry(3, 8))
	l.Trim(1)
	for _, from := range []uint64{0, 1, 5} {
		if _, _, _, err := l.Read(from, Limit{}); !errors.Is(err, ErrNotHeld) {
			t.Errorf("record %d: %v, want %v", from, err, ErrNotHeld)
		}
	}
	l.Reset(10)
	if _, _, _, err := l.Read(2, Limit{}); !errors.Is(err, ErrNotHeld) {
		t.Errorf("after a reset: %v, want %v", err, ErrNotHeld)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := l.Read(10, Limit{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want %v", err, ErrClosed)
	}
	if err := l.Append(dataEntry(1, 8)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want %v", err, ErrClosed)
	}
}

// TestOneAppendsWhileAnotherReads lets both run freely; the log overflows into the file all the time. The race detector
// looks on.
func TestOneAppendsWhileAnotherReads(t *testing.T) {
	l := openSmall(t, smallConfig(6, 8, filePlace(t)))
	const writes = 6_000
	sizes := []block.Count{8, 8, 1, 64, 8, 120}
	var both sync.WaitGroup
	both.Go(func() {
		for serial := uint64(1); serial <= writes; {
			err := l.Append(dataEntry(serial, sizes[serial%6]))
			switch {
			case err == nil:
				serial++
			case errors.Is(err, ErrFull): // the reader is behind; here the agent would fall back to the bitmap
				if first, next := l.Span(); next-first == 0 {
					t.Errorf("full and empty at %d", next)
					return
				}
			default:
				t.Error(err)
				return
			}
		}
	})
	var s story
	from, serial, got := uint64(1), uint64(1), block.Count(0)
	for serial <= writes {
		records, next, _, err := l.Read(from, Limit{Records: 100, Bytes: 32 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			<-l.Grown()
			continue
		}
		s = story{first: from}
		for _, r := range records { // the story is told by the numbers in the data
			e := dataEntry(serial, sizes[serial%6])
			s.records = append(s.records, e)
			if got += r.Extent.Count; got == e.Extent.Count {
				serial, got = serial+1, 0
			}
		}
		if err := s.check(from, records); err != nil {
			t.Fatal(err)
		}
		l.Trim(next - 1)
		from = next
	}
	both.Wait()
	t.Logf("%d bytes went through the file", l.Usage().Written)
}

func TestAResetWhileOneAppendsAndAnotherReadsForgetsOnlyWhatWas(t *testing.T) {
	l := openSmall(t, smallConfig(5, 3, filePlace(t)))
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for serial := uint64(1); ; serial++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := l.Append(dataEntry(serial, 40)); err != nil && !errors.Is(err, ErrFull) {
				t.Error(err)
				return
			}
		}
	})
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			first, _ := l.Span()
			records, next, _, err := l.Read(first, Limit{Bytes: 16 << 10})
			if err != nil && !errors.Is(err, ErrNotHeld) {
				t.Error(err)
				return
			}
			for _, r := range records { // what is given stays as it is, whatever is reset
				if want := dataEntry(uint64(r.Extent.Start)/8, 40); string(r.Data[:8]) != string(want.Pieces[0][:8]) && r.Extent.Start%8 == 0 && r.Extent.Count == 40 {
					t.Errorf("record at %v begins with %x, want %x", r.Extent, r.Data[:8], want.Pieces[0][:8])
					return
				}
			}
			if next > first {
				l.Trim(next - 1)
			}
		}
	})
	for range 300 {
		_, next := l.Span()
		l.Reset(next + 1000)
		<-l.Grown()
	}
	close(stop)
	all.Wait()
}
