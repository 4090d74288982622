package farshore

import "testing"

// FuzzNames: what people type and what lies in folders is read, or refused; what is read is written as it was.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"web-01", "WD-1", "g1.e2.s345", "run-20260101-ab12", "latest", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05+01:00", "g0.e0.s0", "0001-01-01T00:00:00Z", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePosition(s); err == nil && p.String() != s {
			t.Fatalf("%q is read as %v", s, p)
		}
		if m, err := ParseMachineID(s); err == nil && string(m) != s {
			t.Fatalf("%q is read as machine %s", s, m)
		}
		if d, err := ParseDiskID(s); err == nil && string(d) != s {
			t.Fatalf("%q is read as disk %s", s, d)
		}
		if r, err := ParseRunID(s); err == nil && string(r) != s {
			t.Fatalf("%q is read as run %s", s, r)
		}
		if sel, err := ParseSelector(s); err == nil {
			if again, err := ParseSelector(sel.String()); err != nil || again != sel {
				t.Fatalf("%q is read as %v, which is read as %v, %v", s, sel, again, err)
			}
			if sel.String() == "latest" && s != "latest" && s != "" {
				t.Fatalf("%q is read as latest", s)
			}
		}
	})
}
