package host

import "sync"

// Stillness keeps this process from writing files while file systems are held still: whoever wrote to a frozen one would wait
// until it is thawed, and everybody who waits for him. The zero value is ready; nil never holds anybody up.
type Stillness struct {
	mu    sync.Mutex
	still bool
}

// Begin waits for the writes under way and then has none begin until End.
func (s *Stillness) Begin() { s.set(true) }

// End lets writes go on.
func (s *Stillness) End() { s.set(false) }

func (s *Stillness) set(still bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.still = still
}

// Write runs what writes, unless it must be still now: then done is false, and the caller writes later.
func (s *Stillness) Write(write func() error) (done bool, err error) {
	if s == nil {
		return true, write()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.still {
		return false, nil
	}
	return true, write()
}
