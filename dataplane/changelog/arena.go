package changelog

// arena is the memory of a log: equal buffers in one mapping, outside the collector's heap. The kernel backs a page when
// it is first used.
type arena struct {
	mapped  []byte
	buffers []buffer
}

// buffer is a piece of an arena; its address is a multiple of the page size.
type buffer struct {
	bytes    []byte
	users    int  // who copies into it, reads it or writes it to the file now
	released bool // its frame has gone: the last user makes it free
}

func newArena(buffers, stride int) (*arena, error) {
	mapped, err := mapMemory(buffers * stride)
	if err != nil {
		return nil, err
	}
	a := &arena{mapped: mapped, buffers: make([]buffer, buffers)}
	for i := range a.buffers {
		a.buffers[i].bytes = mapped[i*stride : (i+1)*stride : (i+1)*stride]
	}
	return a, nil
}

// unmap gives the memory back. It may be called again.
func (a *arena) unmap() error {
	mapped := a.mapped
	a.mapped = nil
	if mapped == nil {
		return nil
	}
	return unmapMemory(mapped)
}
