//go:build linux && amd64

package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
)

// iocb is the control block of a request (linux/aio_abi.h).
type iocb struct {
	_             uint64 // data
	_, _          uint32 // key, flags of reading and writing
	opcode        uint16
	_             int16 // priority
	file          uint32
	buffer, bytes uint64
	offset        uint64
	_             uint64 // reserved
	_, _          uint32 // flags, an eventfd
}

const pwrite = 1 // IOCB_CMD_PWRITE

// batch submits writes all at once, in the given order, and waits for them: the scheduler sees them together.
func batch(t testing.TB, node *os.File, writes map[int64][]byte, order []int64) {
	t.Helper()
	call := func(what string, number uintptr, arguments ...uintptr) uintptr {
		arguments = append(arguments, 0, 0, 0, 0, 0, 0)
		n, _, errno := unix.Syscall6(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
		if errno != 0 {
			t.Fatalf("%s: %v", what, errno)
		}
		return n
	}
	var id uintptr
	call("set up a context of requests", unix.SYS_IO_SETUP, uintptr(len(order)), uintptr(unsafe.Pointer(&id)))
	defer call("take down a context of requests", unix.SYS_IO_DESTROY, id)
	blocks, pointers := make([]iocb, len(order)), make([]*iocb, len(order))
	for i, at := range order {
		b := writes[at]
		blocks[i] = iocb{
			opcode: pwrite, file: uint32(node.Fd()), buffer: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))),
			bytes: uint64(len(b)), offset: uint64(at),
		}
		pointers[i] = &blocks[i]
	}
	n := call("submit requests", unix.SYS_IO_SUBMIT, id, uintptr(len(order)), uintptr(unsafe.Pointer(unsafe.SliceData(pointers))))
	events := make([][4]uint64, len(order))
	call("wait for requests", unix.SYS_IO_GETEVENTS, id, n, n, uintptr(unsafe.Pointer(unsafe.SliceData(events))))
	runtime.KeepAlive(writes)
	if int(n) != len(order) {
		t.Fatalf("%d of %d requests were taken", n, len(order))
	}
	for i, e := range events {
		if int64(e[2]) < 0 {
			t.Errorf("request %d: %v", i, unix.Errno(-int64(e[2])))
		}
	}
}

// queue gives an attribute of the loop device's queue a value for the time of the test.
func queue(t testing.TB, loop *disk.Loop, attribute, value string) {
	t.Helper()
	path := fmt.Sprintf("/sys/block/%s/queue/%s", filepath.Base(loop.Path), attribute)
	had, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	was := strings.TrimSpace(string(had))
	if _, chosen, ok := strings.Cut(was, "["); ok { // one of several
		was, _, _ = strings.Cut(chosen, "]")
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Skipf("SKIPPED: needs %s %s of loop devices: %v", attribute, value, err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, []byte(was), 0); err != nil {
			t.Error(err)
		}
	})
}

// A write that may not wait (REQ_NOWAIT) is queued and ends again when all tags are taken, without ever being a request.
func TestAWriteThatMayNotWaitLeavesNothingPending(t *testing.T) {
	needCapture(t)
	loop, freeze, thaw := frozen(t)
	queue(t, loop, "nr_requests", "4")
	c := open(t, 1<<20, loop)
	node := direct(t, loop)
	if gap, err := c.Check(0); gap != "" || err != nil {
		t.Fatalf("Check = %q, %v", gap, err)
	}
	freeze()
	const writers = 8
	var written sync.WaitGroup
	for n := range int64(writers) {
		b := stamped(uint64(n), 4096)
		written.Go(func() { put(t, node, n*8192, b) })
	}
	c.queued(t, writers*8)
	_, err := unix.Pwritev2(int(node.Fd()), [][]byte{stamped(99, 4096)}, 1<<20, unix.RWF_NOWAIT)
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("a write that may not wait: %v, want EAGAIN", err)
	}
	if got := c.filled(0, never); got != writers*8 {
		t.Errorf("%d sectors are pending, want %d", got, writers*8)
	}
	thaw()
	written.Wait()
	if err := c.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := c.Read(func(Write) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	refused := block.Extent{Start: 2048, Count: 8}
	if set := ambiguous(c, 0); n == writers+1 && !set.Contains(refused) {
		t.Errorf("ambiguous: %v, want %v, which was recorded and never written", set, refused)
	}
	if gap, err := c.Check(0); gap != "" || err != nil {
		t.Errorf("Check = %q, %v", gap, err)
	}
}

// A scheduler that sorts by place turns the order of two overlapping writes round. The planted replica takes the ring's
// order for the disk's.
func TestIgnoringAmbiguityLeavesTheReplicaWrong(t *testing.T) {
	needCapture(t)
	loop := disktest.NewLoop(t, 4<<20)
	queue(t, loop, "scheduler", "mq-deadline")
	c := open(t, 8<<20, loop)
	node := direct(t, loop)
	planted, healed := newReplica(t, c.devices[0]), newReplica(t, c.devices[0])
	f := follow(t, c)
	const contests = 20
	wrong := 0
	for n := range uint64(contests) {
		batch(t, node, map[int64][]byte{
			0:              stamped(n, 4096),
			1<<20 + 64<<10: stamped(2*n, 64<<10),
			1 << 20:        stamped(2*n+1, 128<<10),
		}, []int64{0, 1<<20 + 64<<10, 1 << 20})
		writes := f.through(c.Produced())
		planted.apply(writes)
		healed.apply(writes)
		healed.copy(ambiguous(c, 0))
		if n := healed.differences(); n > 0 {
			t.Fatalf("the replica differs in %d pieces of which none is said to be ambiguous", n)
		}
		if planted.differences() > 0 {
			wrong++
			planted.copy(planted.whole())
		}
	}
	t.Logf("the disk ended otherwise than the ring in %d of %d contests", wrong, contests)
	if wrong == 0 {
		t.Error("ignoring ambiguity went unnoticed: the test is blind")
	}
}
