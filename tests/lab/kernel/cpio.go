package kernel

import (
	"bytes"
	"fmt"
	"path"
)

// archiveWriter writes a cpio archive of the form that kernels unpack (Documentation/driver-api/early-userspace/
// buffer-format.rst of the Linux kernel). Folders that a file needs are made with it.
type archiveWriter struct {
	out   *bytes.Buffer
	inode int
	made  map[string]bool
}

// File types of the mode (stat.h).
const (
	typeDirectory = 0o040000
	typeFile      = 0o100000
	typeLink      = 0o120000
)

func newArchiveWriter(out *bytes.Buffer) *archiveWriter {
	return &archiveWriter{out: out, made: map[string]bool{".": true}}
}

func (w *archiveWriter) directory(name string) {
	if w.made[name] {
		return
	}
	w.directory(path.Dir(name))
	w.made[name] = true
	w.entry(name, typeDirectory|0o755, nil)
}

func (w *archiveWriter) file(name string, body []byte, mode int) {
	w.directory(path.Dir(name))
	w.entry(name, typeFile|mode, body)
}

func (w *archiveWriter) link(name, to string) {
	w.directory(path.Dir(name))
	w.entry(name, typeLink|0o777, []byte(to))
}

func (w *archiveWriter) end() { w.entry("TRAILER!!!", 0, nil) }

func (w *archiveWriter) entry(name string, mode int, body []byte) {
	w.inode++
	// magic, inode, mode, uid, gid, links, mtime, size, device (2), its own device (2), length of the name, checksum
	fmt.Fprintf(w.out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", w.inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name)+1, 0)
	w.out.WriteString(name)
	w.out.WriteByte(0)
	w.pad()
	w.out.Write(body)
	w.pad()
}

// pad fills up to the next multiple of four.
func (w *archiveWriter) pad() { w.out.Write(make([]byte, -w.out.Len()&3)) }
