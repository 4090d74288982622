package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"farshore/fault"
)

const maxLineBytes = 1 << 20

// Entry is one line of the log.
type Entry struct {
	Seq      uint64          `json:"seq"` // from 1
	Time     time.Time       `json:"time"`
	Who      string          `json:"who"`  // the identity in the caller's certificate, or "join token ID"
	From     string          `json:"from"` // network address
	Call     string          `json:"call"` // "OperatorService/Start"
	Request  json.RawMessage `json:"request,omitempty"`
	Previous string          `json:"previous"` // hash of the line before; of the first line: empty
}

// Log is an open audit log. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	file *os.File
	now  func() time.Time
	tail Tail
}

// Tail is the end of a log.
type Tail struct {
	Seq  uint64
	Hash string // of the last line; empty if there is none
	size int64
}

// Open opens the log at path, making it if it is not there, and verifies the whole of it. An unfinished last line, left by
// a crash before its call was carried out, is cut off. The error for a damaged log is a *fault.Fault (FS-6025).
func Open(path string, now func() time.Time) (*Log, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	tail, err := Verify(path, file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := file.Truncate(tail.size); err != nil {
		return nil, errors.Join(fmt.Errorf("cut the audit log's unfinished line off: %w", err), file.Close())
	}
	if _, err := file.Seek(tail.size, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("open the audit log: %w", err), file.Close())
	}
	return &Log{file: file, now: now, tail: tail}, nil
}

// Append writes an entry; Seq, Time and Previous are filled in here. It is on stable storage when Append returns nil.
func (l *Log) Append(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq, e.Time, e.Previous = l.tail.Seq+1, l.now().UTC(), l.tail.Hash
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	line = append(line, '\n')
	if len(line) > maxLineBytes {
		return fmt.Errorf("write the audit log: an entry of %d bytes, at most %d", len(line), maxLineBytes)
	}
	_, err = l.file.WriteAt(line, l.tail.size) // at the tail: what a failed write left is written over
	if err = errors.Join(err, l.file.Sync()); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	l.tail = Tail{Seq: e.Seq, Hash: hashOf(line), size: l.tail.size + int64(len(line))}
	return nil
}

// Tail is the end of the log.
func (l *Log) Tail() Tail {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tail
}

// Close closes the log.
func (l *Log) Close() error { return l.file.Close() }

// Verify reads a log from its beginning and gives its end; subject names it in faults. The error for a damaged log is a
// *fault.Fault (FS-6025) that names the line.
func Verify(subject string, r io.Reader) (Tail, error) {
	var tail Tail
	lines := bufio.NewReaderSize(r, maxLineBytes)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) { // an unfinished line is no entry
			return tail, nil
		}
		if err != nil {
			return tail, damaged(subject, tail.Seq+1, err.Error())
		}
		e, err := read(line)
		if err != nil {
			return tail, damaged(subject, tail.Seq+1, err.Error())
		}
		if e.Seq != tail.Seq+1 || e.Previous != tail.Hash {
			return tail, damaged(subject, tail.Seq+1, fmt.Sprintf("it is entry %d after %q, want entry %d after %q", e.Seq, e.Previous, tail.Seq+1, tail.Hash))
		}
		tail = Tail{Seq: e.Seq, Hash: hashOf(line), size: tail.size + int64(len(line))}
	}
}

// read accepts a line only if it is byte for byte what we would write.
func read(line []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return Entry{}, err
	}
	again, err := json.Marshal(e)
	if err != nil {
		return Entry{}, err
	}
	if !bytes.Equal(append(again, '\n'), line) {
		return Entry{}, errors.New("it is not in the form of an entry")
	}
	return e, nil
}

func damaged(subject string, line uint64, what string) error {
	return &fault.Fault{
		Code: "FS-6025", Kind: fault.Corrupt, Subject: "audit log " + subject, What: fmt.Sprintf("line %d was not written by Farshore: %s", line, what),
		Remedy: "keep the file as evidence, move it aside, and find out who changed it",
	}
}

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
