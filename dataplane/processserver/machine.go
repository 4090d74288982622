package processserver

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"farshore"
	"farshore/dataplane/journal"
	"farshore/dataplane/pace"
	"farshore/fault"
)

// lateAfter is how long the vault may take for one segment before that is a fault.
const lateAfter = 30 * time.Second

// machine is what a server knows of a machine as long as it runs, over all its sessions.
type machine struct {
	id      farshore.MachineID
	writing chan struct{} // held by whoever writes for the machine

	age pace.Age // used by whoever writes for the machine, under the stream's lock

	received, cached, sealed, uploaded atomic.Int64 // bytes

	mu        sync.Mutex
	connected bool
	durable   farshore.Position
	waiting   time.Time    // since when the vault has been asked to take a segment
	refusal   *fault.Fault // why it does not take it
	damage    *fault.Fault // the last spooled segment that was damaged
}

func (m *machine) opened(r journal.Resume) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connected, m.durable = true, r.Link.Position
}

func (m *machine) closed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connected = false
}

func (m *machine) shipped(p farshore.Position, bytes int64) {
	m.uploaded.Add(bytes)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable, m.refusal = p, nil
}

// waits notes since when the oldest segment has been on its way to the vault; zero: none is.
func (m *machine) waits(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = since
}

func (m *machine) refused(path string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusal = &fault.Fault{
		Code: "FS-2105", Kind: fault.Transient, Subject: "machine " + string(m.id), What: "the vault refuses segment " + path,
		Remedy: "look at the cause; the segment is kept and tried again", Err: err,
	}
}

func (m *machine) fail(f *fault.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.damage = f
}

// faults lists what is wrong with the machine's way to the vault.
func (m *machine) faults(now time.Time) []*fault.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*fault.Fault
	switch {
	case m.refusal != nil:
		all = append(all, m.refusal)
	case !m.waiting.IsZero() && now.Sub(m.waiting) > lateAfter:
		all = append(all, &fault.Fault{
			Code: "FS-2105", Kind: fault.Transient, Subject: "machine " + string(m.id),
			What:   fmt.Sprintf("the vault has not taken a segment for %s", now.Sub(m.waiting).Round(time.Second)),
			Remedy: "check that the process server reaches the storage account; segments are kept in the cache",
		})
	}
	if m.damage != nil {
		all = append(all, m.damage)
	}
	return all
}
