package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"

	"farshore/fault"
)

// crossing is a fault on its way through Temporal: the details of an application error whose type is the fault's code.
type crossing struct {
	Code    string `json:"code"`
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	What    string `json:"what"`
	Remedy  string `json:"remedy,omitempty"`
	Cause   string `json:"cause,omitempty"`
}

// Outward makes of an error what Temporal can carry: a fault becomes an application error of the same code, retryable
// only if it is transient. Cancellations and Temporal's own errors pass as they are.
func Outward(err error) error {
	if err == nil {
		return nil
	}
	var application *temporal.ApplicationError
	if temporal.IsCanceledError(err) || errors.Is(err, context.Canceled) || errors.As(err, &application) {
		return err
	}
	f, ok := fault.As(err)
	if !ok {
		return err
	}
	c := crossing{Code: f.Code, Kind: f.Kind.String(), Subject: f.Subject, What: f.What, Remedy: f.Remedy}
	if f.Err != nil {
		c.Cause = f.Err.Error()
	}
	return temporal.NewApplicationErrorWithOptions(f.Error(), f.Code, temporal.ApplicationErrorOptions{
		NonRetryable: f.Kind != fault.Transient,
		Details:      []any{c},
	})
}

// Inward makes a fault of an error that came through Temporal: from a step, a child workflow, an update or a workflow's
// result. A cancellation passes as it is. What never was a fault becomes FS-7002.
func Inward(err error) error {
	if err == nil || temporal.IsCanceledError(err) || errors.Is(err, context.Canceled) {
		return err
	}
	var application *temporal.ApplicationError
	if errors.As(err, &application) && application.HasDetails() {
		var c crossing
		if application.Details(&c) == nil && c.Code == application.Type() {
			return c.fault()
		}
	}
	if f, ok := fault.As(err); ok {
		return f
	}
	return outsider(err)
}

func (c crossing) fault() *fault.Fault {
	kind, err := fault.ParseKind(c.Kind)
	if err != nil {
		kind = fault.Operator // from a newer version: a person decides
	}
	f := &fault.Fault{Code: c.Code, Kind: kind, Subject: c.Subject, What: c.What, Remedy: c.Remedy}
	if c.Cause != "" {
		f.Err = errors.New(c.Cause)
	}
	return f
}

// outsider describes an error of Temporal's or of a step that had no fault to give.
func outsider(err error) *fault.Fault {
	f := &fault.Fault{
		Code: "FS-7002", Kind: fault.Operator, Subject: "the workflow", What: "a step did not succeed",
		Remedy: "read the step's attempts in the Temporal UI, mend the cause, then repeat the operation", Err: err,
	}
	var step *temporal.ActivityError
	if errors.As(err, &step) {
		f.Subject = "step " + step.ActivityType().GetName()
		f.Err = step.Unwrap()
	}
	var late *temporal.TimeoutError
	if errors.As(err, &late) {
		f.What = "it did not finish in time (" + late.TimeoutType().String() + ")"
	}
	return f
}
