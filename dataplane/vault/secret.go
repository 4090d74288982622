package vault

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"farshore/fault"
)

// maxSecretBytes is the largest secret file that is read.
const maxSecretBytes = 64 << 10

// ReadSecret reads a file that nobody but its owner may read. The error is a *fault.Fault (FS-3007).
func ReadSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, badKeyFile(path, "it cannot be read", "check the path and the owner of the file", err)
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		return nil, badKeyFile(path, "it cannot be read", "check the path and the owner of the file", err)
	}
	if s.Mode().Perm()&0o077 != 0 {
		return nil, badKeyFile(path, fmt.Sprintf("others than its owner may use it (mode %04o)", s.Mode().Perm()), "run: chmod 600 "+path, nil)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil || len(content) > maxSecretBytes {
		return nil, badKeyFile(path, fmt.Sprintf("it cannot be read, or has more than %d bytes", maxSecretBytes), "check the path", err)
	}
	return content, nil
}

// writeSecret makes a new file that only its owner may read, durably. A file that is there is never replaced.
func writeSecret(path string, content []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return badKeyFile(path, "it cannot be made", "choose a path where no file is", err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return badKeyFile(path, "it cannot be written", "check the volume", errors.Join(err, os.Remove(path)))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return badKeyFile(path, "its folder cannot be synced", "check the volume", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return badKeyFile(path, "its folder cannot be synced", "check the volume", err)
	}
	return nil
}

func badKeyFile(path, what, remedy string, err error) error {
	return &fault.Fault{Code: "FS-3007", Kind: fault.Operator, Subject: "key file " + path, What: what, Remedy: remedy, Err: err}
}
