package blockwriter

import (
	"encoding/json"
	"fmt"
	"strings"
)

// ConsolePrefix begins the line that a recovered machine prints on its console when it has verified its disk.
const ConsolePrefix = "FARSHORE-VERIFY "

// ParseConsole reads the report from a line of a console; bytes before the prefix and after the report are passed over.
func ParseConsole(line string) (Report, error) {
	var r Report
	_, text, ok := strings.Cut(line, ConsolePrefix)
	if !ok {
		return r, fmt.Errorf("read a console line: %q has no %q", line, ConsolePrefix)
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&r); err != nil {
		return r, fmt.Errorf("read a console line %q: %w", line, err)
	}
	return r, nil
}

// String says the same as the JSON to a person.
func (r Report) String() string {
	var b strings.Builder
	if !r.Found {
		b.WriteString("no stamped block found\n")
	} else {
		fmt.Fprintf(&b, "instance %s (%s mode): %d stamped blocks, last sequence number %d, barrier %d\n",
			r.Instance, r.Mode, r.Stamped, r.LastSeq, r.LastBarrier)
	}
	for _, v := range r.Examples {
		fmt.Fprintf(&b, "VIOLATION area %d block %d: %s\n", v.Area, v.Index, v.What)
	}
	if r.Torn {
		b.WriteString("the last operation is there in part\n")
	}
	if r.AtHold {
		b.WriteString("exactly the state of a hold\n")
	}
	if r.OlderRuns > 0 {
		fmt.Fprintf(&b, "%d older instances, %d of them damaged\n", r.OlderRuns, r.OlderDamaged)
	}
	if r.Loss != nil {
		fmt.Fprintf(&b, "acknowledged %d, present %d: %d lost, %.3f s\n",
			r.Loss.AckedSeq, r.Loss.PresentSeq, r.Loss.LostSeqs, r.Loss.RPOSeconds)
	}
	fmt.Fprintf(&b, "%d violations\n", r.Violations)
	return b.String()
}
