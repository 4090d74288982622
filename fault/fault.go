package fault

import (
	"errors"
	"fmt"
)

// Kind says what the caller may do next.
type Kind uint8

// The kinds of fault. Retry policies, HTTP statuses and exit codes are chosen from them and from nothing else.
const (
	// Transient faults may go away by themselves: trying again is right.
	Transient Kind = iota + 1
	// Operator faults need a person to change something first.
	Operator
	// Refused means the request makes no sense in the present state; nothing was changed.
	Refused
	// Corrupt means stored bytes are not what was written: stop at once.
	Corrupt
)

// String names the kind in one lower-case word, as it is written in JSON.
func (k Kind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Operator:
		return "operator"
	case Refused:
		return "refused"
	case Corrupt:
		return "corrupt"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind is the inverse of [Kind.String].
func ParseKind(s string) (Kind, error) {
	for k := Transient; k <= Corrupt; k++ {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("parse fault kind: %q is none of transient, operator, refused, corrupt", s)
}

// Fault is an error with a name, a subject and a way out.
type Fault struct {
	Code    string // stable, listed in docs/faults.md: "FS-2103"
	Kind    Kind   // what the caller may do next
	Subject string // what it happened to: "machine web-01", "process server hq-1"
	What    string // what happened, with its numbers: "the cache volume is full (0.3 of 200 GiB left)"
	Remedy  string // what to do now: "free space on /var/lib/farshore"
	Err     error  // the cause, if there is one
}

// Error gives the fault on one line, without the remedy.
func (f *Fault) Error() string {
	s := f.Code + ": " + f.Subject + ": " + f.What
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// As finds the outermost fault in a chain of wrapped errors.
func As(err error) (*Fault, bool) {
	var f *Fault
	ok := errors.As(err, &f)
	return f, ok
}
