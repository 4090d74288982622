package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Remember has the freezer keep, in a file on a memory file system, what it is about to freeze. Whoever comes when the
// agent and its watchdog were both killed finds there what to thaw: see [ThawRemembered].
func (f *Freezer) Remember(path string) { f.record = path }

// remember writes the record before anything is frozen.
func (f *Freezer) remember() error {
	if f.record == "" {
		return nil
	}
	body, err := json.Marshal(f.points)
	if err == nil {
		err = os.WriteFile(f.record, body, 0o600)
	}
	if err != nil {
		return fmt.Errorf("remember what is frozen: %w", err)
	}
	return nil
}

// forget removes the record when everything was let go.
func (f *Freezer) forget() error {
	if f.record == "" {
		return nil
	}
	if err := os.Remove(f.record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was frozen: %w", err)
	}
	return nil
}

// ThawRemembered thaws what a freezer that was killed has left frozen, in reverse order, and gives the mount points.
// Without a record there is nothing to do: what somebody else has frozen is not touched.
func ThawRemembered(path string) (points []string, err error) {
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(body, &points)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is frozen: %w", err)
	}
	for _, point := range slices.Backward(points) {
		err = errors.Join(err, thawAt(point))
	}
	if err != nil {
		return points, err
	}
	return points, os.Remove(path)
}
