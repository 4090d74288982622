package survey

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// maxLinks is how many links are followed for one name, as Linux does.
const maxLinks = 40

// Root is a root file system whose absolute links stay inside. It is an fs.FS; names are without a slash in front.
type Root struct {
	root *os.Root
}

// OpenRoot opens a folder as a root.
func OpenRoot(dir string) (*Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Root{root}, nil
}

// Close lets go of the folder.
func (r *Root) Close() error { return r.root.Close() }

// Resolve follows all links of a name. The last element need not exist.
func (r *Root) Resolve(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "resolve", Path: name, Err: fs.ErrInvalid}
	}
	done, left := "", strings.Split(name, "/")
	for links := 0; len(left) > 0; {
		element := left[0]
		left = left[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			done = strings.TrimPrefix(path.Dir("/"+done), "/")
			continue
		}
		at := path.Join(done, element)
		about, err := r.root.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) && len(left) == 0 {
			return at, nil
		}
		if err != nil {
			return "", err
		}
		if about.Mode()&fs.ModeSymlink == 0 {
			done = at
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
		}
		to, err := r.root.Readlink(at)
		if err != nil {
			return "", err
		}
		if path.IsAbs(to) {
			done = ""
		}
		left = append(strings.Split(to, "/"), left...)
	}
	if done == "" {
		done = "."
	}
	return done, nil
}

// Open opens a regular file or a folder. Devices and pipes are refused: opening one may do something.
func (r *Root) Open(name string) (fs.File, error) {
	at, err := r.Resolve(name)
	if err != nil {
		return nil, err
	}
	about, err := r.root.Lstat(at)
	if err != nil {
		return nil, err
	}
	if !about.Mode().IsRegular() && !about.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("it is no regular file")}
	}
	const flags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOFOLLOW
	// A look must not be the write that an idle machine sends: the owner and root may read without noting the time.
	f, err := r.root.OpenFile(at, flags|syscall.O_NOATIME, 0)
	if errors.Is(err, fs.ErrPermission) {
		return r.root.OpenFile(at, flags, 0)
	}
	return f, err
}

// Stat tells about what a name stands for in the end.
func (r *Root) Stat(name string) (fs.FileInfo, error) {
	at, err := r.Resolve(name)
	if err != nil {
		return nil, err
	}
	return r.root.Lstat(at)
}

// Lstat tells about a name itself.
func (r *Root) Lstat(name string) (fs.FileInfo, error) {
	dir, err := r.Resolve(path.Dir(name))
	if err != nil {
		return nil, err
	}
	return r.root.Lstat(path.Join(dir, path.Base(name)))
}

// ReadLink gives what a link says.
func (r *Root) ReadLink(name string) (string, error) {
	dir, err := r.Resolve(path.Dir(name))
	if err != nil {
		return "", err
	}
	return r.root.Readlink(path.Join(dir, path.Base(name)))
}
