package armsim

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
)

// MemoryBlobs are page blobs by URL, for tests that need no storage account.
type MemoryBlobs map[string][]byte

// Size implements [Blobs].
func (m MemoryBlobs) Size(_ context.Context, url string) (int64, error) {
	b, ok := m[url]
	if !ok {
		return 0, fmt.Errorf("%s does not exist", url)
	}
	return int64(len(b)), nil
}

// ReadAt implements [Blobs].
func (m MemoryBlobs) ReadAt(_ context.Context, url string, p []byte, offset int64) error {
	copy(p, m[url][offset:])
	return nil
}

// Ranges implements [Blobs].
func (m MemoryBlobs) Ranges(_ context.Context, url string) ([][2]int64, error) {
	return [][2]int64{{0, int64(len(m[url]))}}, nil
}

// MemoryVHD makes the bytes of a fixed VHD: content, zeros up to a number of MiB, footer.
func MemoryVHD(content string, mebibytes int) []byte {
	size := mebibytes << 20
	b := make([]byte, size+vhdFooterBytes)
	copy(b, content)
	footer := b[size:]
	copy(footer, "conectix")
	binary.BigEndian.PutUint64(footer[48:], uint64(size))
	binary.BigEndian.PutUint32(footer[60:], 2)
	return b
}

// Switchboard is a hypervisor that only knows which machines are on. Every one shows a login prompt unless Silent.
type Switchboard struct {
	Silent bool

	mu sync.Mutex
	on map[string]Machine
}

// Start implements [Hypervisor].
func (s *Switchboard) Start(_ context.Context, m Machine) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on == nil {
		s.on = map[string]Machine{}
	}
	s.on[m.Name] = m
	return nil
}

// Stop implements [Hypervisor].
func (s *Switchboard) Stop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.on, name)
}

// Serial implements [Hypervisor].
func (s *Switchboard) Serial(name string) ([]byte, error) {
	if s.Silent {
		return []byte("GRUB loading.\r\n"), nil
	}
	return []byte("GRUB loading.\r\nDebian GNU/Linux 12 " + name + " ttyS0\r\n\r\n" + name + " login: "), nil
}

// Close implements [Hypervisor].
func (s *Switchboard) Close() error { return nil }

// On gives the machines that are on, by name.
func (s *Switchboard) On() map[string]Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := map[string]Machine{}
	for name, m := range s.on {
		on[name] = m
	}
	return on
}
