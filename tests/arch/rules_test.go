package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ruleCounts says how many rules of each kind there are.
var ruleCounts = map[string]int{"R": 21, "C": 8, "O": 10, "G": 5}

// rule is a row of docs/rules.md.
type rule struct{ name, where, tests, bugs string }

func rulesTable(t *testing.T) (rows []rule, text string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs", "rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ([RCOG][0-9]+) \|[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$`)
	for _, m := range row.FindAllStringSubmatch(string(b), -1) {
		rows = append(rows, rule{name: m[1], where: m[2], tests: m[3], bugs: m[4]})
	}
	return rows, string(b)
}

func TestEveryRuleIsInTheTableOnce(t *testing.T) {
	rows, _ := rulesTable(t)
	seen := map[string]int{}
	for _, r := range rows {
		seen[r.name]++
		if seen[r.name] > 1 {
			t.Errorf("%s is in the table twice", r.name)
		}
		if !strings.Contains(r.where, "`") && !strings.Contains(r.where, "not built yet") {
			t.Errorf("%s lives nowhere, and is not said to be missing", r.name)
		}
		seen[r.name[:1]]++
	}
	for kind, want := range ruleCounts {
		if seen[kind] != want {
			t.Errorf("the table has %d rules %s, there are %d", seen[kind], kind, want)
		}
	}
}

func TestWhatTheTableOfRulesNamesExists(t *testing.T) {
	rows, text := rulesTable(t)
	quoted := regexp.MustCompile("`([^`]*)`")
	for _, r := range rows {
		for _, m := range quoted.FindAllStringSubmatch(r.where, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s lives in %s: %v", r.name, m[1], err)
			}
		}
		dir := ""
		for _, m := range quoted.FindAllStringSubmatch(r.tests, -1) {
			if !strings.HasPrefix(m[1], "Test") {
				dir = m[1]
			} else if !declares(t, dir, "func "+m[1]+"(") {
				t.Errorf("%s is held by %s, which is not in %s", r.name, m[1], dir)
			}
		}
	}
	for _, m := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !declares(t, "tests/sim", `"`+m[1]+`"`) && !declares(t, "tests/sim/capture", `"`+m[1]+`"`) && !declares(t, "tests/sim/group", `"`+m[1]+`"`) {
			t.Errorf("no simulation plants the bug %q", m[1])
		}
	}
}

// declares reports whether a file of a folder holds the text.
func declares(t *testing.T, dir, what string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), what) {
			return true
		}
	}
	return false
}
