// Package audit keeps the record of who asked for what: one JSON line per call that changes something, each carrying the
// SHA-256 of the line before it. A line that was changed, removed or put in between is found by [Verify]; a change of the
// last line, and cutting off the end, is found by comparing the last hash with one noted elsewhere, which is why
// `farshore-control audit` prints it.
//
// An entry is on stable storage before the call it describes is carried out. Lines are never rewritten.
package audit
