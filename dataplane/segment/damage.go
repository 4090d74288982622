package segment

import (
	"errors"
	"fmt"
)

// The causes that a caller may want to tell apart; every other damage is just a [Damage].
var (
	// ErrNotSegment: the bytes do not begin as a segment does.
	ErrNotSegment = errors.New("not a Farshore segment")
	// ErrVersion: the segment was written by a newer version of Farshore.
	ErrVersion = errors.New("unknown version of the segment format")
	// ErrShort: the bytes end before the segment does.
	ErrShort = errors.New("the segment is cut off")
	// ErrKey: the data key does not fit, or what it protects was changed.
	ErrKey = errors.New("wrong data key, or changed by somebody without it")
)

// Damage says what is wrong with the bytes of a segment, and where. It wraps one of the package's errors where one fits.
type Damage struct {
	Part   string // "header", "frame 3", "index", "trailer"
	Offset int64  // of the first byte concerned, from the start of the segment
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
