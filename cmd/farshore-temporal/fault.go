package main

import "errors"

// kind says what the reader of a fault may do next; the exit code follows from it.
type kind uint8

const (
	transient kind = iota + 1 // trying again may help
	operator                  // a person must change something first
	refused                   // it makes no sense in the present state; nothing was changed
	usage                     // the command line makes no sense
)

// exitCode gives the exit code of the main module's table (docs/faults.md) for the kind.
func (k kind) exitCode() int {
	switch k {
	case transient:
		return 10
	case operator:
		return 1
	case refused:
		return 11
	case usage:
		return 2
	}
	return 1
}

// fault is an error with a name, a subject and a way out, in the form every Farshore command prints.
type fault struct {
	code    string // "FS-8001", listed in the main module's table
	kind    kind
	subject string // what it happened to
	what    string // what happened, with its numbers
	remedy  string // what to do now
	err     error  // the cause, if there is one
}

// Error gives the fault on one line, without the remedy.
func (f *fault) Error() string {
	s := f.code + ": " + f.subject + ": " + f.what
	if f.err != nil {
		s += ": " + f.err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (f *fault) Unwrap() error { return f.err }

// report gives the words for a person who met err, and the exit code.
func report(err error) (words string, exit int) {
	var f *fault
	if !errors.As(err, &f) {
		return "farshore-temporal: " + err.Error() + "\n", operator.exitCode()
	}
	words = f.Error() + "\n"
	if f.remedy != "" {
		words += "  remedy: " + f.remedy + "\n"
	}
	return words, f.kind.exitCode()
}
