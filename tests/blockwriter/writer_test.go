package blockwriter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// needsDirect gives a directory on a file system that can be written past the page cache.
func needsDirect(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		t.Skipf("SKIPPED: %s refuses O_DIRECT; set TMPDIR to a disk file system", dir)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func images(t *testing.T, dir string, n int, size int64) []string {
	t.Helper()
	var paths []string
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("disk%d.img", i))
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// background runs a writer until the test asks it to stop.
func background(t *testing.T, o Options) (w *Writer, stop func()) {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return w, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func readLog(t *testing.T, path string) []Run {
	t.Helper()
	runs, err := ReadLog(path)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestADirectoryHoldsWhatTheLogPromises(t *testing.T) {
	dir := needsDirect(t)
	log := filepath.Join(t.TempDir(), "log")
	o := Options{Dir: filepath.Join(dir, "d"), Log: log, RingBytes: 1 << 20, Seed: 3, Ops: 300}
	for range 2 { // the second instance leaves the first alone
		w, err := New(o)
		if err == nil {
			err = w.Run(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := VerifyDir(o.Dir, Question{Log: readLog(t, log)})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK || r.OlderRuns != 1 || r.Loss == nil || r.Loss.LostSeqs != 0 || r.Loss.RPOSeconds != 0 {
		t.Errorf("report %+v, loss %+v", r, r.Loss)
	}
}

func TestAHeldWriterHasEverythingOnDiskAndAddsNothing(t *testing.T) {
	dir := needsDirect(t)
	log := filepath.Join(t.TempDir(), "log")
	o := Options{Dir: dir, Log: log, RingBytes: 1 << 20, Seed: 5}
	w, stop := background(t, o)
	for range 3 {
		if err := w.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		state, err := ReadState(log + ".state")
		if err != nil || state.State != StateHeld || state.Instance != hex(w.Instance()) {
			t.Fatalf("state %+v, %v", state, err)
		}
		r, err := VerifyDir(dir, Question{Log: readLog(t, log)})
		if err != nil || !r.OK || state.Seq > 0 && (!r.AtHold || r.Loss.LostSeqs != 0) {
			t.Errorf("while held at %d: %+v, loss %+v, %v", state.Seq, r, r.Loss, err)
		}
		if err := w.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	state, err := ReadState(log + ".state")
	if err != nil || state.State != StateStopped {
		t.Errorf("state %+v, %v; want %s", state, err, StateStopped)
	}
	if runs := readLog(t, log); len(runs) != 1 || len(runs[0].Holds) != 3 || !runs[0].Stopped {
		t.Errorf("log %+v", runs)
	}
}

func TestAReplayOfTheLogIsTheDiskByteForByte(t *testing.T) {
	dir := needsDirect(t)
	const size = 2 << 20
	o := Options{Devices: images(t, dir, 2, size), Log: filepath.Join(dir, "log"), Seed: 11, Ops: 400}
	w, err := New(o)
	if err == nil {
		err = w.Run(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	run := readLog(t, o.Log)[0]
	outs := []string{filepath.Join(dir, "out0"), filepath.Join(dir, "out1")}
	end, _ := run.AckedBy(run.Acks[len(run.Acks)-1].Time)
	if err := Replay(run, end.Seq, size, outs); err != nil {
		t.Fatal(err)
	}
	for i := range outs {
		got, err1 := os.ReadFile(outs[i])
		want, err2 := os.ReadFile(o.Devices[i])
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
			t.Errorf("disk %d differs from its replay (%v)", i, err)
		}
	}
	middle := run.Acks[200]
	if err := Replay(run, middle.Seq, size, outs); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyDevicePaths(outs, Question{Log: []Run{run}})
	if err != nil || !r.OK || r.LastSeq != middle.Seq || r.Loss.LostSeqs != end.Seq-middle.Seq {
		t.Errorf("replay up to %d: %+v, loss %+v, %v", middle.Seq, r, r.Loss, err)
	}
	if want := end.Time.Sub(middle.Time).Seconds(); r.Loss.RPOSeconds != want {
		t.Errorf("recovery point objective %v s, want %v s", r.Loss.RPOSeconds, want)
	}
	if err := Replay(run, end.Seq+1, size, outs); err == nil {
		t.Error("a sequence number that was never logged was replayed")
	}
}

func TestDisksFromDifferentMomentsAreNoConsistentPoint(t *testing.T) {
	dir := needsDirect(t)
	const size = 1 << 20
	o := Options{Devices: images(t, dir, 2, size), Log: filepath.Join(dir, "log"), Seed: 17, Ops: 300}
	w, err := New(o)
	if err == nil {
		err = w.Run(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	run := readLog(t, o.Log)[0]
	early := []string{filepath.Join(dir, "early0"), filepath.Join(dir, "early1")}
	if err := Replay(run, run.Acks[250].Seq, size, early); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyDevicePaths([]string{o.Devices[0], early[1]}, Question{})
	if err != nil || r.OK {
		t.Errorf("disk 0 now with disk 1 fifty writes ago: %+v, %v", r, err)
	}
}

func TestOldContentOfADeviceIsLeftOutOfTheJudgement(t *testing.T) {
	dir := needsDirect(t)
	devices := images(t, dir, 1, 1<<20)
	if err := os.WriteFile(devices[0], bytes.Repeat([]byte("old"), 1<<20/3+1)[:1<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	for seed := range uint64(2) {
		w, err := New(Options{Devices: devices, Log: log, Seed: seed, Ops: 20})
		if err == nil {
			err = w.Run(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := VerifyDevicePaths(devices, Question{Log: readLog(t, log)})
		if err != nil || !r.OK || r.Instance != hex(w.Instance()) {
			t.Errorf("run %d: %+v, %v", seed, r, err)
		}
	}
}

func TestATornLastLineOfALogIsPassedOver(t *testing.T) {
	start := `{"kind":"start","instance":"0000000000000001","mode":"raw","span":64,"disks":1}` + "\n"
	rows := []struct {
		name, text string
		acks       int
		bad        bool
	}{
		{"a whole log", start + `{"kind":"ack","seq":1}` + "\n", 1, false},
		{"a torn last line", start + `{"kind":"ack","seq":1}` + "\n" + `{"kind":"a`, 1, false},
		{"a torn line before the next start", start + `{"ki` + "\n" + start, 0, false},
		{"a torn line in the middle", start + `{"ki` + "\n" + `{"kind":"ack","seq":1}` + "\n", 0, true},
		{"sequence numbers that fall", start + `{"kind":"ack","seq":2}` + "\n" + `{"kind":"ack","seq":1}` + "\n", 0, true},
		{"a record before the start", `{"kind":"ack","seq":2}` + "\n", 0, true},
	}
	for _, row := range rows {
		runs, err := parseLog(strings.NewReader(row.text))
		if (err != nil) != row.bad {
			t.Errorf("%s: %v", row.name, err)
		}
		if err == nil && len(runs[len(runs)-1].Acks) != row.acks {
			t.Errorf("%s: %d acknowledgements, want %d", row.name, len(runs[len(runs)-1].Acks), row.acks)
		}
	}
}

func TestAMissingDirectoryIsEverythingLost(t *testing.T) {
	run := Run{Instance: 1, Acks: []Ack{{Seq: 8}, {Seq: 16}}}
	r, err := VerifyDir(filepath.Join(t.TempDir(), "none"), Question{Log: []Run{run}})
	if err != nil || r.Found || r.Loss == nil || r.Loss.LostSeqs != 16 {
		t.Errorf("report %+v, loss %+v, %v", r, r.Loss, err)
	}
}

func TestAConsoleLineCarriesTheReport(t *testing.T) {
	r, err := ParseConsole("[  4.2] x " + ConsolePrefix + `{"ok":true,"lastSeq":7}` + "\r")
	if err != nil || !r.OK || r.LastSeq != 7 {
		t.Errorf("ParseConsole = %+v, %v", r, err)
	}
	if _, err := ParseConsole("login:"); err == nil {
		t.Error("a line without the prefix was read")
	}
}
