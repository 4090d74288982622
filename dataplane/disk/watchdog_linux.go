package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The requests to freeze and to thaw a file system (linux/fs.h).
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// order is what the agent tells the watchdog, one JSON object on a line.
type order struct {
	Freeze []string `json:"freeze,omitempty"` // mount points, in order; empty: thaw
	Extend bool     `json:"extend,omitempty"` // what is frozen stays so for another bound
	Bound  int64    `json:"bound,omitempty"`  // milliseconds after which the watchdog thaws by itself
}

// answer is what the watchdog says back.
type answer struct {
	Skipped []string `json:"skipped,omitempty"` // mount points whose file system knows no freezing
	Held    bool     `json:"held"`              // everything is frozen, or was until this thaw
	Failure string   `json:"failure,omitempty"`
}

// ServeWatchdog is the whole life of the watchdog process: it freezes and thaws as told on in, answers on out, and thaws
// when a bound is over or in ends, which it does however the agent dies. It returns when in ends.
func ServeWatchdog(in io.Reader, out io.Writer) error {
	// Whoever stops the agent's process group must not stop the one process that can thaw.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	// A page of this program that had to be read from a frozen disk would be read; one that had to make room by writing
	// would never come.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock the watchdog into memory: %w", err)
	}
	h := &hold{}
	defer h.thaw()
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := decoder.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("read an order: %w", err)
		}
		if err := encoder.Encode(h.obey(o)); err != nil {
			return fmt.Errorf("answer an order: %w", err)
		}
	}
}

// hold is a set of frozen file systems and the time at which they are thawed whatever happens.
type hold struct {
	mu     sync.Mutex
	frozen []*os.File // directories, in the order of freezing
	over   bool       // thawed, by order or by the bound
	timer  *time.Timer
}

func (h *hold) obey(o order) answer {
	if o.Extend {
		return answer{Held: h.extend(time.Duration(o.Bound) * time.Millisecond)}
	}
	if len(o.Freeze) == 0 {
		return answer{Held: h.thaw()}
	}
	h.thaw()
	skipped, err := h.freeze(o.Freeze, time.Duration(o.Bound)*time.Millisecond)
	if err != nil {
		h.thaw()
		return answer{Failure: err.Error()}
	}
	return answer{Skipped: skipped, Held: true}
}

func (h *hold) freeze(mountPoints []string, bound time.Duration) (skipped []string, err error) {
	h.mu.Lock()
	h.over = false
	h.timer = time.AfterFunc(bound, func() { h.thaw() })
	h.mu.Unlock()
	for _, path := range mountPoints {
		dir, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		// This can take as long as the dirty pages take. The timer thaws what is frozen already; add thaws what came late.
		err = unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0)
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			skipped = append(skipped, path)
			err = dir.Close()
		case err != nil:
			err = errors.Join(fmt.Errorf("freeze %s: %w", path, err), dir.Close())
		default:
			err = h.add(dir)
		}
		if err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil, fmt.Errorf("freezing took longer than %v", bound)
	}
	return skipped, nil
}

func (h *hold) add(dir *os.File) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frozen = append(h.frozen, dir)
	if !h.over {
		return nil
	}
	h.release()
	return errors.New("freezing took longer than its bound")
}

// extend sets the time anew at which everything is thawed, and reports whether it is held until then.
func (h *hold) extend(bound time.Duration) (held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.timer != nil && !h.over && h.timer.Reset(bound)
}

// thaw lets everything go and reports whether it had been held until now.
func (h *hold) thaw() (held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held = h.timer != nil && !h.over
	h.over = true
	if h.timer != nil {
		h.timer.Stop()
	}
	h.release()
	return held
}

// release thaws in the reverse order. EINVAL means that somebody else has thawed it: then it is thawed, which is the aim.
func (h *hold) release() {
	for _, dir := range slices.Backward(h.frozen) {
		for interrupted := true; interrupted; {
			interrupted = unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0) == unix.EINTR
		}
		dir.Close() // a directory opened for reading has nothing to lose
	}
	h.frozen = nil
}
