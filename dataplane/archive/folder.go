package archive

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

// folder is an archive being written to a folder, which is a vault of kind file too.
type folder struct {
	path  string
	store vault.Store
}

func createFolder(path string) (carrier, error) {
	if err := file.Create(path); err != nil {
		return nil, err
	}
	store, _, err := file.Open(path)
	if err != nil {
		return nil, err
	}
	return &folder{path: path, store: store}, nil
}

// aside reports whether an entry lies beside the objects.
func aside(name string) bool { return name == HeadName || name == SumsName }

func (f *folder) kept(ctx context.Context, name string) ([]byte, error) {
	var body []byte
	var err error
	if aside(name) {
		body, err = os.ReadFile(filepath.Join(f.path, name))
	} else {
		body, err = f.store.Get(ctx, name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, vault.ErrNotFound) {
		return nil, nil
	}
	return body, err
}

func (f *folder) put(ctx context.Context, name string, body []byte) error {
	if name == HeadName { // the archive is not whole until it has its sums again
		if err := os.Remove(filepath.Join(f.path, SumsName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unusable(f.path, "it cannot be written", err)
		}
	}
	if aside(name) {
		return f.beside(name, body)
	}
	outcome, err := f.store.PutIfAbsent(ctx, name, body)
	if err == nil && outcome == vault.Other {
		err = unusable(f.path, name+" is there with another content", nil)
	}
	return err
}

// beside stores a file beside the objects, whole or not at all.
func (f *folder) beside(name string, body []byte) error {
	path := filepath.Join(f.path, name)
	w, err := os.OpenFile(path+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return unusable(f.path, "it cannot be written", err)
	}
	_, err = w.Write(body)
	if err = errors.Join(err, w.Sync(), w.Close()); err == nil {
		err = os.Rename(path+partial, path)
	}
	if err == nil {
		err = syncFolder(f.path)
	}
	if err != nil {
		return unusable(f.path, "it cannot be written", err)
	}
	return nil
}

func (f *folder) finish(_ context.Context, sums []byte) error { return f.beside(SumsName, sums) }

func (f *folder) grows() bool { return true }

func (f *folder) close() error { return nil }
