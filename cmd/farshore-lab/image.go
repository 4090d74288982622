package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"farshore/tests/blockwriter"
	"farshore/tests/lab/armsim"
	"farshore/tests/lab/guest"
)

// imageBytes is the size of the image file that stands in for a disk.
const imageBytes = 256 << 20

// image is an image file with the writer on it, for machines where the demo is not root. Nothing can freeze it, so the
// writer itself is held for each cut, by the hooks that hold a database on a real server.
type image struct {
	writing
	path   string
	boards *armsim.Switchboard
}

func newImage(ctx context.Context, cache, dir string) (*image, error) {
	program, err := guest.Blockwriter(ctx, cache)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "source.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, fmt.Errorf("make the image file: %w", err)
	}
	if err := os.Truncate(path, imageBytes); err != nil {
		return nil, fmt.Errorf("size the image file: %w", err)
	}
	return &image{writing: writing{program: program, dir: dir}, path: path, boards: &armsim.Switchboard{}}, nil
}

func (i *image) Disks() []string               { return []string{i.path} }
func (i *image) Root() string                  { return "" }
func (i *image) Hypervisor() armsim.Hypervisor { return i.boards }
func (i *image) Hooks() string                 { return filepath.Join(i.dir, "hooks") }
func (i *image) Describe() string              { return i.path + ", an image file without a file system" }

// Release has nothing to take back: the file goes with the folder.
func (i *image) Release(context.Context) error { return nil }

func (i *image) StartWriter(ctx context.Context) error {
	if err := i.start(ctx, "--device", i.path, "--rate", "200"); err != nil {
		return err
	}
	for _, h := range []struct{ folder, signal, state string }{
		{"quiesce.d", "USR1", blockwriter.StateHeld}, {"resume.d", "USR2", blockwriter.StateRunning},
	} {
		folder := filepath.Join(i.Hooks(), h.folder)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("make the folder of hooks: %w", err)
		}
		if err := i.hook(filepath.Join(folder, "50-writer"), h.signal, h.state); err != nil {
			return err
		}
	}
	return nil
}

// Judge looks at the disk that was imported for the machine.
func (i *image) Judge(_ context.Context, machine string) (blockwriter.Report, error) {
	on, ok := i.boards.On()[machine]
	if !ok {
		return blockwriter.Report{}, fmt.Errorf("machine %s is not on", machine)
	}
	return blockwriter.VerifyDevicePaths(on.Disks, blockwriter.Question{})
}
