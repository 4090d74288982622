package vsphere

import (
	"fmt"
	"slices"
	"strings"

	"farshore/activities"
	"farshore/fault"
)

// report gathers what a preflight found.
type report struct {
	run  activities.Run
	good []string
	bad  []finding
}

// finding is one thing that must be mended.
type finding struct{ what, remedy string }

// well notes what is as it should be.
func (r *report) well(format string, args ...any) {
	r.good = append(r.good, fmt.Sprintf(format, args...))
}

// ill notes what is not, with the way out.
func (r *report) ill(remedy, format string, args ...any) {
	r.bad = append(r.bad, finding{what: fmt.Sprintf(format, args...), remedy: remedy})
}

// failed notes a check that vSphere answered with a fault, once. A transient one ends the preflight: it says nothing about the home.
func (r *report) failed(err error) error {
	f, ok := fault.As(err)
	if !ok || f.Kind == fault.Transient {
		return err
	}
	what := f.What
	if f.Err != nil {
		what += " (" + f.Err.Error() + ")"
	}
	if found := (finding{what: what, remedy: f.Remedy}); !slices.Contains(r.bad, found) {
		r.bad = append(r.bad, found)
	}
	return nil
}

// out is the end of a preflight: all that is well, or one fault with all that is not.
func (r *report) out() (activities.PreflightOut, error) {
	if len(r.bad) == 0 {
		return activities.PreflightOut{Checks: r.good}, nil
	}
	whats, remedies := make([]string, len(r.bad)), make([]string, len(r.bad))
	for i, b := range r.bad {
		whats[i] = fmt.Sprintf("(%d) %s", i+1, b.what)
		remedies[i] = fmt.Sprintf("(%d) %s", i+1, b.remedy)
	}
	return activities.PreflightOut{}, &fault.Fault{
		Code: "FS-5420", Kind: fault.Operator, Subject: "run " + string(r.run.ID),
		What:   fmt.Sprintf("%d of %d checks fail: %s", len(r.bad), len(r.bad)+len(r.good), strings.Join(whats, "; ")),
		Remedy: strings.Join(remedies, "; ") + "; then repeat the operation; nothing was changed",
	}
}
