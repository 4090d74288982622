package host

// Mapping is memory that begins at a page. A store to a mapping of a file is in the file however this process dies; it is
// on stable storage only when the system gets round to it.
type Mapping struct {
	bytes   []byte
	section uintptr //nolint:unused // Windows: what the view is of
}

// Bytes is the memory. It must not be touched behind [Mapping.Close].
func (m *Mapping) Bytes() []byte { return m.bytes }
