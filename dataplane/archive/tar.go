package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"farshore/dataplane/vault"
	"farshore/fault"
)

// partial is behind the name of an archive that is not whole.
const partial = ".partial"

// tarBlock is what entries of a tar file are padded to.
const tarBlock = 512

// tarFile is an archive being written to a tar file. Equal plans give equal bytes.
type tarFile struct {
	path   string
	file   *os.File
	reader *tar.Reader // of what a former try has left; nil: all of it was seen
	whole  int64       // so many bytes are whole entries
	writer *tar.Writer
}

// create opens a carrier.
func create(path string) (carrier, error) {
	if s, err := os.Stat(path); os.IsPathSeparator(path[len(path)-1]) || err == nil && s.IsDir() {
		return createFolder(path)
	} else if err == nil {
		return nil, unusable(path, "it exists already", nil)
	}
	f, err := os.OpenFile(path+partial, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(path, "it cannot be made", err)
	}
	return &tarFile{path: path, file: f, reader: tar.NewReader(f)}, nil
}

func unusable(path, what string, err error) error {
	return &fault.Fault{
		Code: "FS-3522", Kind: fault.Operator, Subject: "archive " + path, What: what, Remedy: "choose another name, or check the volume", Err: err,
	}
}

func (t *tarFile) kept(_ context.Context, name string) ([]byte, error) {
	if t.reader == nil {
		return nil, nil
	}
	header, body, err := nextEntry(t.reader)
	if err == nil && header.Name == name {
		end := t.whole + tarBlock + int64(len(body))
		whole := (end + tarBlock - 1) / tarBlock * tarBlock
		padding := make([]byte, whole-end)
		if n, err := t.file.ReadAt(padding, end); n < len(padding) && err != nil || slices.ContainsFunc(padding, func(b byte) bool { return b != 0 }) {
			return nil, t.cut() // it was broken off behind the body
		}
		t.whole = whole
		return body, nil
	}
	if f, ok := fault.As(err); ok { // of an entry that no archive has
		return nil, f
	}
	return nil, t.cut() // it was broken off here
}

// cut drops what stands behind the last whole entry; from there on is written.
func (t *tarFile) cut() error {
	t.reader = nil
	if err := t.file.Truncate(t.whole); err != nil {
		return unusable(t.path, "what a former try has left cannot be cut off", err)
	}
	if _, err := t.file.Seek(t.whole, io.SeekStart); err != nil {
		return unusable(t.path, "it cannot be written", err)
	}
	t.writer = tar.NewWriter(t.file)
	return nil
}

func (t *tarFile) put(_ context.Context, name string, body []byte) error {
	err := t.writer.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o600, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	if err == nil {
		_, err = t.writer.Write(body)
	}
	if err == nil {
		err = t.writer.Flush()
	}
	if err != nil {
		return unusable(t.path, "it cannot be written", err)
	}
	return nil
}

func (t *tarFile) finish(ctx context.Context, sums []byte) error {
	if t.writer == nil { // everything was there
		if err := t.cut(); err != nil {
			return err
		}
	}
	if err := t.put(ctx, SumsName, sums); err != nil {
		return err
	}
	err := errors.Join(t.writer.Close(), t.file.Sync())
	if err == nil {
		err = os.Rename(t.path+partial, t.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(t.path))
	}
	if err != nil {
		return unusable(t.path, "it cannot be completed", err)
	}
	return nil
}

func (t *tarFile) grows() bool { return false }

func (t *tarFile) close() error { return t.file.Close() }

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// nextEntry reads one entry whole. io.EOF: there is none, or only a part of one.
func nextEntry(r *tar.Reader) (*tar.Header, []byte, error) {
	h, err := r.Next()
	if err != nil {
		return nil, nil, err
	}
	if h.Typeflag != tar.TypeReg || h.Size > vault.MaxObjectBytes {
		return nil, nil, damaged(h.Name, fmt.Sprintf("it is no plain file of at most %d bytes", vault.MaxObjectBytes), nil)
	}
	body, err := io.ReadAll(r)
	if err == nil && int64(len(body)) < h.Size {
		err = io.ErrUnexpectedEOF
	}
	return h, body, err
}
