package fault

// The exit codes of every Farshore command, listed in docs/faults.md.
const (
	ExitOK           = 0  // done
	ExitFailed       = 1  // anything not named below
	ExitUsage        = 2  // the command line makes no sense
	ExitUnreachable  = 10 // a transient fault: the other side did not answer or is busy
	ExitRefused      = 11 // refused in the present state; nothing was changed
	ExitConfirmation = 12 // the plan was printed and --yes is needed
	ExitCorrupt      = 13 // stored bytes are not what was written
)

// The faults of a command line, which have exit codes of their own.
const (
	CodeUsage       = "FS-9001" // it makes no sense
	CodeUnconfirmed = "FS-9002" // its plan was shown and nobody agreed
)

// ExitCode chooses the exit code for an error.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	f, ok := As(err)
	if !ok {
		return ExitFailed
	}
	switch f.Code {
	case CodeUsage:
		return ExitUsage
	case CodeUnconfirmed:
		return ExitConfirmation
	}
	switch f.Kind {
	case Transient:
		return ExitUnreachable
	case Refused:
		return ExitRefused
	case Corrupt:
		return ExitCorrupt
	case Operator:
		return ExitFailed
	}
	return ExitFailed
}
