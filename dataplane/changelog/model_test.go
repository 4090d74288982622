package changelog

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

type read = segment.Record

// model drives a log and a story side by side.
type model struct {
	log    *Log
	story  story
	serial uint64
	from   uint64 // where reading goes on
}

func (m *model) append(t *rapid.T) {
	m.serial++
	kind := block.Kind(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(t, "kind"))
	count := rapid.SampledFrom([]block.Count{1, 8, 8, 8, 16, 63, 64, 200, 500}).Draw(t, "sectors")
	if kind != block.Data && rapid.Bool().Draw(t, "long") {
		count = 5 << 30
	}
	e := entry(m.serial, uint16(m.serial%2), block.Extent{Start: block.Sector(m.serial * 7), Count: count}, kind)
	_, before := m.log.Span()
	usage := m.log.Usage()
	err := m.log.Append(e)
	_, after := m.log.Span()
	if errors.Is(err, ErrFull) {
		if after != before {
			t.Fatalf("the log was full and kept %d records of the entry", after-before)
		}
		if usage.MemoryBytes == 0 && len(e.Pieces) < 32 { // longer ones may be more than all memory
			t.Fatalf("full with nothing in memory: %+v", usage)
		}
		return
	}
	if err != nil || after == before {
		t.Fatalf("append gave %v and %d records", err, after-before)
	}
	m.story.add(e, int(after-before))
}

func (m *model) read(t *rapid.T) {
	limit := Limit{Records: rapid.IntRange(0, 40).Draw(t, "records"), Bytes: rapid.IntRange(0, 1<<16).Draw(t, "bytes")}
	if rapid.IntRange(0, 3).Draw(t, "again") == 0 && m.story.next() > m.story.first { // as a new session does
		m.from = m.story.first + uint64(rapid.IntRange(0, len(m.story.records)).Draw(t, "from"))
	}
	records, next, boot, err := m.log.Read(m.from, limit)
	if err != nil {
		t.Fatalf("read from %d: %v", m.from, err)
	}
	if err := m.story.check(m.from, records); err != nil {
		t.Fatal(err)
	}
	if next != m.from+uint64(len(records)) || len(records) == 0 && m.from != m.story.next() {
		t.Fatalf("read %d records from %d to %d, the log ends at %d", len(records), m.from, next, m.story.next())
	}
	if len(records) > 0 {
		m.checkEnd(t, next, boot, records, limit)
	}
	m.from = next
}

// checkEnd checks that an entry is split only if it is larger than the limit, and that this is said.
func (m *model) checkEnd(t *rapid.T, next uint64, boot time.Duration, records []read, limit Limit) {
	last := m.story.records[next-1-m.story.first]
	ends := next == m.story.next() || m.story.records[next-m.story.first].Boot != last.Boot
	if m.log.Whole() != ends || boot != last.Boot {
		t.Fatalf("read up to %d: whole %v, want %v; boot %v, want %v", next, m.log.Whole(), ends, boot, last.Boot)
	}
	bytes := 0
	for _, r := range records {
		bytes += len(r.Data)
	}
	limit = limit.within(m.log.pages)
	if len(records) > 1 && (limit.Records > 0 && len(records) > limit.Records || bytes > limit.Bytes) {
		t.Fatalf("%d records of %d bytes, the limit was %+v", len(records), bytes, limit)
	}
	if !ends && m.story.records[m.from-m.story.first].Boot != last.Boot {
		t.Fatalf("an entry is split at %d, and more than it was given", next)
	}
	size := int(last.Extent.Count.Bytes())
	n := 0
	for _, r := range m.story.records {
		if r.Boot == last.Boot {
			n++
		}
	}
	if !ends && (last.Kind != block.Data || size <= limit.Bytes) && (limit.Records == 0 || n <= limit.Records) {
		t.Fatalf("an entry of %d bytes in %d records is split at %d by the limit %+v", size, n, next, limit)
	}
}

func (m *model) trim(t *rapid.T) {
	through := m.story.first - 1 + uint64(rapid.IntRange(0, len(m.story.records)).Draw(t, "trim"))
	m.log.Trim(through)
	m.story.records = m.story.records[through+1-m.story.first:]
	m.story.first = through + 1
	m.from = max(m.from, m.story.first)
}

func (m *model) reset(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "reset") > 0 {
		return
	}
	next := m.story.next() + uint64(rapid.IntRange(0, 5).Draw(t, "jump"))
	m.log.Reset(next)
	m.story, m.from = story{first: next}, next
}

func (m *model) check(t *rapid.T) {
	first, next := m.log.Span()
	if first != m.story.first || next != m.story.next() {
		t.Fatalf("the log spans %d to %d, want %d to %d", first, next, m.story.first, m.story.next())
	}
	if u := m.log.Usage(); u.MemoryBytes > u.MemoryBudget || u.FileBytes > u.FileBudget || u.File != nil || u.Records != next-first {
		t.Fatalf("usage is %+v", u)
	}
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"append": m.append, "append more": m.append, "append most": m.append, "read": m.read, "read on": m.read, "trim": m.trim, "reset": m.reset, "": m.check,
	}
}

func TestALogInMemoryAgreesWithItsStory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := open(smallConfig(4, 0, ""), smallPages, testTime)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		m := &model{log: l, story: story{first: 1}, from: 1}
		t.Repeat(m.actions())
	})
}

func TestALogWithAFileAgreesWithItsStory(t *testing.T) {
	path := filePlace(t)
	rapid.Check(t, func(t *rapid.T) {
		l, err := open(smallConfig(3, 4, path), smallPages, testTime)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		m := &model{log: l, story: story{first: 1}, from: 1}
		t.Repeat(m.actions())
	})
}
