package readiness_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"farshore/dataplane/readiness"
)

func TestEveryCodeIsExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/operate/readiness.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range readiness.Codes() {
		_, row, ok := strings.Cut(string(text), "\n| `"+string(code)+"` |")
		if !ok {
			t.Errorf("%s has no row in docs/operate/readiness.md", code)
			continue
		}
		row, _, _ = strings.Cut(row, "\n")
		cells := strings.Split(strings.TrimSuffix(row, " |"), " | ")
		if mended := strings.HasPrefix(cells[len(cells)-1], "yes"); mended != slices.Contains(readiness.Fixable(), code) {
			t.Errorf("docs/operate/readiness.md says of %s that it is mended: %v", code, mended)
		}
	}
}
