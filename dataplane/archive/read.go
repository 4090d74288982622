package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"farshore/dataplane/vault"
	"farshore/dataplane/vault/file"
)

// Object is an object of an archive.
type Object struct {
	Name string
	Body []byte
}

// Archive is an archive that was read whole and is as it was written.
type Archive struct {
	Head    Head
	Objects int
	Bytes   int64
	path    string
	first   map[int][32]byte // of parts that begin behind a position: the hash which their first segment follows on
	sums    map[string][32]byte
	points  points
}

// Open reads an archive whole and compares every object with its sum. Streams must be complete and hold together. The
// error is a *fault.Fault (FS-3541).
func Open(ctx context.Context, path string) (*Archive, error) {
	a := &Archive{path: path, first: map[int][32]byte{}, sums: map[string][32]byte{}, points: points{}}
	var c *check
	for o, err := range a.entries(ctx) {
		if err != nil {
			return nil, err
		}
		if c == nil {
			if err := a.begin(o); err != nil {
				return nil, err
			}
			c = newCheck(a.Head)
			continue
		}
		if err := c.take(o.Name, o.Body); err != nil {
			return nil, err
		}
		a.points.keep(o)
		a.Objects, a.Bytes = a.Objects+1, a.Bytes+int64(len(o.Body))
	}
	if c == nil {
		return nil, damaged(path, "it is no archive of a vault", nil)
	}
	for part, hash := range c.first {
		a.first[part] = hash
	}
	return a, c.end()
}

// begin reads the head.
func (a *Archive) begin(o Object) error {
	if o.Name != HeadName {
		return damaged(a.path, fmt.Sprintf("it is no archive of a vault: it begins with %q", o.Name), nil)
	}
	r := json.NewDecoder(bytes.NewReader(o.Body))
	r.DisallowUnknownFields()
	err := r.Decode(&a.Head)
	if err == nil && (a.Head.Format != format || a.Head.Version != version) {
		err = fmt.Errorf("it is %q of version %d, this program reads version %d", a.Head.Format, a.Head.Version, version)
	}
	if err != nil {
		return damaged(HeadName, "it cannot be read", err)
	}
	return nil
}

// Each gives the objects in their order, each compared again with what Open has read.
func (a *Archive) Each(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range a.entries(ctx) {
			if err == nil && o.Name == HeadName {
				continue
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// entries gives the head and the objects. Of those that come with their sums behind them, as in a tar file, the sums are
// compared at the end; a second reading compares each with the first one.
func (a *Archive) entries(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var err error
		if s, serr := os.Stat(a.path); serr == nil && s.IsDir() {
			err = a.fromFolder(ctx, yield)
		} else {
			err = a.fromTar(ctx, yield)
		}
		if err != nil {
			yield(Object{}, err)
		}
	}
}

// errStop ends a reading that nobody wants to go on.
var errStop = errors.New("enough")

// stopped is nil for a reading that was ended by its reader.
func stopped(err error) error {
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// pass compares an entry with what is known of it, and gives it on.
func (a *Archive) pass(o Object, yield func(Object, error) bool) error {
	sum := sha256.Sum256(o.Body)
	if known, ok := a.sums[o.Name]; ok && known != sum {
		return damaged(o.Name, "its bytes are not those that were written", nil)
	}
	a.sums[o.Name] = sum
	if !yield(o, nil) {
		return errStop
	}
	return nil
}

func (a *Archive) fromTar(ctx context.Context, yield func(Object, error) bool) error {
	f, err := os.Open(a.path)
	if err != nil {
		return unusable(a.path, "it cannot be read", err)
	}
	defer f.Close()
	r := tar.NewReader(bufio.NewReaderSize(f, 1<<20))
	seen := map[string]bool{}
	for ctx.Err() == nil {
		h, body, err := nextEntry(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return damaged(a.path, "it ends before its sums: it is not whole", nil)
		}
		if err != nil {
			return damaged(a.path, "it is no tar file, or a damaged one", err)
		}
		if h.Name == SumsName {
			return a.compare(body, seen)
		}
		if seen[h.Name] {
			return damaged(h.Name, "it is there twice", nil)
		}
		seen[h.Name] = true
		if err := a.pass(Object{Name: h.Name, Body: body}, yield); err != nil {
			return stopped(err)
		}
	}
	return ctx.Err()
}

// compare compares what was read with the sums at the end.
func (a *Archive) compare(sums []byte, seen map[string]bool) error {
	lines, err := parseSums(sums)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if !seen[l.name] || a.sums[l.name] != l.sum {
			return damaged(l.name, "it is missing, or its bytes are not those that were written", nil)
		}
		delete(seen, l.name)
	}
	for name := range seen {
		return damaged(name, "its sum is missing", nil)
	}
	return nil
}

func (a *Archive) fromFolder(ctx context.Context, yield func(Object, error) bool) error {
	sums, err := os.ReadFile(filepath.Join(a.path, SumsName))
	if err != nil {
		return damaged(a.path, "it has no sums: it is no archive, or not whole", err)
	}
	lines, err := parseSums(sums)
	if err != nil {
		return err
	}
	store, _, err := file.Open(a.path)
	if err != nil {
		return err
	}
	for _, l := range lines {
		var body []byte
		if aside(l.name) {
			body, err = os.ReadFile(filepath.Join(a.path, l.name))
		} else {
			body, err = store.Get(ctx, l.name)
		}
		if errors.Is(err, vault.ErrNotFound) {
			return damaged(l.name, "it is missing", err)
		}
		if err != nil {
			return unusable(a.path, l.name+" cannot be read", err)
		}
		a.sums[l.name] = l.sum
		if err := a.pass(Object{Name: l.name, Body: body}, yield); err != nil {
			return stopped(err)
		}
	}
	return nil
}

// sumLine is one line of the sums.
type sumLine struct {
	sum  [32]byte
	name string
}

func parseSums(body []byte) ([]sumLine, error) {
	var lines []sumLine
	for line := range strings.Lines(string(body)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		l := sumLine{name: name}
		read, err := hex.DecodeString(sum)
		copy(l.sum[:], read)
		if !ok || err != nil || sum != hex.EncodeToString(l.sum[:]) || !strings.HasSuffix(line, "\n") {
			return nil, damaged(SumsName, fmt.Sprintf("line %d is no sum and a name", len(lines)+1), nil)
		}
		lines = append(lines, l)
	}
	return lines, nil
}
