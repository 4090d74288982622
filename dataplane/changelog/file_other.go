//go:build !linux

package changelog

import "farshore/dataplane/hrl"

// openFile refuses: only on Linux is it known how to keep the file's own writes out of the stream.
func openFile(path string, _ hrl.Header, _ []byte) (*file, error) {
	return nil, badPlace(path, "a file behind the change log is not supported on this system", nil)
}
