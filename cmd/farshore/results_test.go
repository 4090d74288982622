package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/workflows"
)

// results are what runs end with, by operation.
var results = map[string]any{
	"test-failover": activities.TestRecord{},
	"failover":      activities.FailoverRecord{},
	"commit":        workflows.Settled{},
	"reprotect":     activities.ReprotectRecord{},
	"failback":      activities.FailbackRecord{},
	"verify":        activities.Scrubbed{},
	"compare":       activities.Compared{},
	"verify-vault":  workflows.VerifiedVault{},
}

// asWritten makes of the outcome that a script has for a run the one that its workflow would write: with all the fields of the
// real result, and with no other.
func asWritten(run *farshorev1.Run) error {
	if run.GetOutcome() == "" {
		return nil
	}
	result, ok := results[run.GetOperation()]
	if !ok {
		return fmt.Errorf("nobody knows the result of operation %q", run.GetOperation())
	}
	written := reflect.New(reflect.TypeOf(result))
	d := json.NewDecoder(strings.NewReader(run.GetOutcome()))
	d.DisallowUnknownFields()
	if err := d.Decode(written.Interface()); err != nil {
		return fmt.Errorf("the outcome of %s: %w", run.GetId(), err)
	}
	whole, err := json.Marshal(written.Interface())
	run.Outcome = string(whole)
	return err
}

// fields gives the JSON paths of a type, with the kind of what stands there.
func fields(of reflect.Type, at string, into map[string]reflect.Kind) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	into[at] = of.Kind()
	if of.Kind() != reflect.Struct {
		return
	}
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "" {
			fields(of.Field(i).Type, at+"/"+name, into)
		}
	}
}

func TestWhatIsShownOfAResultIsInSomeResult(t *testing.T) {
	runs, verified := map[string]reflect.Kind{}, map[string]reflect.Kind{"/workflow": reflect.String, "/status": reflect.String}
	compared := map[string]reflect.Kind{}
	for operation, result := range results {
		into := runs
		if operation == "compare" {
			into = compared
		}
		if strings.HasPrefix(operation, "verify") {
			into = verified
		}
		fields(reflect.TypeOf(result), "", into)
	}
	for name, c := range map[string]struct {
		shown any
		real  map[string]reflect.Kind
	}{"a run": {outcome{}, runs}, "a verification": {verifyDocument{}, verified}, "a comparison": {comparedSource{}, compared}} {
		shown := map[string]reflect.Kind{}
		fields(reflect.TypeOf(c.shown), "", shown)
		for _, path := range slices.Sorted(maps.Keys(shown)) {
			if kind, ok := c.real[path]; !ok || kind != shown[path] {
				t.Errorf("of %s, %s is shown as %s, and in no result so (%s)", name, path, shown[path], kind)
			}
		}
	}
}
