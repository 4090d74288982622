package need

import (
	"strings"
	"testing"

	"farshore/fault"
)

func TestAMissingProgramIsNamedWithTheWayToGetIt(t *testing.T) {
	err := Programs("the test", "sh", "no-such-program-here")
	f, ok := fault.As(err)
	if !ok || !strings.Contains(f.What, "no-such-program-here") || strings.Contains(f.What, "sh,") || !strings.Contains(f.Remedy, installer) {
		t.Errorf("Programs = %v", err)
	}
	if err := Programs("the test", "sh"); err != nil {
		t.Errorf("Programs(sh) = %v", err)
	}
}

func TestTheComplaintOfAProgramIsInTheFault(t *testing.T) {
	out, err := Run(t.Context(), "sh", "-c", "echo result; echo complaint >&2; exit 3")
	f, ok := fault.As(err)
	if !ok || f.What != "complaint" || out != "result\n" {
		t.Errorf("Run = %q, %v", out, err)
	}
}

func TestTheCheckoutIsFoundFromBelow(t *testing.T) {
	root, err := Checkout()
	if err != nil || root == "" {
		t.Fatalf("Checkout = %q, %v", root, err)
	}
	t.Chdir(t.TempDir())
	if root, err := Checkout(); err == nil {
		t.Errorf("Checkout outside = %q", root)
	}
}
