package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/fault"
)

func text(s string, n block.Count) []byte { return bytes.Repeat([]byte(s), int(n.Bytes())/len(s)) }

// examples is one message of each type.
func examples() map[string]session.Message {
	disks := []segment.Disk{{ID: "WD-1", Sectors: 1 << 30, Clean: true}, {ID: "WD-2", Sectors: 8, Joining: true}}
	wall := time.Date(2026, 5, 4, 3, 2, 1, 9, time.UTC)
	return map[string]session.Message{
		"hello":  &session.Hello{Machine: "web-01", Session: 7, Ticket: []byte(`{"machine":"web-01"}`), Disks: disks},
		"opened": &session.Opened{Session: 7, Generation: 1, Epoch: 3, ResumeLSN: 1 << 40, Last: farshore.Position{Generation: 1, Epoch: 2, Seq: 1 << 34}, TailClean: true, NewGeneration: true, WindowBytes: 32 << 20},
		"batch": &session.Batch{Number: 9, Jump: true, FirstLSN: 5, LastLSN: 7, Boot: time.Hour, Records: []segment.Record{
			{Disk: 0, Extent: block.Extent{Start: 1 << 29, Count: 2}, Data: text("data", 2)},
			{Disk: 1, Extent: block.Extent{Start: 0, Count: segment.MaxExtent}, Kind: block.Unspecified},
			{Disk: 1, Extent: block.Extent{Start: 4, Count: 1}, Data: text("last", 1)},
		}},
		"cut":     &session.Cut{Number: 10, Marker: true, Consistency: farshore.AppConsistent, Label: "before the upgrade", Boot: time.Minute, Wall: wall, Disks: disks},
		"cached":  &session.Cached{Number: 10},
		"durable": &session.Durable{Session: 7, Position: farshore.Position{Generation: 1, Epoch: 3, Seq: 1 << 33}, Hash: segment.Hash{1, 2, 3}, Through: 10, LSN: 7, Cut: true, Clean: true, UTC: wall},
		"fenced":  &session.Fenced{Session: 7},
		"refused": &session.Refused{Fault: fault.Fault{Code: "FS-2005", Kind: fault.Operator, Subject: "machine web-01", What: "not wanted here", Remedy: "protect it"}},
		"ping":    &session.Ping{},
		"pong":    &session.Pong{},
		"want":    &session.Want{Disk: "WD-2", Number: 70},
		"keep":    &session.Keep{Object: []byte(`{"payload":"","signature":{}}`)},
		"kept":    &session.Kept{Why: "the vault is away"},
		"offer":   &session.Offer{Want: session.Want{Number: 1}, Object: []byte(`{"payload":""}`)},
	}
}

func read(frame []byte) (session.Message, error) { return NewReader(bytes.NewReader(frame)).Next() }

func frame(t testing.TB, m session.Message) []byte {
	t.Helper()
	b, err := Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryMessageSurvivesItsFrame(t *testing.T) {
	for name, m := range examples() {
		got, err := read(frame(t, m))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("%s: -sent +read\n%s", name, diff)
		}
	}
}

// TestFramesAreThoseOfVersionOne holds the bytes: an agent and a process server of different releases must understand
// each other. A change here is a new version.
func TestFramesAreThoseOfVersionOne(t *testing.T) {
	for name, m := range examples() {
		path := filepath.Join("testdata", name+".hex")
		got := frame(t, m)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, []byte(dump(got)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != dump(got) {
			t.Errorf("%s:\n got %s\nwant %s", name, dump(got), want)
		}
	}
}

// dump writes 16 bytes on a line.
func dump(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		n := min(16, len(b))
		out.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return out.String()
}

func TestReaderSaysWhatIsWrongWithAFrame(t *testing.T) {
	all := examples()
	spoil := func(name string, change func(b []byte) []byte) []byte { return change(frame(t, all[name])) }
	set := func(at int, v byte) func([]byte) []byte { return func(b []byte) []byte { b[at] = v; return b } }
	longer := func(b []byte) []byte { b[8]++; return append(b, 0) }
	shorter := func(b []byte) []byte { b[8]--; return b[:len(b)-1] }
	rows := []struct {
		name, want string
		bytes      []byte
	}{
		{"an HTTP request", "it begins with 47455420", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"a TLS hello", "it begins with 16030100", []byte("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x00")},
		{"another version", "2, this program speaks 1", spoil("ping", set(3, 2))},
		{"an unknown type", "no such type", spoil("ping", set(4, 15))},
		{"type 0", "no such type", spoil("ping", set(4, 0))},
		{"reserved bytes", "reserved bytes are 000001", spoil("ping", set(7, 1))},
		{"a length of 4 GiB", "a body of 4278190088 bytes, at most 64", spoil("cached", set(11, 0xff))},
		{"a batch of 17 MiB", "at most 1048576", spoil("batch", set(11, 1))},
		{"cut off in the header", "unexpected EOF", frame(t, &session.Ping{})[:11]},
		{"cut off in the body", "unexpected EOF", frame(t, all["cached"])[:19]},
		{"a field missing", "it is cut off", spoil("opened", shorter)},
		{"a byte too many", "1 bytes too many", spoil("opened", longer)},
		{"unknown flags", "unknown flags 0x4", spoil("durable", func(b []byte) []byte { b[len(b)-1] = 4; return b })},
		{"an unknown consistency", "unknown consistency", spoil("cut", set(HeaderBytes+25, 3))},
		{"an unknown kind of fault", "unknown kind of fault", spoil("refused", set(HeaderBytes, 5))},
		{"a text longer than its limit", "at most 1024", spoil("refused", set(HeaderBytes+2, 9))},
		{"too many disks", "129 disks", spoil("hello", set(HeaderBytes+8+2+6+2+20, 129))},
		{"a batch of half a header", "shorter than a batch", []byte("FSR\x01\x03\x00\x00\x00\x01\x00\x00\x00x")},
		{"batch flags", "unknown flags", spoil("batch", set(HeaderBytes+32, 4))},
		{"batch reserved bytes", "reserved bytes", spoil("batch", set(HeaderBytes+39, 1))},
		{"too many records", "4099 records", spoil("batch", set(HeaderBytes+35, 16))},
		{"more extents than bytes", "shorter than its 255 extents", spoil("batch", set(HeaderBytes+34, 255))},
		{"an unknown kind", "unknown kind", spoil("batch", set(HeaderBytes+batchHeaderBytes+14, 3))},
		{"data too short", "shorter than its extents", spoil("batch", set(HeaderBytes+batchHeaderBytes+8, 200))},
		{"a want of a long name", "at most 64", spoil("want", set(HeaderBytes, 65))},
		{"a want cut off", "it is cut off", spoil("want", shorter)},
		{"a want and more", "1 bytes too many", spoil("want", longer)},
		{"an offer of half a number", "it is cut off", spoil("offer", func(b []byte) []byte { b[8] = 4; return b[:HeaderBytes+4] })},
		{"an offer of 2 MiB", "at most 131142", spoil("offer", set(10, 32))},
		{"data too long", "bytes of data too many", spoil("batch", set(HeaderBytes+batchHeaderBytes+8, 1))},
	}
	for _, r := range rows {
		m, err := read(r.bytes)
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, %v, want %q", r.name, m, err, r.want)
		}
	}
	if _, err := read([]byte("GET / HTTP/1.1\r\n")); !errors.Is(err, ErrNotProtocol) {
		t.Errorf("an HTTP request: %v, want ErrNotProtocol", err)
	}
	if _, err := read(nil); !errors.Is(err, io.EOF) {
		t.Errorf("the end between two frames: %v, want EOF", err)
	}
}

func TestAppendRefusesWhatTheReaderWouldRefuse(t *testing.T) {
	long := make([]segment.Record, session.MaxBatchRecords+1)
	heavy := &session.Batch{Records: []segment.Record{{Data: make([]byte, session.MaxBatchBytes+1)}}}
	rows := map[string]session.Message{
		"records":     &session.Batch{Records: long},
		"data":        heavy,
		"sectors":     &session.Batch{Records: []segment.Record{{Kind: block.Zero, Extent: block.Extent{Count: 1 << 32}}}},
		"ticket":      &session.Hello{Ticket: make([]byte, session.MaxTicketBytes+1)},
		"disks":       &session.Hello{Disks: make([]segment.Disk, segment.MaxDisks+1)},
		"object":      &session.Offer{Object: make([]byte, session.MaxOfferBytes+1)},
		"label":       &session.Cut{Label: strings.Repeat("x", segment.MaxLabelBytes+1)},
		"consistency": &session.Cut{Consistency: "nice"},
	}
	for name, m := range rows {
		if _, err := Append(nil, m); err == nil {
			t.Errorf("too many %s: written", name)
		}
	}
	r := &session.Refused{Fault: fault.Fault{Kind: fault.Operator, What: strings.Repeat("x", 5000), Err: io.EOF}}
	if _, err := read(frame(t, r)); err != nil {
		t.Errorf("a fault of many words: %v", err)
	}
}

func TestAnyBatchSurvives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := &session.Batch{
			Number: rapid.Uint64().Draw(rt, "number"), Copy: rapid.Bool().Draw(rt, "copy"), Jump: rapid.Bool().Draw(rt, "jump"),
			FirstLSN: farshore.LSN(rapid.Uint64().Draw(rt, "first")), LastLSN: farshore.LSN(rapid.Uint64().Draw(rt, "last")),
			Boot: time.Duration(rapid.Int64().Draw(rt, "boot")),
		}
		for range rapid.IntRange(0, 40).Draw(rt, "records") {
			r := segment.Record{
				Disk: rapid.Uint16().Draw(rt, "disk"), Kind: block.Kind(rapid.IntRange(0, block.Kinds-1).Draw(rt, "kind")),
				Extent: block.Extent{Start: block.Sector(rapid.Uint64().Draw(rt, "start")), Count: block.Count(rapid.IntRange(0, 4).Draw(rt, "count"))},
			}
			if r.Kind == block.Data {
				r.Data = text(rapid.StringMatching(`[a-z]{4}`).Draw(rt, "text"), r.Extent.Count)
			}
			b.Records = append(b.Records, r)
		}
		written, err := Append(nil, b)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := read(written)
		if err != nil {
			rt.Fatal(err)
		}
		again, err := Append(nil, got)
		if err != nil || !bytes.Equal(written, again) {
			rt.Fatalf("the batch changed on its way: %v", err)
		}
	})
}

// FuzzReader feeds the reader anything. What it takes, it can write again, byte for byte.
func FuzzReader(f *testing.F) {
	for _, m := range examples() {
		f.Add(frame(f, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := read(b)
		if err != nil {
			return
		}
		if _, refused := m.(*session.Refused); refused {
			return // its texts may be cut
		}
		again, err := Append(nil, m)
		if err != nil || !bytes.HasPrefix(b, again) {
			t.Fatalf("%+v was read, but is written as %x (%v)", m, again, err)
		}
	})
}

func blocks63() *session.Batch {
	b := &session.Batch{Number: 1, FirstLSN: 1, LastLSN: 63}
	for i := range 63 {
		b.Records = append(b.Records, segment.Record{Extent: block.Extent{Start: block.Sector(i * 800), Count: 8}, Data: text("data", 8)})
	}
	return b
}

type endless struct {
	frame []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frame[e.at:])
	e.at = (e.at + n) % len(e.frame)
	return n, nil
}

func TestBatchesAreReadAndWrittenWithoutAllocation(t *testing.T) {
	b := blocks63()
	buffer := frame(t, b)
	r := NewReader(&endless{frame: bytes.Clone(buffer)})
	n := testing.AllocsPerRun(100, func() {
		var err error
		if buffer, err = Append(buffer[:0], b); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per batch of 63 blocks, want 0", n)
	}
}

func BenchmarkBatchOf63Blocks(b *testing.B) {
	batch := blocks63()
	buffer := frame(b, batch)
	r := NewReader(&endless{frame: bytes.Clone(buffer)})
	b.SetBytes(63 * 4096)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buffer, err = Append(buffer[:0], batch); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
