package processserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"farshore"
	"farshore/dataplane/host"
	"farshore/dataplane/segment"
	"farshore/fault"
)

const (
	spoolSuffix   = ".fsj"
	damagedSuffix = ".damaged"
	tempPrefix    = ".tmp-"
	retryFull     = time.Second // how often a full volume is tried again
	readTries     = 5           // of a spooled file, before it is given up
	retryRead     = 300 * time.Millisecond
)

// entry is one spooled segment.
type entry struct {
	machine  farshore.MachineID
	position farshore.Position
	path     string
	bytes    int64
}

// spool is the cache: sealed segments on the server's own disk, until they are in the vault. See docs/formats/spool.md.
type spool struct {
	dir   string
	limit int64

	mu    sync.Mutex
	used  int64
	by    map[farshore.MachineID]int64
	live  map[farshore.MachineID]bool // machines with a session
	freed chan struct{}               // closed and made anew whenever something was removed
	full  *fault.Fault                // why somebody is waiting
}

// openSpool takes over what an earlier process left in dir.
func openSpool(dir string, limit int64) (*spool, error) {
	s := &spool{
		dir: dir, limit: limit, by: map[farshore.MachineID]int64{}, live: map[farshore.MachineID]bool{}, freed: make(chan struct{}),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, s.unusable(err)
	}
	machines, err := os.ReadDir(dir)
	if err != nil {
		return nil, s.unusable(err)
	}
	for _, d := range machines {
		m, err := farshore.ParseMachineID(d.Name())
		if !d.IsDir() || err != nil {
			continue // lost+found, or somebody's own
		}
		if err := s.sweep(m); err != nil {
			return nil, s.unusable(err)
		}
		entries, err := s.entries(m)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			s.account(m, e.bytes)
		}
	}
	return s, s.fits()
}

// fits refuses a limit that the volume cannot hold: the system's own disk must not be filled by surprise.
func (s *spool) fits() error {
	var v syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &v); err != nil {
		return s.unusable(err)
	}
	if free := int64(v.Bavail) * v.Bsize; s.limit > free+s.used {
		return &fault.Fault{
			Code: "FS-2104", Kind: fault.Operator, Subject: "cache " + s.dir,
			What:   fmt.Sprintf("its limit is %s, the volume has room for %s", gib(s.limit), gib(free+s.used)),
			Remedy: "lower cache.bytes in the configuration, or give the cache a larger volume of its own",
		}
	}
	return nil
}

// gib writes a size for people.
func gib(n int64) string { return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30)) }

func (s *spool) unusable(err error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-2104", Kind: fault.Operator, Subject: "cache " + s.dir, What: "it cannot be used",
		Remedy: "check that the folder is on a healthy volume and belongs to the process server's user", Err: err,
	}
}

// sweep removes what was being written when an earlier process ended: it was never acknowledged.
func (s *spool) sweep(m farshore.MachineID) error {
	left, err := filepath.Glob(filepath.Join(s.dir, string(m), tempPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// entries lists the spooled segments of a machine in stream order.
func (s *spool) entries(m farshore.MachineID) ([]entry, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, string(m)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.unusable(err)
	}
	var all []entry
	for _, f := range files {
		name, ours := strings.CutSuffix(f.Name(), spoolSuffix)
		p, err := farshore.ParsePosition(name)
		if !ours || err != nil {
			continue
		}
		file, err := f.Info()
		if err != nil {
			return nil, s.unusable(err)
		}
		all = append(all, entry{machine: m, position: p, path: filepath.Join(s.dir, string(m), f.Name()), bytes: file.Size()})
	}
	slices.SortFunc(all, func(a, b entry) int { return a.position.Compare(b.position) })
	return all, nil
}

// machines lists the machines that have spooled segments, in order.
func (s *spool) machines() []farshore.MachineID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []farshore.MachineID
	for m := range s.by {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b farshore.MachineID) int { return cmp.Compare(a, b) })
	return all
}

// put stores a sealed segment. It waits while there is no room for it, as long as ctx lasts. When it returns nil, the
// segment is on stable storage and may be acknowledged as cached.
func (s *spool) put(ctx context.Context, m farshore.MachineID, p farshore.Position, sealed []byte) (entry, error) {
	e := entry{machine: m, position: p, path: filepath.Join(s.dir, string(m), p.String()+spoolSuffix), bytes: int64(len(sealed))}
	for {
		freed, ok := s.reserve(e)
		if ok {
			err := s.write(e, sealed)
			if err == nil {
				s.clear()
				return e, nil
			}
			s.release(e)
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
				return entry{}, s.unusable(err)
			}
			freed = s.volumeFull(err)
		}
		if err := await(ctx, freed); err != nil {
			return entry{}, fmt.Errorf("wait for room in the cache: %w", err)
		}
	}
}

// await waits until something was removed; a full volume may also get room from others, so it waits not too long.
func await(ctx context.Context, freed <-chan struct{}) error {
	timer := time.NewTimer(retryFull)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-freed:
	case <-timer.C:
	}
	return nil
}

func (s *spool) reserve(e entry) (freed <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mayTake(quota{limit: s.limit, used: s.used, own: s.by[e.machine], machines: s.active()}, e.bytes) {
		s.account(e.machine, e.bytes)
		return nil, true
	}
	s.full = &fault.Fault{
		Code: "FS-2103", Kind: fault.Transient, Subject: "cache " + s.dir,
		What:   fmt.Sprintf("it is full (%s of %s used); agents wait", gib(s.used), gib(s.limit)),
		Remedy: "check that the vault can be reached fast enough; raise cache.bytes, or add a process server",
	}
	return s.freed, false
}

func (s *spool) volumeFull(err error) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = &fault.Fault{
		Code: "FS-2103", Kind: fault.Operator, Subject: "cache " + s.dir,
		What:   fmt.Sprintf("its volume is full, though only %s of %s are used; agents wait", gib(s.used), gib(s.limit)),
		Remedy: "free space on the volume of the cache, or give the cache a volume of its own", Err: err,
	}
	return s.freed
}

func (s *spool) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = nil
}

// active counts the machines that share the cache.
func (s *spool) active() int64 {
	n := len(s.live)
	for m := range s.by {
		if !s.live[m] {
			n++
		}
	}
	return int64(n)
}

// quota is the state of the cache as one machine sees it.
type quota struct{ limit, used, own, machines int64 }

// mayTake decides whether a machine may store n more bytes: below half full anybody may; above, each up to its share. A
// machine that has nothing may always store one segment, if there is room at all.
func mayTake(q quota, n int64) bool {
	switch {
	case q.used == 0:
		return true // a segment larger than the whole cache must not wait for ever
	case q.used+n > q.limit:
		return false
	case q.used+n <= q.limit/2, q.own == 0:
		return true
	}
	return q.own+n <= q.limit/max(q.machines, 1)
}

func (s *spool) account(m farshore.MachineID, n int64) {
	s.used += n
	s.by[m] += n
	if s.by[m] == 0 {
		delete(s.by, m)
	}
}

func (s *spool) release(e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(e.machine, -e.bytes)
	close(s.freed)
	s.freed = make(chan struct{})
}

// write makes the file: written, synced, renamed, folder synced; a new folder is synced into its parent first. On an
// error no file is left that is not accounted for.
func (s *spool) write(e entry, sealed []byte) error {
	dir := filepath.Dir(e.path)
	if err := s.folder(dir); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(sealed)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), e.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	if err := syncFolder(dir); err != nil {
		return errors.Join(err, os.Remove(e.path))
	}
	return nil
}

// folder makes a machine's folder, if it is new, on stable storage.
func (s *spool) folder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := syncFolder(s.dir); err != nil {
		return errors.Join(err, os.Remove(dir)) // so that it is new again at the next try
	}
	return nil
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// load reads a spooled segment and tries a few times: a file is given up only when that did not help. The error is a
// *fault.Fault FS-2106 of kind Corrupt if the file is lost, and of another kind if the trouble is not the file's.
func (s *spool) load(ctx context.Context, e entry) (sealed []byte, seg *segment.Segment, err error) {
	for range readTries {
		sealed, seg, err = s.read(e)
		if f, ok := fault.As(err); err == nil || ok && f.Kind == fault.Corrupt {
			return sealed, seg, err
		}
		if host.Pause(ctx, retryRead) != nil {
			return nil, nil, fmt.Errorf("read %s: %w", e.path, context.Cause(ctx))
		}
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
		return nil, nil, &fault.Fault{
			Code: "FS-2104", Kind: fault.Transient, Subject: "cache " + s.dir, What: "the process server has no files or memory left to read it",
			Remedy: "nothing if it passes; else raise the limits of the process server", Err: err,
		}
	}
	return nil, nil, lost(e, "the spooled segment cannot be read", err)
}

// read gives a spooled segment, verified again.
func (s *spool) read(e entry) ([]byte, *segment.Segment, error) {
	sealed, err := os.ReadFile(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, lost(e, "the spooled segment is gone", err)
	}
	if err != nil {
		return nil, nil, err
	}
	seg, err := segment.Parse(sealed)
	if err == nil && (seg.Header().Position() != e.position || seg.Header().Machine != e.machine) {
		err = fmt.Errorf("it is segment %v of machine %s", seg.Header().Position(), seg.Header().Machine)
	}
	if err != nil {
		return nil, nil, lost(e, "the spooled segment is not what was written", err)
	}
	return sealed, seg, nil
}

func lost(e entry, what string, err error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-2106", Kind: fault.Corrupt, Subject: e.path, What: what,
		Remedy: "check the volume of the cache; the agent copies again what was not durable, and the file is kept aside", Err: err,
	}
}

// remove takes a segment out, because it is in the vault or will never be. Removing again is no error.
func (s *spool) remove(e entry) error {
	return s.drop(e, os.Remove(e.path))
}

// setAside keeps a file that must not be put for people and takes it out of the stream: its place is a hole from now on.
func (s *spool) setAside(e entry) error {
	return s.drop(e, os.Rename(e.path, e.path+damagedSuffix))
}

func (s *spool) drop(e entry, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.unusable(err)
	}
	s.release(e)
	return nil
}

// attend says which machines have a session: they share the cache.
func (s *spool) attend(m farshore.MachineID, live bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if live {
		s.live[m] = true
	} else {
		delete(s.live, m)
	}
}

// state gives what is used and why somebody waits, if anybody does.
func (s *spool) state() (used int64, full *fault.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.full
}
