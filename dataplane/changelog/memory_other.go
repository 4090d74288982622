//go:build !linux

package changelog

func mapMemory(bytes int) ([]byte, error) { return make([]byte, bytes), nil }

func unmapMemory([]byte) error { return nil }
