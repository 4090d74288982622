package changelog

import "golang.org/x/sys/unix"

func mapMemory(bytes int) ([]byte, error) {
	mapped, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	// The content of the disks belongs into no core dump; older kernels may not know the advice.
	unix.Madvise(mapped, unix.MADV_DONTDUMP) //nolint:errcheck
	return mapped, nil
}

func unmapMemory(mapped []byte) error { return unix.Munmap(mapped) }
