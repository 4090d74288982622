package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// print writes a result: one JSON document, or the text that show makes of it.
func (t *tool) print(result any, show func(*text)) error {
	if t.output == "json" {
		document, err := encode(result)
		if err == nil {
			_, err = t.out.Write(append(document, '\n'))
		}
		if err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
		return nil
	}
	x := &text{w: tabwriter.NewWriter(t.out, 0, 8, 2, ' ', 0)}
	show(x)
	if err := errors.Join(x.err, x.w.Flush()); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// encode writes an answer of the API as the API itself writes it in JSON, with every field; anything else as Go does.
func encode(result any) ([]byte, error) {
	compact, err := json.Marshal(result)
	if m, ok := result.(proto.Message); ok {
		compact, err = protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer // protojson varies its white space on purpose
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// text writes lines whose columns are separated by tabs, and keeps the first error.
type text struct {
	w   *tabwriter.Writer
	err error
}

func (x *text) line(format string, args ...any) {
	if x.err == nil {
		_, x.err = fmt.Fprintf(x.w, format+"\n", args...)
	}
}

// fault writes a fault and its way out, each on a line of its own.
func (x *text) fault(f *farshorev1.Fault) {
	x.line("%s: %s: %s", f.GetCode(), f.GetSubject(), f.GetWhat())
	if f.GetRemedy() != "" {
		x.line("  remedy: %s", f.GetRemedy())
	}
}

// say writes a line of talk for a person. With -o json it says nothing: then stderr is for a fault alone.
func (t *tool) say(format string, args ...any) {
	if t.output != "json" {
		fmt.Fprintf(t.talk, format+"\n", args...)
	}
}

// faultDocument is a fault as -o json writes it to stderr.
type faultDocument struct {
	Code    string   `json:"code,omitempty"`
	Kind    string   `json:"kind"`
	Subject string   `json:"subject"`
	What    string   `json:"what"`
	Remedy  string   `json:"remedy,omitempty"`
	Plan    []string `json:"plan,omitempty"` // what would have been done, for FS-9002
}

// report writes the error that ends a command, and gives its exit code.
func (t *tool) report(err error) int {
	f, ok := fault.As(err)
	if errors.Is(err, context.Canceled) && !ok {
		err = errors.New("interrupted")
	}
	switch {
	case t.output == "json":
		t.reportJSON(f, err)
	case ok:
		x := &text{w: tabwriter.NewWriter(t.talk, 0, 8, 2, ' ', 0)}
		x.fault(hub.FaultMessage(f))
		err = errors.Join(err, x.err, x.w.Flush())
	default:
		t.say("farshore: %v", err)
	}
	return fault.ExitCode(err)
}

func (t *tool) reportJSON(f *fault.Fault, err error) {
	document := faultDocument{Kind: fault.Operator.String(), Subject: "farshore", What: err.Error()}
	if m := hub.FaultMessage(f); m != nil {
		document = faultDocument{Code: m.GetCode(), Kind: m.GetKind(), Subject: m.GetSubject(), What: m.GetWhat(), Remedy: m.GetRemedy()}
	}
	var unconfirmed *unconfirmedError
	if errors.As(err, &unconfirmed) {
		document.Plan = unconfirmed.plan
	}
	e := json.NewEncoder(t.talk)
	e.SetEscapeHTML(false)
	if e.Encode(document) != nil { // when stderr is gone there is nobody left to tell
		return
	}
}
