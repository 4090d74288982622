package sink

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"farshore"
)

// forgetful is a medium that loses what was not flushed when the power fails.
type forgetful struct {
	stable, now []byte
	broken      error // of the next flush
}

func (f *forgetful) ReadAt(p []byte, at int64) (int, error)  { return copy(p, f.now[at:]), nil }
func (f *forgetful) WriteAt(p []byte, at int64) (int, error) { return copy(f.now[at:], p), nil }
func (f *forgetful) Zero(at, n int64) error                  { clear(f.now[at : at+n]); return nil }
func (f *forgetful) Size() (int64, error)                    { return int64(len(f.now)), nil }
func (f *forgetful) Fit(int64) error                         { return nil }
func (f *forgetful) Uncache() error                          { return nil }
func (f *forgetful) Close() error                            { return nil }

func (f *forgetful) Flush() error {
	if f.broken == nil {
		f.stable = slices.Clone(f.now)
	}
	return f.broken
}

// taken is a sink on such a medium, as a new process takes it after the power failed.
func (f *forgetful) taken(t *testing.T, dir string) *handle {
	t.Helper()
	f.now = slices.Clone(f.stable)
	s := Sink{Disk: "sda", Kind: farshore.HomeDevice, Path: "/dev/disk/by-id/forgetful", Sectors: sectors}
	d := &taken{sink: s, dir: dir, medium: f}
	ours, err := d.load()
	if err != nil {
		t.Fatal(err)
	}
	if ours {
		err = d.resume("serial-1")
	} else {
		d.record = record{Version: recordVersion, Machine: web, Disk: s.Disk, Kind: s.Kind, Path: s.Path, Identity: "serial-1", Sectors: sectors}
		err = d.begin(name, sectors)
	}
	h := &handle{taken: d}
	if err := errors.Join(err, h.Fence(t.Context())); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAStateSaysNothingThatAPowerCutTakesBack(t *testing.T) {
	f, dir := &forgetful{stable: bytes.Repeat([]byte("old"), int(sectors.Bytes())/3+1)[:sectors.Bytes()]}, t.TempDir()
	h := f.taken(t, dir)
	content := bytes.Repeat([]byte("n"), 1<<20)
	if err := errors.Join(h.WriteAt(t.Context(), content, 0), h.SetState(t.Context(), []byte("one"))); err != nil {
		t.Fatal(err)
	}
	h = f.taken(t, dir)
	got := make([]byte, 2<<20)
	if err := h.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, append(content, make([]byte, 1<<20)...)) {
		t.Errorf("behind a state: the disk holds something else, %v", err)
	}
	// A flush that fails: neither the state nor what is known may be stored.
	if err := h.WriteAt(t.Context(), content, 2048); err != nil {
		t.Fatal(err)
	}
	f.broken = errors.New("the medium is gone")
	if err := h.SetState(t.Context(), []byte("two")); err == nil {
		t.Error("a state was stored though the disk was not flushed")
	}
	f.broken = nil
	h = f.taken(t, dir)
	if state, err := h.State(t.Context()); err != nil || string(state) != "one" {
		t.Errorf("state %q, %v", state, err)
	}
	if err := h.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, append(content, make([]byte, 1<<20)...)) {
		t.Errorf("behind a flush that failed: the disk counts as holding something else, %v", err)
	}
}
