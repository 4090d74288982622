package initramfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

var (
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	lz4Magic  = []byte{0x02, 0x21, 0x4c, 0x18} // the legacy format, the only one that Linux unpacks
)

// zstdFrames gives the bytes of consecutive frames and not one more: a decoder alone would read past the last, into the next archive.
// RFC 8878, section 3.1.1.
type zstdFrames struct {
	in      *bufio.Reader
	left    int64 // of the present header, block or checksum
	inFrame bool
	last    bool // the present block is the last of its frame
	sums    bool // the frame ends with a checksum
}

func (z *zstdFrames) Read(b []byte) (int, error) {
	for z.left == 0 {
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n, err := z.in.Read(b[:min(int64(len(b)), z.left)])
	z.left -= int64(n)
	return n, unexpected(err)
}

// next finds how long what follows is.
func (z *zstdFrames) next() error {
	if !z.inFrame {
		return z.frame()
	}
	if z.last {
		z.inFrame = false
		if z.sums {
			z.left = 4
		}
		return nil
	}
	head, err := z.in.Peek(3)
	if err != nil {
		return unexpected(err)
	}
	word := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16
	z.last = word&1 != 0
	z.left = 3 + int64(word>>3)
	if word>>1&3 == 1 { // one byte, repeated
		z.left = 3 + 1
	}
	return nil
}

// frame begins a frame, or says that none follows.
func (z *zstdFrames) frame() error {
	head, err := z.in.Peek(5)
	if err != nil || !bytes.HasPrefix(head, zstdMagic) {
		return io.EOF
	}
	about := head[4]
	single := about&0x20 != 0
	z.left = 5 + []int64{0, 1, 2, 4}[about&3] + []int64{0, 2, 4, 8}[about>>6]
	if !single {
		z.left++ // the window
	} else if about>>6 == 0 {
		z.left++ // a size of one byte
	}
	z.inFrame, z.last, z.sums = true, false, about&4 != 0
	return nil
}

// lz4Block is how much a block of the legacy format unpacks to, at most.
const lz4Block = 8 << 20

// lz4Reader unpacks the legacy format: magic, then blocks, each with its length in front. It ends where no block follows.
type lz4Reader struct {
	in       *bufio.Reader
	packed   []byte
	unpacked []byte
	ready    []byte
}

func (l *lz4Reader) Read(b []byte) (int, error) {
	for len(l.ready) == 0 {
		if err := l.block(); err != nil {
			return 0, err
		}
	}
	n := copy(b, l.ready)
	l.ready = l.ready[n:]
	return n, nil
}

func (l *lz4Reader) block() error {
	head, err := l.in.Peek(4)
	if err != nil {
		return io.EOF
	}
	size := int64(binary.LittleEndian.Uint32(head))
	if bytes.Equal(head, lz4Magic) {
		_, err := l.in.Discard(len(head))
		return err
	}
	if size == 0 || size > int64(lz4.CompressBlockBound(lz4Block)) {
		return io.EOF // padding, or the next archive
	}
	if _, err := l.in.Discard(len(head)); err != nil {
		return err
	}
	if l.unpacked == nil {
		l.packed, l.unpacked = make([]byte, lz4.CompressBlockBound(lz4Block)), make([]byte, lz4Block)
	}
	if _, err := io.ReadFull(l.in, l.packed[:size]); err != nil {
		return unexpected(err)
	}
	n, err := lz4.UncompressBlock(l.packed[:size], l.unpacked)
	l.ready = l.unpacked[:max(n, 0)]
	return err
}

const (
	xzStreamHeader = 12
	xzLZMA2        = 0x21
)

// checkXZ refuses a dictionary that would fill the memory: the decoder allocates what the first block says. The xz file format, section 3.1.
func checkXZ(in *bufio.Reader) error {
	begin, err := in.Peek(xzStreamHeader + 1)
	if err != nil {
		return unexpected(err)
	}
	size := (int(begin[xzStreamHeader]) + 1) * 4
	if begin, err = in.Peek(xzStreamHeader + size); err != nil {
		return unexpected(err)
	}
	h := begin[xzStreamHeader+1:]
	if len(h) < 4 {
		return errors.New("the header of the first block is too short")
	}
	filters, sizes := int(h[0]&3)+1, int(h[0]>>6)
	h = h[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(h)
		h = h[max(n, 0):]
		return v
	}
	for range (sizes & 1) + sizes>>1 {
		number()
	}
	for range filters {
		id, length := number(), number()
		if length > uint64(len(h)) {
			return errors.New("a filter is longer than the header of its block")
		}
		if id == xzLZMA2 && length == 1 && h[0] > 30 { // 2 << 30/2+11 = 128 MiB
			return fmt.Errorf("a dictionary of class %d, at most 30 (128 MiB)", h[0])
		}
		h = h[length:]
	}
	return nil
}

// xzStream unpacks one stream and leaves what follows it alone: the decoder takes one byte more, to be sure that nothing follows.
type xzStream struct {
	packed   tail
	unpacked io.Reader
}

func (x *xzStream) Read(b []byte) (int, error) {
	n, err := x.unpacked.Read(b)
	if err == nil || errors.Is(err, io.EOF) || string(x.packed.last[:2]) != xzEnd {
		return n, err
	}
	if err := x.packed.in.UnreadByte(); err != nil {
		return n, err
	}
	return n, io.EOF
}

// xzEnd are the last bytes of a stream.
const xzEnd = "YZ"

// tail remembers the last bytes that were read.
type tail struct {
	in   *bufio.Reader
	last [len(xzEnd) + 1]byte
}

func (t *tail) Read(b []byte) (int, error) {
	n, err := t.in.Read(b)
	for _, c := range b[max(0, n-len(t.last)):n] {
		t.note(c)
	}
	return n, err
}

func (t *tail) ReadByte() (byte, error) {
	c, err := t.in.ReadByte()
	if err == nil {
		t.note(c)
	}
	return c, err
}

func (t *tail) note(c byte) {
	copy(t.last[:], t.last[1:])
	t.last[len(t.last)-1] = c
}
