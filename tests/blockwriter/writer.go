package blockwriter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultRingBytes is the size of both rings together in dir mode.
const DefaultRingBytes = 16 << 20

// Options say what a writer writes to and how.
type Options struct {
	Dir       string   // dir mode: the directory, made if it is missing
	Devices   []string // raw mode: devices or image files, in the order that gives them their numbers
	Log       string   // the log; it must be on a disk that is not written to
	State     string   // the state file; empty means the log's name with ".state" behind it
	Rate      int      // operations per second; 0 means as fast as possible
	RingBytes int64    // dir mode: both rings together; 0 means [DefaultRingBytes]
	Seed      uint64   // of the schedule
	Ops       uint64   // operations after which to stop; 0 means never
}

func (o Options) check() error {
	switch {
	case (o.Dir == "") == (len(o.Devices) == 0):
		return errors.New("name either a directory or devices")
	case o.Log == "":
		return errors.New("name a log on another disk")
	case o.Rate < 0:
		return fmt.Errorf("%d operations per second make no sense", o.Rate)
	}
	return nil
}

// State is the content of the state file: what the writer is doing. It is replaced as a whole.
type State struct {
	State    string    `json:"state"` // [StateRunning], [StateHeld] or [StateStopped]
	PID      int       `json:"pid"`
	Instance string    `json:"instance"` // in hexadecimal
	Seq      uint64    `json:"seq"`      // the last sequence number used; durable if held or stopped
	Time     time.Time `json:"time"`
}

// The states of a writer.
const (
	StateRunning = "running"
	StateHeld    = "held"
	StateStopped = "stopped"
)

// ReadState reads a state file.
func ReadState(path string) (State, error) {
	var s State
	raw, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read the writer's state: %w", err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("read the writer's state %s: %w", path, err)
	}
	return s, nil
}

// request asks a running writer to hold or to go on.
type request struct {
	hold bool
	done chan error
}

// Writer carries out a schedule. Make one with [New], start it with [Writer.Run].
type Writer struct {
	options  Options
	requests chan request

	instance uint64
	target   target
	schedule *Schedule
	ledger   *ledger
	log      *logFile
	buffer   []byte // aligned for O_DIRECT
	seq      uint64 // last one used
	held     bool
}

// New checks the options and makes a writer of a new instance; nothing is written before Run.
func New(options Options) (*Writer, error) {
	if err := options.check(); err != nil {
		return nil, fmt.Errorf("make a writer: %w", err)
	}
	if options.State == "" {
		options.State = options.Log + ".state"
	}
	if options.RingBytes == 0 {
		options.RingBytes = DefaultRingBytes
	}
	var id [8]byte
	rand.Read(id[:])
	return &Writer{options: options, requests: make(chan request), instance: binary.LittleEndian.Uint64(id[:])}, nil
}

// Instance gives the number of the instance.
func (w *Writer) Instance() uint64 { return w.instance }

// Hold makes the running writer finish its operation, make everything durable and stop writing. When it returns,
// the log and the state file say so.
func (w *Writer) Hold(ctx context.Context) error { return w.ask(ctx, true) }

// Resume lets a held writer go on.
func (w *Writer) Resume(ctx context.Context) error { return w.ask(ctx, false) }

func (w *Writer) ask(ctx context.Context, hold bool) error {
	r := request{hold: hold, done: make(chan error, 1)}
	select {
	case w.requests <- r:
		return <-r.done
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer: %w", ctx.Err())
	}
}

// Run writes until the context ends or the operations are used up; both are a nil error.
func (w *Writer) Run(ctx context.Context) error {
	if err := w.open(); err != nil {
		return fmt.Errorf("start the writer: %w", errors.Join(err, w.close()))
	}
	err := w.loop(ctx)
	if err == nil {
		err = w.settle(recordStop, StateStopped)
	}
	if err := errors.Join(err, w.close()); err != nil {
		return fmt.Errorf("run the writer: %w", err)
	}
	return nil
}

func (w *Writer) open() error {
	started := uint64(time.Now().UnixMilli())
	shape := Shape{Mode: ModeDir, Seed: w.options.Seed, Span: uint64(w.options.RingBytes) / 2 / BlockSize, Disks: dirAreas}
	var err error
	if len(w.options.Devices) > 0 {
		shape.Mode, shape.Disks = ModeRaw, len(w.options.Devices)
		if w.target, shape.Span, err = wrapDevices(w.options.Devices); err != nil {
			return err
		}
	}
	if w.schedule, err = NewSchedule(shape); err != nil {
		return err
	}
	if shape.Mode == ModeDir {
		d, err := makeDirectory(w.options.Dir, instanceName(started, w.instance))
		if err != nil {
			return err
		}
		w.target = d
	}
	w.ledger = newLedger(shape, w.instance, started)
	if w.buffer, err = unix.Mmap(-1, 0, maxRunBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		return fmt.Errorf("get an aligned buffer: %w", err)
	}
	if w.log, err = openLog(w.options.Log); err != nil {
		return err
	}
	start := record{
		Kind: recordStart, Time: time.Now().UTC(), Instance: hex(w.instance), Started: started,
		Mode: shape.Mode.String(), Seed: shape.Seed, Span: shape.Span, Disks: shape.Disks,
	}
	if err := w.log.append(start); err != nil {
		return err
	}
	return w.tell(StateRunning)
}

// wrapDevices keeps a nil *devices out of the target interface.
func wrapDevices(paths []string) (target, uint64, error) {
	d, span, err := openDevices(paths)
	if err != nil {
		return nil, 0, err
	}
	return d, span, nil
}

func (w *Writer) close() error {
	var errs []error
	if w.target != nil {
		errs = append(errs, w.target.Close())
	}
	if w.log != nil {
		errs = append(errs, w.log.file.Close())
	}
	if w.buffer != nil {
		errs = append(errs, unix.Munmap(w.buffer))
	}
	return errors.Join(errs...)
}

func (w *Writer) loop(ctx context.Context) error {
	pace := newPace(w.options.Rate)
	for n := uint64(0); w.options.Ops == 0 || n < w.options.Ops; n++ {
		if err := w.wait(ctx, pace); errors.Is(err, errEnd) {
			return nil
		} else if err != nil {
			return err
		}
		if err := w.step(); err != nil {
			return err
		}
	}
	return nil
}

// errEnd ends the loop in order.
var errEnd = errors.New("the writer is asked to end")

// wait answers requests until the next operation is due.
func (w *Writer) wait(ctx context.Context, pace *pace) error {
	due := time.NewTimer(pace.next(time.Now()))
	defer due.Stop()
	for {
		timer := due.C
		if w.held {
			timer = nil
		}
		select {
		case <-ctx.Done():
			return errEnd
		case r := <-w.requests:
			err := w.answer(r)
			r.done <- err
			if err != nil {
				return err
			}
		case <-timer:
			return nil
		}
	}
}

func (w *Writer) answer(r request) error {
	if r.hold == w.held {
		return nil
	}
	w.held = r.hold
	if r.hold {
		return w.settle(recordHold, StateHeld)
	}
	if err := w.log.append(record{Kind: recordResume, Time: time.Now().UTC(), Seq: w.seq}); err != nil {
		return err
	}
	return w.tell(StateRunning)
}

// settle makes everything durable, then says so in the log and in the state file.
func (w *Writer) settle(kind, state string) error {
	if err := w.target.sync(); err != nil {
		return err
	}
	if err := w.log.append(record{Kind: kind, Time: time.Now().UTC(), Seq: w.seq}); err != nil {
		return err
	}
	return w.tell(state)
}

// step carries out one operation and logs it if it is durable.
func (w *Writer) step() error {
	op := w.schedule.Next()
	blocks := w.buffer[:0]
	for i := range op.Count {
		stamp := w.ledger.enter(op, i)
		if op.stamps() {
			blocks = blocks[:len(blocks)+BlockSize]
			stamp.Encode(blocks[len(blocks)-BlockSize:])
		}
	}
	if err := w.target.apply(op, blocks); err != nil {
		return err
	}
	w.seq = op.Last()
	if op.Ends {
		if err := w.target.sync(); err != nil {
			return err
		}
	}
	ack := record{Kind: recordAck, Seq: w.seq, Barrier: op.Barrier}
	if w.schedule.shape.Mode == ModeRaw {
		ack.Area, ack.First, ack.Count = op.Area, op.First, op.Count
	} else if !op.Ends {
		return nil // a buffered write before this operation may not be durable yet
	}
	ack.Time = time.Now().UTC()
	return w.log.append(ack)
}

// tell replaces the state file.
func (w *Writer) tell(state string) error {
	raw, err := json.Marshal(State{State: state, PID: os.Getpid(), Instance: hex(w.instance), Seq: w.seq, Time: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode the writer's state: %w", err)
	}
	temp := w.options.State + ".new"
	if err := os.WriteFile(temp, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the writer's state: %w", err)
	}
	if err := os.Rename(temp, w.options.State); err != nil {
		return fmt.Errorf("put the writer's state in place: %w", err)
	}
	return nil
}

// maxLag is how far a writer may fall behind its rate before it gives up catching up.
const maxLag = time.Second

// pace spreads operations over time.
type pace struct {
	interval time.Duration
	due      time.Time
}

func newPace(rate int) *pace {
	if rate == 0 {
		return &pace{}
	}
	return &pace{interval: time.Second / time.Duration(rate)}
}

// next says how long to wait for the next operation.
func (p *pace) next(now time.Time) time.Duration {
	if p.due = p.due.Add(p.interval); now.Sub(p.due) > maxLag {
		p.due = now
	}
	return max(0, p.due.Sub(now))
}
