package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of what is believed.
const (
	maxFiles      = 1 << 20
	maxName       = 4096 // PATH_MAX
	maxKept       = 1 << 20
	maxUnpacked   = 8 << 30
	maxDictionary = 128 << 20
)

const (
	cpioHeader  = 110 // magic and 13 numbers of 8 hexadecimal digits
	cpioTrailer = "TRAILER!!!"
	fieldSize   = 6 // of the numbers
	fieldName   = 11
)

// The magics of the cpio archives that Linux unpacks; the second has checksums, which Linux ignores.
var cpioMagics = []string{"070701", "070702"}

// Image is what an initial RAM file system holds.
type Image struct {
	Parts []Part            // in the order of the image
	Names []string          // of files, folders and links, without a slash in front
	Kept  map[string][]byte // content of the files that the caller wanted
}

// Part is one archive, or what one compressed stream holds.
type Part struct {
	Compression string // "none", "gzip", "xz", "lzma", "zstd", "lz4", "bzip2"
	Offset      int64  // in the image
	Files       int
}

// reader unpacks one image.
type reader struct {
	in       *bufio.Reader
	offset   func() int64 // of what in gives next
	wanted   func(name string) bool
	unpacked int64
	image    *Image
}

// archive reads one cpio archive to its trailer and gives the number of files in it.
func (r *reader) archive(in *bufio.Reader) (int, error) {
	at := int64(0) // in the archive: names and contents are padded to multiples of 4
	for files := 0; ; files++ {
		header, err := r.take(in, cpioHeader)
		if err != nil {
			return files, fmt.Errorf("read the header of file %d: %w", files, err)
		}
		if !isCPIO(header) {
			return files, fmt.Errorf("file %d begins with %q, which is no cpio header", files, header[:len(cpioMagics[0])])
		}
		size, nameLen, err := cpioFields(header)
		if err != nil {
			return files, fmt.Errorf("read the header of file %d: %w", files, err)
		}
		at += cpioHeader
		raw, err := r.take(in, nameLen+pad(at+nameLen))
		if err != nil {
			return files, fmt.Errorf("read the name of file %d: %w", files, err)
		}
		at += int64(len(raw))
		name, _, _ := bytes.Cut(raw[:nameLen], []byte{0})
		if string(name) == cpioTrailer {
			return files, nil
		}
		if err := r.file(in, string(name), size, pad(at+size)); err != nil {
			return files, err
		}
		at += size + pad(at+size)
	}
}

func isCPIO(begin []byte) bool {
	for _, magic := range cpioMagics {
		if bytes.HasPrefix(begin, []byte(magic)) {
			return true
		}
	}
	return false
}

func cpioFields(header []byte) (size, nameLen int64, err error) {
	field := func(n int) int64 {
		v, parse := strconv.ParseUint(string(header[6+8*n:14+8*n]), 16, 32)
		err = errors.Join(err, parse)
		return int64(v)
	}
	size, nameLen = field(fieldSize), field(fieldName)
	if err == nil && (nameLen < 1 || nameLen > maxName) {
		err = fmt.Errorf("a name of %d bytes, want 1 to %d", nameLen, maxName)
	}
	return size, nameLen, err
}

// pad is what is missing at a place to a multiple of 4.
func pad(at int64) int64 { return -at & 3 }

// file notes one file and goes past its content.
func (r *reader) file(in *bufio.Reader, name string, size, padding int64) error {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "."), "/")
	if len(r.image.Names) >= maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	if name != "" {
		r.image.Names = append(r.image.Names, name)
	}
	if size > 0 && size <= maxKept && r.wanted(name) {
		content, err := r.take(in, size)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		r.image.Kept[name] = content
		size = 0
	}
	if err := r.count(size + padding); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, in, size+padding); err != nil {
		return fmt.Errorf("read %s: %w", name, unexpected(err))
	}
	return nil
}

// take reads exactly so many bytes; the caller has bounded them.
func (r *reader) take(in io.Reader, size int64) ([]byte, error) {
	if err := r.count(size); err != nil {
		return nil, err
	}
	b := make([]byte, size)
	_, err := io.ReadFull(in, b)
	return b, unexpected(err)
}

func (r *reader) count(bytes int64) error {
	if r.unpacked += bytes; r.unpacked > maxUnpacked {
		return fmt.Errorf("it unpacks to more than %d bytes", int64(maxUnpacked))
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
