package block

import "bytes"

var blank [1 << 16]byte

// AllZero reports whether all bytes are zero; no bytes are.
func AllZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(blank))
		if !bytes.Equal(p[:n], blank[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
