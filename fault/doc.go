// Package fault describes what went wrong in the words of the person who must act.
//
// A [Fault] names a stable code, the subject it happened to, what happened and the way out. Code inside the
// system branches on sentinel errors and types; a Fault is made where an error reaches a person: an operator at
// a terminal, a reader of the Temporal UI, an auditor. The table of codes is data ([Codes]), and docs/faults.md
// is generated from it, so a code can be looked up years later.
//
// The package does no I/O and imports only the standard library.
package fault
