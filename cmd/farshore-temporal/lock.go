package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// fileLock is held on FILE.lock. The kernel drops it with the process, so no stale lock survives a kill; the lock file
// itself stays, because removing it would let two servers lock two different files of one name.
type fileLock struct {
	file *os.File
}

// lockFile takes the lock of the database file or says who has it. Two servers on one file would not corrupt it, but
// each would take the other's shards away without end.
func lockFile(path string) (*fileLock, error) {
	file, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusableFile(path, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(lockHeld(path, file), file.Close())
	}
	if err != nil {
		return nil, errors.Join(unusableFile(path, fmt.Errorf("lock it: %w", err)), file.Close())
	}
	if err := writeHolder(file); err != nil {
		return nil, errors.Join(unusableFile(path, err), file.Close())
	}
	return &fileLock{file: file}, nil
}

// release gives the lock back by closing the file.
func (l *fileLock) release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock the database file: %w", err)
	}
	return nil
}

// writeHolder leaves our process id in the lock file, for the message of whoever comes second.
func writeHolder(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("clear the lock file: %w", err)
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

func lockHeld(path string, file *os.File) error {
	holder := "another process"
	if text, err := io.ReadAll(file); err == nil && len(text) > 0 {
		holder = "process " + strings.TrimSpace(string(text))
	}
	return &fault{
		code: "FS-8001", kind: operator, subject: "file " + path,
		what:   "it is in use by " + holder,
		remedy: "stop that server and wait until it has ended, or name another file with --db",
	}
}
