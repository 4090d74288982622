package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"farshore/dataplane/vault"
)

// points holds what an archive has of the container points: documents, few and small. It is a [vault.Store] to be read.
type points map[string][]byte

var errReadOnly = errors.New("an archive is only read")

// keep takes an object in if it belongs here.
func (p points) keep(o Object) {
	if c, _, err := vault.SplitName(o.Name); err == nil && c == vault.Points {
		p[o.Name] = o.Body
	}
}

// PutIfAbsent refuses.
func (p points) PutIfAbsent(context.Context, string, []byte) (vault.Outcome, error) {
	return 0, errReadOnly
}

// Get gives an object.
func (p points) Get(_ context.Context, name string) ([]byte, error) {
	body, ok := p[name]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", name, vault.ErrNotFound)
	}
	return body, nil
}

// GetRange gives a part of an object.
func (p points) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	body, err := p.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	from := min(offset, int64(len(body)))
	return body[from:min(from+length, int64(len(body)))], nil
}

// List lists.
func (p points) List(_ context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	return func(yield func(vault.Entry, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(p)) {
			if strings.HasPrefix(name, prefix) && name > after && !yield(vault.Entry{Name: name, Size: int64(len(p[name]))}, nil) {
				return
			}
		}
	}
}

// Delete refuses.
func (p points) Delete(context.Context, string) error { return errReadOnly }

// Now has no answer.
func (p points) Now(context.Context) (time.Time, error) { return time.Time{}, errReadOnly }
