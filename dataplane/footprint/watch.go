package footprint

import (
	"io/fs"
	"sync"
	"time"
)

// lookEvery is how old a look may be: the kernel itself averages every two seconds.
const lookEvery = 2 * time.Second

// Watch remembers the pressure between two looks. It is safe for concurrent use.
type Watch struct {
	root fs.FS
	now  func() time.Time

	mu   sync.Mutex
	at   time.Time
	last float64
}

// NewWatch makes a watch over the file system at root.
func NewWatch(root fs.FS, now func() time.Time) *Watch { return &Watch{root: root, now: now} }

// Pressure tells how far copying has to make way now: 0 not at all, 1 as far as it can.
func (w *Watch) Pressure() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if age := now.Sub(w.at); w.at.IsZero() || age >= lookEvery || age < 0 {
		w.at, w.last = now, Pressure(Stalls(w.root))
	}
	return w.last
}
