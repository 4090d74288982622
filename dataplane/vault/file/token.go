package file

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/host"
	"farshore/dataplane/vault"
)

// lockPause is how long a lock that is held is left alone before it is tried again.
const lockPause = 2 * time.Millisecond

// location is the path of the disk itself.
func (p place) location() string { return p.path }

func (p place) state() string  { return filepath.Join(p.side, "state") }
func (p place) token() string  { return filepath.Join(p.side, "token") }  // writers lock it shared and compare
func (p place) fencer() string { return filepath.Join(p.side, "fencer") } // those who fence lock it, one at a time

// held is a lock and the file it is on.
type held struct{ file *os.File }

func (h held) release() error { return h.file.Close() }

// lock waits for a lock. Each call opens the file anew, so that the goroutines of a process exclude each other, too.
func lock(ctx context.Context, path string, how int) (held, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return held{}, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return held{f}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return held{}, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if err := host.Pause(ctx, lockPause); err != nil {
			return held{}, errors.Join(err, f.Close())
		}
	}
}

// exclude keeps all others who fence or make the disk away.
func (p place) exclude(ctx context.Context) (held, error) { return lock(ctx, p.fencer(), unix.LOCK_EX) }

// read gives the token in the file, 0 if there is none yet.
func (h held) read() (uint64, error) {
	content, err := io.ReadAll(io.NewSectionReader(h.file, 0, 64))
	if err != nil || len(content) == 0 {
		return 0, err
	}
	token, err := strconv.ParseUint(string(content[:min(tokenDigits, len(content))]), 10, 64)
	if err != nil || string(tokenText(token)) != string(content) {
		return 0, fmt.Errorf("read the writer's token %s: %w: %q", h.file.Name(), errDamagedToken, content)
	}
	return token, nil
}

const tokenDigits = 20

// errDamagedToken: the file does not hold what was written. Nobody is the disk's writer then, until somebody fences.
var errDamagedToken = errors.New("damaged")

// tokenText is what the file holds.
func tokenText(token uint64) []byte {
	text := fmt.Appendf(nil, "%0*d ", tokenDigits, token)
	return fmt.Appendf(text, "%08x\n", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
}

// next stores a token that no writer of this disk, nor of a removed disk of its name, has had.
func (p place) next(ctx context.Context) (uint64, error) {
	fencers, err := p.exclude(ctx)
	if err != nil {
		return 0, err
	}
	token, err := p.advance()
	if err != nil {
		return 0, errors.Join(err, fencers.release())
	}
	writers, err := lock(ctx, p.token(), unix.LOCK_EX) // the last write under an earlier token is over
	if err != nil {
		return 0, errors.Join(err, fencers.release())
	}
	return token, errors.Join(writers.release(), fencers.release())
}

func (p place) advance() (uint64, error) {
	f, err := os.OpenFile(p.token(), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return 0, err
	}
	token, err := held{f}.read()
	if errors.Is(err, errDamagedToken) { // far from all that there were
		token, err = 1<<63+rand.Uint64N(1<<62), f.Truncate(0)
	}
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	token += 1 + rand.Uint64N(1<<32)
	_, err = f.WriteAt(tokenText(token), 0)
	return token, errors.Join(err, f.Sync(), f.Close())
}

// writing holds off those who fence while the caller writes, if token is still the writer's.
func (p place) writing(ctx context.Context, token uint64) (held, error) {
	h, err := lock(ctx, p.token(), unix.LOCK_SH)
	if err != nil {
		return held{}, err
	}
	current, err := h.read()
	if err != nil {
		return held{}, errors.Join(err, h.release())
	}
	if token == 0 || current != token {
		return held{}, errors.Join(fmt.Errorf("write disk %s: %w", p.name, vault.ErrFenced), h.release())
	}
	return h, nil
}
