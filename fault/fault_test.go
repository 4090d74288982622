package fault

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryCodeIsWellFormedUniqueAndInOrder(t *testing.T) {
	form := regexp.MustCompile(`^FS-[1-9][0-9]{3}$`)
	for i, c := range Codes {
		if !form.MatchString(c.Code) || c.Title == "" {
			t.Errorf("Codes[%d] = %+v: want FS-nnnn and a title", i, c)
		}
	}
	if !slices.IsSortedFunc(Codes, func(a, b Code) int {
		if a.Code == b.Code {
			t.Errorf("code %s stands twice", a.Code)
		}
		return strings.Compare(a.Code, b.Code)
	}) {
		t.Error("Codes are not sorted")
	}
}

func TestFaultIsFoundThroughWrapping(t *testing.T) {
	inner := &Fault{Code: "FS-9001", Kind: Refused, Subject: "command", What: "no name given", Err: io.EOF}
	err := fmt.Errorf("enable: %w", inner)
	got, ok := As(err)
	if !ok || got != inner {
		t.Fatalf("As(%v) = %v, %v", err, got, ok)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
	if want := "FS-9001: command: no name given: EOF"; inner.Error() != want {
		t.Errorf("Error() = %q, want %q", inner.Error(), want)
	}
}

func TestExitCodeFollowsTheKind(t *testing.T) {
	rows := []struct {
		name string
		err  error
		want int
	}{
		{"no error", nil, ExitOK},
		{"a plain error", io.EOF, ExitFailed},
		{"transient", &Fault{Kind: Transient}, ExitUnreachable},
		{"operator", &Fault{Kind: Operator}, ExitFailed},
		{"refused", fmt.Errorf("x: %w", &Fault{Kind: Refused}), ExitRefused},
		{"corrupt", &Fault{Kind: Corrupt}, ExitCorrupt},
	}
	for _, r := range rows {
		if got := ExitCode(r.err); got != r.want {
			t.Errorf("%s: exit %d, want %d", r.name, got, r.want)
		}
	}
}

func TestKindsSurviveTheirText(t *testing.T) {
	for k := Transient; k <= Corrupt; k++ {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, err)
		}
	}
	if _, err := ParseKind("bad"); err == nil {
		t.Error("ParseKind takes any word")
	}
}
