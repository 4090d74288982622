package armsim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Blobs reads the page blobs that disks are imported from.
type Blobs interface {
	// Size is the length of the blob in bytes.
	Size(ctx context.Context, url string) (int64, error)
	// ReadAt fills p from an offset.
	ReadAt(ctx context.Context, url string, p []byte, offset int64) error
	// Ranges lists the ranges that hold anything but zeros, as offset and length, ascending.
	Ranges(ctx context.Context, url string) ([][2]int64, error)
}

const (
	vhdFooterBytes = 512
	vhdAlignment   = 1 << 20
	copyBytes      = 4 << 20
)

// checkVHD refuses what Azure refuses to import: no fixed VHD footer, a size that is no multiple of 1 MiB, or a footer
// that lies about the size. It returns the disk's size in bytes.
func checkVHD(ctx context.Context, blobs Blobs, url string) (int64, error) {
	total, err := blobs.Size(ctx, url)
	if err != nil {
		return 0, fmt.Errorf("the source blob cannot be read: %w", err)
	}
	footer := make([]byte, vhdFooterBytes)
	if err := blobs.ReadAt(ctx, url, footer, total-vhdFooterBytes); err != nil {
		return 0, fmt.Errorf("the source blob's footer cannot be read: %w", err)
	}
	size := int64(binary.BigEndian.Uint64(footer[48:]))
	switch {
	case !bytes.HasPrefix(footer, []byte("conectix")):
		return 0, fmt.Errorf("the specified cookie value in VHD footer indicates that %s is not a supported VHD", url)
	case binary.BigEndian.Uint32(footer[60:]) != 2:
		return 0, fmt.Errorf("%s is not a fixed VHD", url)
	case size%vhdAlignment != 0:
		return 0, fmt.Errorf("%s has the unsupported virtual size %d bytes; it must be a whole number of MiB", url, size)
	case size+vhdFooterBytes != total:
		return 0, fmt.Errorf("%s is %d bytes long, its footer says %d and 512", url, total, size)
	}
	return size, nil
}

// importDisk copies a page blob into a sparse raw file without its footer.
func importDisk(ctx context.Context, blobs Blobs, url, path string, size int64) error {
	ranges, err := blobs.Ranges(ctx, url)
	if err != nil {
		return fmt.Errorf("list the ranges of %s: %w", url, err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make disk file: %w", err)
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("size disk file: %w", err)
	}
	buffer := make([]byte, copyBytes)
	for _, r := range ranges {
		for offset, end := r[0], min(r[0]+r[1], size); offset < end; offset += copyBytes {
			p := buffer[:min(copyBytes, end-offset)]
			if err := blobs.ReadAt(ctx, url, p, offset); err != nil {
				return fmt.Errorf("import %s at %d: %w", url, offset, err)
			}
			if _, err := f.WriteAt(p, offset); err != nil {
				return fmt.Errorf("import %s: %w", url, err)
			}
		}
	}
	return f.Close()
}

// readFull adapts an io.Reader to the length that was asked for.
func readFull(r io.ReadCloser, p []byte) error {
	defer r.Close()
	if _, err := io.ReadFull(r, p); err != nil {
		return fmt.Errorf("read %d bytes: %w", len(p), err)
	}
	return nil
}
