package disk

// FileSystem is a mounted file system.
type FileSystem struct {
	MountPoint string
	Type       string // "NTFS"
	Source     string // the volume it lies on
}

// FileSystems lists the mounted file systems that a program can hold still. Windows lets none: a consistent state comes from
// a snapshot.
func FileSystems(...*Device) ([]FileSystem, error) { return nil, nil }

// Flush writes out what is dirty in the file systems.
func Flush([]FileSystem) error { return nil }
