package file

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"farshore/fault"
)

// trouble turns an error of the operating system into a fault that says what to do. Errors of the context and faults
// pass through.
func (v *folder) trouble(doing string, err error) error {
	f := &fault.Fault{Subject: "vault " + v.root, What: doing, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		f.Code, f.Kind = "FS-3004", fault.Operator
		f.What += ": no space is left"
		f.Remedy = "free or add space on the volume of " + v.root
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		f.Code, f.Kind = "FS-3002", fault.Operator
		f.Remedy = "give the service's user write access to " + v.root
	default:
		f.Code, f.Kind = "FS-3001", fault.Transient
		f.Remedy = "look after the volume of " + v.root
	}
	return f
}

// syncDir makes names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
