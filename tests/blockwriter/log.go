package blockwriter

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// The kinds of log record.
const (
	recordStart  = "start"  // a new instance; what follows belongs to it
	recordAck    = "ack"    // everything up to seq is durable
	recordHold   = "hold"   // everything up to seq is durable and nothing is written until the next resume
	recordResume = "resume" // writing goes on
	recordStop   = "stop"   // the writer ended in order
)

// record is one line of the log.
type record struct {
	Kind    string    `json:"kind"`
	Time    time.Time `json:"time"`
	Seq     uint64    `json:"seq,omitempty"`
	Barrier uint64    `json:"barrier,omitempty"`

	// Raw mode: where the acknowledged write went.
	Area  int    `json:"area,omitempty"`
	First uint64 `json:"first,omitempty"`
	Count uint64 `json:"count,omitempty"`

	// Kind start.
	Instance string `json:"instance,omitempty"`
	Started  uint64 `json:"started,omitempty"`
	Mode     string `json:"mode,omitempty"`
	Seed     uint64 `json:"seed,omitempty"`
	Span     uint64 `json:"span,omitempty"`
	Disks    int    `json:"disks,omitempty"`
}

// logFile appends records, each with one write call, so that a killed writer leaves at most one torn line.
type logFile struct{ file *os.File }

func openLog(path string) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the writer's log: %w", err)
	}
	l := &logFile{file: f}
	if err := l.endTornLine(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// endTornLine separates the new instance's records from a line that an earlier instance was killed in.
func (l *logFile) endTornLine() error {
	size, err := l.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("find the end of the writer's log: %w", err)
	}
	last := [1]byte{'\n'}
	if size > 0 {
		if _, err := l.file.ReadAt(last[:], size-1); err != nil {
			return fmt.Errorf("read the end of the writer's log: %w", err)
		}
	}
	if last[0] == '\n' {
		return nil
	}
	if _, err := l.file.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("end the torn line of the writer's log: %w", err)
	}
	return nil
}

func (l *logFile) append(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a log record: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("append to the writer's log: %w", err)
	}
	return nil
}

// Ack says that everything up to Seq was durable at Time.
type Ack struct {
	Seq     uint64
	Barrier uint64
	Time    time.Time
}

// Run is what the log says about one instance.
type Run struct {
	Instance uint64
	Started  uint64 // milliseconds of Unix time
	Shape    Shape
	Acks     []Ack    // in order
	Holds    []uint64 // the sequence numbers at which writing was held
	Stopped  bool     // the writer ended in order
}

// AckedBy gives the last acknowledgement at or before a time; the zero time means the end of the log.
func (r Run) AckedBy(t time.Time) (Ack, bool) {
	for i := len(r.Acks) - 1; i >= 0; i-- {
		if t.IsZero() || !r.Acks[i].Time.After(t) {
			return r.Acks[i], true
		}
	}
	return Ack{}, false
}

// ackedAt gives the last acknowledgement of a sequence number not above seq.
func (r Run) ackedAt(seq uint64) (Ack, bool) {
	for i := len(r.Acks) - 1; i >= 0; i-- {
		if r.Acks[i].Seq <= seq {
			return r.Acks[i], true
		}
	}
	return Ack{}, false
}

// ReadLog reads a writer's log. A line torn by a kill is passed over; anything else that is not a record is an error.
func ReadLog(path string) ([]Run, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the writer's log: %w", err)
	}
	runs, err := parseLog(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the writer's log %s: %w", path, err)
	}
	return runs, nil
}

func parseLog(r io.Reader) ([]Run, error) {
	var runs []Run
	torn := 0 // number of the line that could not be read, which only a start or the end may follow
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		var rec record
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil && torn == 0 {
			torn = n
			continue
		}
		if torn != 0 && rec.Kind != recordStart {
			return nil, fmt.Errorf("line %d is no record", torn)
		}
		torn = 0
		var err error
		if runs, err = runsWith(runs, rec); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	return runs, nil
}

// runsWith adds one record to what the log has said so far.
func runsWith(runs []Run, rec record) ([]Run, error) {
	if rec.Kind == recordStart {
		run, err := rec.run()
		if err != nil {
			return nil, err
		}
		return append(runs, run), nil
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("a record of kind %q before any start", rec.Kind)
	}
	run := &runs[len(runs)-1]
	if n := len(run.Acks); n > 0 && rec.Seq < run.Acks[n-1].Seq {
		return nil, fmt.Errorf("sequence number %d after %d", rec.Seq, run.Acks[n-1].Seq)
	}
	ack := Ack{Seq: rec.Seq, Barrier: rec.Barrier, Time: rec.Time}
	switch rec.Kind {
	case recordAck:
		run.Acks = append(run.Acks, ack)
	case recordHold:
		run.Acks, run.Holds = append(run.Acks, ack), append(run.Holds, rec.Seq)
	case recordStop:
		run.Acks, run.Stopped = append(run.Acks, ack), true
	case recordResume:
	default:
		return nil, fmt.Errorf("%q is no kind of record", rec.Kind)
	}
	return runs, nil
}

func (r record) run() (Run, error) {
	instance, err := strconv.ParseUint(r.Instance, 16, 64)
	if err != nil {
		return Run{}, fmt.Errorf("instance %q: %w", r.Instance, err)
	}
	shape := Shape{Seed: r.Seed, Span: r.Span, Disks: r.Disks, Mode: ModeRaw}
	if r.Mode == ModeDir.String() {
		shape.Mode = ModeDir
	}
	if err := shape.check(); err != nil {
		return Run{}, err
	}
	return Run{Instance: instance, Started: r.Started, Shape: shape}, nil
}
