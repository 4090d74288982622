package main

import (
	"strings"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
)

// showReadiness tells what would stop a machine from starting elsewhere, the worst first, and since when that is so.
func (t *tool) showReadiness(x *text, m *farshorev1.Machine) {
	if m.GetReadinessUnix() == 0 {
		x.line("readiness\tnot looked at yet")
		return
	}
	counts := map[string]int{}
	for _, f := range m.GetReadiness() {
		counts[f.GetSeverity()]++
	}
	var parts []string
	for _, severity := range []string{"blocks", "degrades", "note"} {
		if n := counts[severity]; n > 0 {
			parts = append(parts, count(n, map[string]string{"blocks": "blocker", "degrades": "degradation", "note": "note"}[severity]))
		}
	}
	x.line("readiness\t%s; looked at %s", or(strings.Join(parts, ", "), "nothing found"), t.since(m.GetReadinessUnix(), "never"))
	for _, f := range m.GetReadiness() {
		age := span(t.now().Sub(time.Unix(f.GetSinceUnix(), 0)))
		x.line("  %s\t%s on %s: %s: %s (for %s)", f.GetSeverity(), f.GetCode(), strings.Join(f.GetTargets(), ","), f.GetSubject(), f.GetWhat(), age)
	}
	if counts["blocks"]+counts["degrades"] > 0 {
		x.line("  mend\ton the machine: farshore-agent readiness")
	}
}
