package armsim

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// FileBlobs are the page blobs of a vault in a folder: their URLs are paths.
type FileBlobs struct{}

func local(url string) string { return strings.TrimPrefix(url, "file://") }

// Size implements [Blobs].
func (FileBlobs) Size(_ context.Context, url string) (int64, error) {
	is, err := os.Stat(local(url))
	if err != nil {
		return 0, err
	}
	return is.Size(), nil
}

// ReadAt implements [Blobs].
func (FileBlobs) ReadAt(_ context.Context, url string, p []byte, offset int64) error {
	f, err := os.Open(local(url))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.ReadAt(p, offset); err != nil {
		return fmt.Errorf("read %s at %d: %w", url, offset, err)
	}
	return nil
}

// Ranges implements [Blobs]: it takes the whole file for one range.
func (b FileBlobs) Ranges(ctx context.Context, url string) ([][2]int64, error) {
	size, err := b.Size(ctx, url)
	return [][2]int64{{0, size}}, err
}
