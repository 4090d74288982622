package workflows

import (
	"slices"
	"strings"
	"testing"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

func TestAnUnplannedFailbackKeepsItsPointForAsLongAsItIsRead(t *testing.T) {
	w, in := reverseProtected(t, false)
	in.Point = "g1.e1.s2"
	w.hook = func(_ int, name string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		read := []string{activities.StopVM.Name, activities.FinishSinks.Name}
		if slices.Contains(read, name) && !slices.Equal(w.pinned, []farshore.Position{point(2).Position}) {
			t.Errorf("at %s, pinned is %v", name, w.pinned)
		}
	}
	if got, err := doFailback(w, in, nothing); err != nil || len(got.Notes) != 0 {
		t.Errorf("record %+v, %v", got, err)
	}
	w.sound(t)
}

func TestAPointThatIsAboutToGoIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	w, in := reverseProtected(t, false)
	in.Point = "g1.e1.s1"
	w.fail = func(_ int, name string) error {
		if name != activities.PinPoint.Name {
			return nil
		}
		return &fault.Fault{Code: "FS-3532", Kind: fault.Refused, Subject: "machine web-01", What: "retention is about to remove what it needs"}
	}
	_, err := doFailback(w, in, nothing)
	if f, ok := fault.As(err); !ok || f.Code != "FS-3532" {
		t.Errorf("error %v", err)
	}
	wantCalls(t, w, "recovery.ChoosePoint recovery.PinPoint recovery.UnpinPoint")
	w.replicatedHome(t)
}

func TestAVaultThatCannotBeWrittenStopsNoFailback(t *testing.T) {
	w, in := reverseProtected(t, false)
	w.fail = func(_ int, name string) error {
		if name == activities.PinPoint.Name {
			return operatorFault(name)
		}
		return nil
	}
	got, err := doFailback(w, in, nothing)
	if err != nil || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "not pinned") {
		t.Errorf("record %+v, %v", got, err)
	}
	w.sound(t)
}
