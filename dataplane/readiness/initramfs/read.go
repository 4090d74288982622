package initramfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Read lists an image and keeps the files that the caller wants, if they are no larger than 1 MiB. What was read before an error is
// given with it; the error says where in the image it stands.
func Read(image io.Reader, wanted func(name string) bool) (*Image, error) {
	if wanted == nil {
		wanted = func(string) bool { return false }
	}
	counted := &countingReader{in: image}
	in := bufio.NewReaderSize(counted, 1<<16)
	r := &reader{in: in, wanted: wanted, image: &Image{Kept: map[string][]byte{}}}
	r.offset = func() int64 { return counted.n - int64(in.Buffered()) }
	for {
		more, err := skipZeros(in)
		if err != nil {
			return r.image, fmt.Errorf("initramfs: at offset %d: %w", r.offset(), err)
		}
		if !more {
			break
		}
		at := r.offset()
		if err := r.part(at); err != nil {
			return r.image, fmt.Errorf("initramfs: in the archive at offset %d: %w", at, err)
		}
	}
	if len(r.image.Parts) == 0 {
		return r.image, errors.New("initramfs: it is empty")
	}
	return r.image, nil
}

type countingReader struct {
	in io.Reader
	n  int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.n += int64(n)
	return n, err
}

// skipZeros goes past padding; more is false at the end.
func skipZeros(in *bufio.Reader) (more bool, err error) {
	for {
		b, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if b != 0 {
			return true, in.UnreadByte()
		}
	}
}

// compression is one that Linux can be built to unpack.
type compression struct {
	name  string
	magic []byte
	open  func(in *bufio.Reader) (unpacked io.Reader, closed func(), err error)
}

// compressions in the order of the kernel's own table (lib/decompress.c). LZO is missing: no distribution of this decade uses it.
var compressions = []compression{
	{"gzip", []byte{0x1f, 0x8b}, openGzip},
	{"bzip2", []byte("BZh"), func(in *bufio.Reader) (io.Reader, func(), error) { return bzip2.NewReader(in), nothing, nil }},
	{"lzma", []byte{0x5d, 0, 0}, openLZMA},
	{"xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0}, openXZ},
	{"lz4", lz4Magic, func(in *bufio.Reader) (io.Reader, func(), error) { return &lz4Reader{in: in}, nothing, nil }},
	{"zstd", zstdMagic, openZstd},
}

func nothing() {}

func openGzip(in *bufio.Reader) (io.Reader, func(), error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, nothing, err
	}
	z.Multistream(false)
	return z, nothing, nil
}

func openLZMA(in *bufio.Reader) (io.Reader, func(), error) {
	begin, err := in.Peek(5)
	if err != nil {
		return nil, nothing, unexpected(err)
	}
	if size := int64(begin[1]) | int64(begin[2])<<8 | int64(begin[3])<<16 | int64(begin[4])<<24; size > maxDictionary {
		return nil, nothing, fmt.Errorf("a dictionary of %d bytes, at most %d", size, maxDictionary)
	}
	z, err := lzma.NewReader(in)
	return z, nothing, err
}

func openXZ(in *bufio.Reader) (io.Reader, func(), error) {
	if err := checkXZ(in); err != nil {
		return nil, nothing, err
	}
	stream := &xzStream{packed: tail{in: in}}
	z, err := xz.ReaderConfig{SingleStream: true}.NewReader(&stream.packed)
	stream.unpacked = z
	return stream, nothing, err
}

func openZstd(in *bufio.Reader) (io.Reader, func(), error) {
	z, err := zstd.NewReader(&zstdFrames{in: in}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxDictionary), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, nothing, err
	}
	return z, z.Close, nil
}

// part reads one archive, or one compressed stream of archives.
func (r *reader) part(at int64) error {
	begin, err := r.in.Peek(len(cpioMagics[0]))
	if err != nil {
		return unexpected(err)
	}
	part := Part{Compression: "none", Offset: at}
	if isCPIO(begin) {
		part.Files, err = r.archive(r.in)
		r.image.Parts = append(r.image.Parts, part)
		return err
	}
	for _, c := range compressions {
		if !bytes.HasPrefix(begin, c.magic) {
			continue
		}
		part.Compression = c.name
		part.Files, err = r.compressed(c)
		r.image.Parts = append(r.image.Parts, part)
		if err != nil {
			return fmt.Errorf("unpack %s: %w", c.name, err)
		}
		return nil
	}
	return fmt.Errorf("it begins with % x, which is neither a cpio archive nor a compression known here", begin)
}

// compressed reads all archives of a compressed stream.
func (r *reader) compressed(c compression) (files int, err error) {
	unpacked, closed, err := c.open(r.in)
	if err != nil {
		return 0, err
	}
	defer closed()
	in := bufio.NewReaderSize(unpacked, 1<<16)
	for {
		more, err := skipZeros(in)
		if err != nil || !more {
			return files, err
		}
		n, err := r.archive(in)
		files += n
		if err != nil {
			return files, err
		}
	}
}
