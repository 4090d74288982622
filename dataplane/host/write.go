package host

import (
	"errors"
	"os"
)

// Write replaces a file, or makes it, for its owner alone. The content and the name are on stable storage when Write returns
// nil; before that the file is what it was. One writer at a time.
func Write(path string, content []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return Replace(path+".new", path)
}
