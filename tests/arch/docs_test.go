package arch

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// everyFile gives the path of each file that somebody wrote, or had generated.
func everyFile(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err == nil && d.IsDir() && slices.Contains([]string{"bin", ".git", ".cache", "node_modules"}, d.Name()) {
			return filepath.SkipDir
		}
		if err == nil && d.Type().IsRegular() {
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatalf("read the tree: %v", err)
	}
	return all
}

// pages gives the Markdown files of the tree by their path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range everyFile(t) {
		if filepath.Ext(name) == ".md" {
			body, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(body)
		}
	}
	return all
}

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	mdCode    = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

func TestEachLinkOfThePagesLeadsSomewhere(t *testing.T) {
	all := pages(t)
	links := 0
	for name, body := range all {
		for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(body, ""), -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			to := name
			if path != "" {
				to = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if anchor != "" && !anchors(all[to])[anchor] {
				t.Errorf("%s links to %s: %s has no such heading", name, m[1], to)
			}
		}
	}
	if links == 0 {
		t.Error("no page links anywhere: the test looks at the wrong files")
	}
}

// anchors gives the names that a page's headings have in links: in small letters, blanks as hyphens, nothing but letters, digits
// and hyphens.
func anchors(page string) map[string]bool {
	named := map[string]bool{}
	for _, m := range mdHeading.FindAllStringSubmatch(page, -1) {
		named[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])] = true
	}
	return named
}

// A merge that was not ended leaves its marks where no compiler looks.
func TestNoFileIsLeftHalfMerged(t *testing.T) {
	mark := regexp.MustCompile(`(?m)^(<{7} |>{7} |\|{7} )`)
	for _, name := range everyFile(t) {
		body, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if at := mark.FindIndex(body); at != nil {
			t.Errorf("%s:%d: a mark of a merge", name, 1+bytes.Count(body[:at[0]], []byte("\n")))
		}
	}
}
