package fault

// Code is one line of the table of faults.
type Code struct {
	Code  string // "FS-2103"
	Title string // the class of fault in a few words
}

// Codes lists every fault that Farshore can report, in order. A code is never reused for another meaning.
// The thousands say where it arises:
//
//	1 mobility agent     2 process server and stream    3 vault, journal, formats   4 applier and recovery
//	5 Azure              6 configuration server, API    7 states and workflows      8 Temporal      9 command line
var Codes = []Code{
	{"FS-6001", "the name is not a valid machine, disk or group name"},
	{"FS-7001", "the operation is not allowed in the present state"},
	{"FS-9001", "the command line makes no sense"},
	{"FS-9002", "confirmation is needed"},
}
