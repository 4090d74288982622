package retention

import (
	"slices"
	"testing"
)

// FuzzParse: a policy that is read is written in a form that is read as the same policy.
func FuzzParse(f *testing.F) {
	f.Add("all:24h,hourly:7d,daily:30d")
	f.Add("asr:15d")
	f.Add("90m:36h")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			return
		}
		if err := p.Check(); err != nil {
			t.Fatalf("%q is read as %v, which is no policy: %v", s, p, err)
		}
		if again, err := Parse(p.String()); err != nil || !slices.Equal(again, p) {
			t.Fatalf("%q is read as %v, and that as %v, %v", s, p, again, err)
		}
	})
}
