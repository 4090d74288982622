package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"farshore/dataplane/host"
)

// writeFile replaces the file name in dir: whole and on stable storage, or not at all.
func writeFile(dir, name string, content []byte) (err error) {
	tmp, err := os.CreateTemp(dir, "."+name+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
	}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
		if rm := os.Remove(tmp.Name()); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}()
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return host.Replace(tmp.Name(), filepath.Join(dir, name))
}
