//go:build linux && amd64

package capture

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bits of a record's length in a BPF ring (linux/bpf.h).
const (
	recordBusy      = 1 << 31
	recordDiscarded = 1 << 30
	recordHead      = 8
)

// ring is the reading end of a BPF ring buffer, mapped: records are in the order in which they were reserved, and none
// wraps, for the data is mapped twice in a row.
type ring struct {
	consumer, producer *uint64
	data               []byte
	mask               uint64
	mmaps              [][]byte
}

func openRing(fd int, size uint32) (ring, error) {
	page := os.Getpagesize()
	head, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return ring{}, fmt.Errorf("map the ring into memory: %w", err)
	}
	r := ring{mmaps: [][]byte{head}, mask: uint64(size) - 1}
	body, err := unix.Mmap(fd, int64(page), page+2*int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return r, fmt.Errorf("map the ring into memory: %w", err)
	}
	r.mmaps = append(r.mmaps, body)
	r.consumer = (*uint64)(unsafe.Pointer(unsafe.SliceData(head)))
	r.producer = (*uint64)(unsafe.Pointer(unsafe.SliceData(body)))
	r.data = body[page:]
	return r, nil
}

// record gives what stands at a position, nil if it was discarded, and the position behind it. It is not there yet (ok is
// false) while its writer is at work.
func (r *ring) record(at uint64) (body []byte, next uint64, ok bool) {
	here := r.data[at&r.mask:]
	length := atomic.LoadUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(here))))
	if length&recordBusy != 0 {
		return nil, at, false
	}
	size := uint64(length &^ (recordBusy | recordDiscarded))
	next = at + (recordHead+size+7)&^7
	if length&recordDiscarded != 0 {
		return nil, next, true
	}
	return here[recordHead : recordHead+size], next, true
}
