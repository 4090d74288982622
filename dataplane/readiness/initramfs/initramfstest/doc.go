// Package initramfstest makes small initial RAM file systems for tests.
package initramfstest

import (
	"fmt"
	"maps"
	"slices"
)

// Archive gives a cpio archive with these files, in the order of their names.
func Archive(files map[string]string) []byte {
	var out []byte
	for n, name := range slices.Sorted(maps.Keys(files)) {
		out = entry(out, n+1, name, files[name])
	}
	return entry(out, 0, "TRAILER!!!", "")
}

func entry(out []byte, inode int, name, content string) []byte {
	out = fmt.Appendf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	out = append(out, make([]byte, -len(out)&3)...)
	out = append(out, content...)
	return append(out, make([]byte, -len(out)&3)...)
}
