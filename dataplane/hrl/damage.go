package hrl

import (
	"errors"
	"fmt"
)

// The causes that a caller may want to tell apart; every other damage is just a [Damage].
var (
	// ErrNotChangeLog: the bytes do not begin as the file of a change log does.
	ErrNotChangeLog = errors.New("not a Farshore change log")
	// ErrVersion: the file was written by a newer version of Farshore.
	ErrVersion = errors.New("unknown version of the change log's format")
	// ErrShort: the file ends before what it should hold.
	ErrShort = errors.New("the file is cut off")
	// ErrEmpty: no frame was ever written to the slot.
	ErrEmpty = errors.New("the slot is empty")
	// ErrTorn: the head of the frame is right, but not all of its pages were written.
	ErrTorn = errors.New("the frame was not written to its end")
)

// Damage says what is wrong with the bytes of a file, and where. It wraps one of the package's errors where one fits.
type Damage struct {
	Part   string // "header", "slot 3, page 17"
	Offset int64  // of the first byte concerned, from the start of the file
	What   string
	Err    error
}

// Error gives the damage on one line.
func (d *Damage) Error() string {
	s := fmt.Sprintf("%s at byte %d: %s", d.Part, d.Offset, d.What)
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (d *Damage) Unwrap() error { return d.Err }
