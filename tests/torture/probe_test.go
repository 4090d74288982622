package torture

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
)

// probeBytes is the size of each file of a probe: one block, written in place.
const probeBytes = 4096

// mark is a file of a probe and where its block lies on its disk.
type mark struct {
	volume int
	file   *os.File
	nonce  [16]byte
	offset int64
}

// probe is a writer whose traces show the order of writes on two disks: number i goes to its first mark, durable, then to its
// second, then to its third, and only then does i+1 follow. A point knows a number of each; none may be ahead of the one
// before it, and the first at most one ahead of the last.
//
// The marks are single blocks that stay where they are, so a point is asked without mounting anything.
type probe struct {
	marks []*mark
	stop  context.CancelFunc
	group sync.WaitGroup
	err   error
	last  uint64
	ended bool
}

// startProbe makes the marks on the first disk, the second and the first again, and begins to write.
func startProbe(t testing.TB, volumes []*volume, rng *mrand.Rand) *probe {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &probe{stop: stop}
	t.Cleanup(func() { p.end(t) }) // before the disks are let go of
	for i, at := range []int{0, 1, 0} {
		m, err := newMark(filepath.Join(volumes[at].dir, fmt.Sprintf("mark-%d", i)), volumes[at])
		if err != nil {
			stop()
			t.Fatalf("make a mark on %s: %v", volumes[at].loop.Path, err)
		}
		m.volume = at
		p.marks = append(p.marks, m)
	}
	pace := time.Duration(1+rng.IntN(4000)) * time.Microsecond
	p.group.Go(func() { p.err = p.run(ctx, pace) })
	return p
}

// newMark writes a block that nothing on the disk is like, and finds it there.
func newMark(path string, v *volume) (*mark, error) {
	m := &mark{}
	rand.Read(m.nonce[:]) // never returns an error
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_DIRECT|unix.O_DSYNC, 0o644)
	if err != nil {
		return nil, err
	}
	m.file = f
	if err := m.settle(v); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

func (m *mark) settle(v *volume) (err error) {
	if v.kind == "btrfs" { // a block that is written anew elsewhere each time could not be found
		const noCopyOnWrite = 0x00800000
		if err := unix.IoctlSetPointerInt(int(m.file.Fd()), unix.FS_IOC_SETFLAGS, noCopyOnWrite); err != nil {
			return fmt.Errorf("switch copy on write off: %w", err)
		}
	}
	if err := m.write(0); err != nil {
		return err
	}
	m.offset, err = m.find(v.device, v.bytes)
	return err
}

func (m *mark) write(i uint64) error {
	b := disk.Buffer(probeBytes)
	copy(b, m.nonce[:])
	binary.LittleEndian.PutUint64(b[16:], i)
	binary.LittleEndian.PutUint64(b[probeBytes-8:], i) // a torn block shows
	_, err := m.file.WriteAt(b, 0)
	return err
}

// find looks for the block on the disk.
func (m *mark) find(device io.ReaderAt, size int64) (int64, error) {
	b := disk.Buffer(1 << 20)
	found := int64(-1)
	for at := int64(0); at < size; at += int64(len(b)) {
		n := min(int64(len(b)), size-at)
		if got, err := device.ReadAt(b[:n], at); int64(got) < n {
			return 0, err
		}
		for i := int64(0); i < n; i += probeBytes {
			if [16]byte(b[i:i+16]) != m.nonce {
				continue
			}
			if found >= 0 {
				return 0, errors.New("the block is on the disk twice")
			}
			found = at + i
		}
	}
	if found < 0 {
		return 0, errors.New("the block is not on the disk, though it was written through")
	}
	return found, nil
}

func (p *probe) run(ctx context.Context, pace time.Duration) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := uint64(1); ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, m := range p.marks {
			if err := m.write(i); err != nil {
				return fmt.Errorf("write %d to %s: %w", i, m.file.Name(), err)
			}
		}
		p.last = i
	}
}

// end ends the writer and gives the last number.
func (p *probe) end(t testing.TB) uint64 {
	t.Helper()
	if p.ended {
		return p.last
	}
	p.ended = true
	p.stop()
	p.group.Wait()
	for _, m := range p.marks {
		p.err = errors.Join(p.err, m.file.Close())
	}
	if p.err != nil {
		t.Errorf("the probe of the order of writes: %v", p.err)
	}
	return p.last
}

// number gives what a restored disk knows of a mark: -1 if it is not there yet.
func (m *mark) number(image io.ReaderAt) (int64, error) {
	b := make([]byte, probeBytes)
	if _, err := image.ReadAt(b, m.offset); err != nil {
		return 0, err
	}
	if [16]byte(b[:16]) != m.nonce {
		return -1, nil
	}
	n := binary.LittleEndian.Uint64(b[16:])
	if n != binary.LittleEndian.Uint64(b[probeBytes-8:]) {
		return 0, fmt.Errorf("the block at %d is torn", m.offset)
	}
	return int64(n), nil
}

// judge says what is wrong with the order of writes in restored disks.
func (p *probe) judge(images []*os.File) (numbers []int64, why error) {
	for _, m := range p.marks {
		n, err := m.number(images[m.volume])
		if err != nil {
			return numbers, err
		}
		numbers = append(numbers, n)
	}
	for i := 1; i < len(numbers); i++ {
		if numbers[i] > numbers[i-1] {
			return numbers, fmt.Errorf("mark %d has number %d, mark %d before it only %d", i, numbers[i], i-1, numbers[i-1])
		}
	}
	if numbers[0] > numbers[len(numbers)-1]+1 {
		return numbers, fmt.Errorf("the first mark has number %d, the last only %d", numbers[0], numbers[len(numbers)-1])
	}
	return numbers, nil
}
