package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"farshore/fault"
)

// Freezer holds file systems still. It owns the watchdog process; call [Freezer.Close] to end it. It is not safe for
// concurrent use.
type Freezer struct {
	command []string
	process *exec.Cmd // nil until the first freeze and after a watchdog was lost
	orders  *os.File
	answers *json.Decoder
	pipe    *os.File // answers come from here
	points  []string // what the watchdog was last told to freeze
	record  string   // file that says so to others; "": none
}

// NewFreezer takes the command line that makes a process serve as the watchdog (see [ServeWatchdog]): this program's own
// executable and its hidden verb.
func NewFreezer(command ...string) *Freezer { return &Freezer{command: command} }

// Freeze freezes the file systems in the given order, for at most the bound. The skipped ones know no freezing (vfat).
// When it fails, nothing is frozen. The error is a *fault.Fault (FS-1002).
func (f *Freezer) Freeze(ctx context.Context, systems []FileSystem, bound time.Duration) (skipped []string, err error) {
	if len(systems) == 0 {
		return nil, nil
	}
	f.points = f.points[:0]
	for _, fs := range systems {
		f.points = append(f.points, fs.MountPoint)
	}
	var a answer
	err = f.remember()
	if err == nil {
		a, err = f.ask(ctx, order{Freeze: f.points, Bound: bound.Milliseconds()})
	}
	if err == nil && a.Failure != "" {
		err = errors.Join(errors.New(a.Failure), f.forget())
	}
	if err != nil {
		f.points = f.points[:0]
		return nil, &fault.Fault{
			Code: "FS-1002", Kind: fault.Transient, Subject: "file systems of the protected disks",
			What: "they could not be held still for a cut", Remedy: "see who writes that much, or raise freezeBoundMillis in the agent's configuration", Err: err,
		}
	}
	return a.Skipped, nil
}

// Extend holds what is frozen for the bound from now on, whatever bound it was frozen with. Held is false if it was let go
// before.
func (f *Freezer) Extend(ctx context.Context, bound time.Duration) (held bool, err error) {
	if len(f.points) == 0 {
		return true, nil
	}
	a, err := f.ask(ctx, order{Extend: true, Bound: bound.Milliseconds()})
	return a.Held && err == nil, err
}

// Thaw lets the file systems go. Held is false if they were let go before: the bound was over, or the watchdog was lost.
func (f *Freezer) Thaw(ctx context.Context) (held bool, err error) {
	if len(f.points) == 0 {
		return true, nil
	}
	a, err := f.ask(ctx, order{})
	if err == nil {
		err = f.forget()
	}
	f.points = f.points[:0]
	return a.Held && err == nil, err
}

// ask sends an order to the watchdog, starting it if need be, and waits for its answer. A lost watchdog has everything
// that it had frozen thawed here, after its end: until then a freeze of its may still be under way.
func (f *Freezer) ask(ctx context.Context, o order) (answer, error) {
	if f.process == nil {
		if err := f.start(); err != nil {
			return answer{}, err
		}
	}
	stop := context.AfterFunc(ctx, func() {
		if err := f.pipe.SetReadDeadline(time.Unix(1, 0)); err != nil {
			f.pipe.Close() // the reader sees the closing
		}
	})
	defer stop()
	var a answer
	err := json.NewEncoder(f.orders).Encode(o)
	if err == nil {
		err = f.answers.Decode(&a)
	}
	if err != nil {
		return answer{}, errors.Join(fmt.Errorf("ask the thaw watchdog: %w", err), f.Close())
	}
	return a, nil
}

func (f *Freezer) start() error {
	cmd := exec.Command(f.command[0], f.command[1:]...) //nolint:noctx // it must outlive whatever is cancelled here
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	theirs, orders, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the thaw watchdog: %w", err)
	}
	answers, theirOut, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("start the thaw watchdog: %w", err), theirs.Close(), orders.Close())
	}
	cmd.Stdin, cmd.Stdout = theirs, theirOut
	err = cmd.Start()
	err = errors.Join(err, theirs.Close(), theirOut.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("start the thaw watchdog: %w", err), orders.Close(), answers.Close())
	}
	f.process, f.orders, f.pipe, f.answers = cmd, orders, answers, json.NewDecoder(answers)
	return nil
}

// Close thaws whatever is frozen and ends the watchdog.
func (f *Freezer) Close() error {
	if f.process == nil {
		return nil
	}
	err := errors.Join(f.orders.Close(), f.pipe.Close())
	if werr := f.process.Wait(); werr != nil {
		err = errors.Join(err, fmt.Errorf("end the thaw watchdog: %w", werr))
		for _, path := range f.points {
			err = errors.Join(err, thawAt(path))
		}
	}
	if err == nil {
		err = f.forget()
	}
	f.process, f.points = nil, f.points[:0]
	return err
}

// thawAt thaws one file system; one that is not frozen is as it should be.
func thawAt(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("thaw %s: %w", path, err)
	}
	defer dir.Close()
	if err := unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("thaw %s: %w", path, err)
	}
	return nil
}
