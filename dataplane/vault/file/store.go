package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"farshore/dataplane/vault"
)

type store struct{ *folder }

func (s *store) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	if err := checkPut(ctx, name, body); err != nil {
		return 0, err
	}
	outcome, err := s.put(s.path(name), body)
	if err != nil {
		return 0, s.trouble("put "+name, err)
	}
	return outcome, nil
}

func checkPut(ctx context.Context, name string, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, _, err := vault.SplitName(name); err != nil {
		return err
	}
	if len(body) > vault.MaxObjectBytes {
		return fmt.Errorf("put %s: %d bytes, at most %d", name, len(body), vault.MaxObjectBytes)
	}
	return nil
}

func (s *store) put(path string, body []byte) (outcome vault.Outcome, err error) {
	f, err := s.temporary()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, discard(f)) }()
	if _, err := f.Write(body); err != nil {
		return 0, err
	}
	err = s.publish(f, path)
	if err == nil {
		return vault.Created, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return 0, err
	}
	there, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if bytes.Equal(there, body) {
		return vault.Same, nil
	}
	return vault.Other, nil
}

func (s *store) Get(ctx context.Context, name string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, _, err := vault.SplitName(name); err != nil {
		return nil, err
	}
	body, err := os.ReadFile(s.path(name))
	if err != nil {
		return nil, s.missing("get "+name, err)
	}
	return body, nil
}

// missing tells an absent object from other trouble.
func (v *folder) missing(doing string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if err := v.there(); err != nil {
			return v.trouble(doing, err)
		}
		return fmt.Errorf("%s: %w", doing, vault.ErrNotFound)
	}
	return v.trouble(doing, err)
}

func (s *store) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, _, err := vault.SplitName(name); err != nil {
		return nil, err
	}
	if offset < 0 || length < 1 || length > vault.MaxObjectBytes {
		return nil, fmt.Errorf("get %s: no range of %d bytes from %d", name, length, offset)
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, s.missing("get "+name, err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.NewSectionReader(f, offset, length))
	if err != nil {
		return nil, s.trouble("get "+name, err)
	}
	return body, nil
}

func (s *store) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, _, err := vault.SplitName(name); err != nil {
		return err
	}
	if err := remove(s.path(name)); err != nil {
		return s.trouble("delete "+name, err)
	}
	return nil
}

// Now is the clock of this machine: a folder has no other.
func (*store) Now(ctx context.Context) (time.Time, error) { return time.Now(), ctx.Err() }

// remove deletes a file durably; it is no error if there is none.
func remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(path[:strings.LastIndexByte(path, os.PathSeparator)])
}

func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	return s.list(ctx, prefix, after)
}

// list walks the folders in the order of whole names.
func (v *folder) list(ctx context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	return func(yield func(vault.Entry, error) bool) {
		if _, _, err := vault.SplitPrefix(prefix); err != nil {
			yield(vault.Entry{}, err)
			return
		}
		w := walk{folder: v, prefix: prefix, after: after, yield: yield}
		w.dir(ctx, prefix[:strings.LastIndexByte(prefix, '/')+1])
	}
}

type walk struct {
	*folder
	prefix, after string
	yield         func(vault.Entry, error) bool
}

// dir visits a folder, given with its '/'. It reports whether to go on.
func (w *walk) dir(ctx context.Context, dir string) bool {
	if err := ctx.Err(); err != nil {
		w.yield(vault.Entry{}, err)
		return false
	}
	entries, err := os.ReadDir(w.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		if err = w.there(); err == nil {
			return true
		}
	}
	if err != nil {
		w.yield(vault.Entry{}, w.trouble("list "+dir, err))
		return false
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := dir + e.Name()
		if e.IsDir() {
			name += "/" // so that it is compared as the beginning of the names in it
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !w.visit(ctx, name) {
			return false
		}
	}
	return true
}

func (w *walk) visit(ctx context.Context, name string) bool {
	inside := strings.HasSuffix(name, "/")
	switch {
	case inside && !strings.HasPrefix(name, w.prefix) && !strings.HasPrefix(w.prefix, name):
		return true
	case inside && name < w.after && !strings.HasPrefix(w.after, name):
		return true
	case inside:
		return w.dir(ctx, name)
	case !strings.HasPrefix(name, w.prefix) || name <= w.after:
		return true
	}
	s, err := os.Stat(w.path(name))
	if errors.Is(err, fs.ErrNotExist) { // deleted just now
		return true
	}
	if err != nil {
		w.yield(vault.Entry{}, w.trouble("list "+name, err))
		return false
	}
	return w.yield(vault.Entry{Name: name, Size: s.Size()}, nil)
}
