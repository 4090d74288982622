package operator

import (
	"strings"
	"testing"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/fault"
)

func TestTiersThatCannotBeReadAreRefusedOfBothPolicies(t *testing.T) {
	good, bad := "all:6h,daily:30d", "now and then"
	for name, c := range map[string]struct {
		out, home, what string
	}{
		"both good": {good, good, ""},
		"out":       {bad, good, "of the policy"},
		"home":      {good, bad, "of the failback policy"},
	} {
		err := retentionIsGood("web-01", &farshorev1.StartRequest{
			Policy: &farshorev1.ReplicationPolicy{Keep: c.out}, FailbackPolicy: &farshorev1.FailbackPolicy{Keep: c.home},
		})
		f, ok := fault.As(err)
		if ok != (c.what != "") || ok && (f.Code != "FS-6014" || !strings.Contains(f.What, c.what)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
