package initrd

import (
	"bytes"
	"fmt"
	"path"
)

// Archive is a cpio archive of the form that kernels unpack (Documentation/driver-api/early-userspace/buffer-format.rst of the
// Linux kernel), while it is being written. Folders that a file needs are made with it.
type Archive struct {
	out   *bytes.Buffer
	inode int
	made  map[string]bool
}

// File types of the mode (stat.h).
const (
	typeDirectory = 0o040000
	typeFile      = 0o100000
	typeLink      = 0o120000
	typeCharacter = 0o020000
)

// NewArchive begins an archive. Names in it have no slash in front.
func NewArchive(out *bytes.Buffer) *Archive {
	return &Archive{out: out, made: map[string]bool{".": true}}
}

// Directory makes a folder.
func (w *Archive) Directory(name string) {
	if w.made[name] {
		return
	}
	w.Directory(path.Dir(name))
	w.made[name] = true
	w.entry(name, typeDirectory|0o755, nil, device{})
}

// File puts a file in.
func (w *Archive) File(name string, body []byte, mode int) {
	w.Directory(path.Dir(name))
	w.entry(name, typeFile|mode, body, device{})
}

// Link puts a symbolic link in.
func (w *Archive) Link(name, to string) {
	w.Directory(path.Dir(name))
	w.entry(name, typeLink|0o777, []byte(to), device{})
}

// Character puts the node of a character device in.
func (w *Archive) Character(name string, major, minor int) {
	w.Directory(path.Dir(name))
	w.entry(name, typeCharacter|0o600, nil, device{major, minor})
}

// End closes the archive; nothing can be put in after it.
func (w *Archive) End() { w.entry("TRAILER!!!", 0, nil, device{}) }

type device struct{ major, minor int }

func (w *Archive) entry(name string, mode int, body []byte, d device) {
	w.inode++
	// magic, inode, mode, uid, gid, links, mtime, size, device (2), its own device (2), length of the name, checksum
	fmt.Fprintf(w.out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		w.inode, mode, 0, 0, 1, 0, len(body), 0, 0, d.major, d.minor, len(name)+1, 0)
	w.out.WriteString(name)
	w.out.WriteByte(0)
	w.pad()
	w.out.Write(body)
	w.pad()
}

// pad fills up to the next multiple of four.
func (w *Archive) pad() { w.out.Write(make([]byte, -w.out.Len()&3)) }
