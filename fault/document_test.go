package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// areas are the headings of docs/faults.md, by the thousands of a code.
var areas = map[byte]string{
	'1': "Mobility agent", '2': "Process server and stream", '3': "Vault, journal, formats, restore", '4': "Applier and recovery", '5': "Azure and vSphere",
	'6': "Configuration server and API", '7': "States and workflows", '8': "Temporal", '9': "Command line and lab",
}

const preface = `# Faults

Whatever goes wrong is told as one line with a code, and one line with the way out:

    FS-2103: process server hq-1: the cache volume is full (0.3 of 200 GiB left)
      remedy: free space on /var/lib/farshore

A code is never reused for another meaning. With ` + "`-o json`" + ` the same fields are an object: ` + "`code`, `kind`, `subject`, `what`, `remedy`" + `.

| kind | what it means | exit code |
|---|---|---|
| transient | may go away by itself; programs try again, people may | %d |
| operator | a person must change something first | %d |
| refused | makes no sense in the present state; nothing was changed | %d |
| corrupt | stored bytes are not what was written | %d |

Other exit codes: %d done, %d anything not named here, %d the command line makes no sense, %d the plan was shown and --yes is needed.
`

func document() string {
	var b strings.Builder
	fmt.Fprintf(&b, preface, ExitUnreachable, ExitFailed, ExitRefused, ExitCorrupt, ExitOK, ExitFailed, ExitUsage, ExitConfirmation)
	var area byte
	for _, c := range Codes {
		if c.Code[3] != area {
			area = c.Code[3]
			fmt.Fprintf(&b, "\n## %c000: %s\n\n| code | what |\n|---|---|\n", area, areas[area])
		}
		fmt.Fprintf(&b, "| %s | %s |\n", c.Code, c.Title)
	}
	return b.String()
}

func TestTheDocumentListsEveryCode(t *testing.T) {
	path := filepath.Join("..", "docs", "faults.md")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(document()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != document() {
		t.Errorf("docs/faults.md is not what the table says (%v); run: make generate", err)
	}
}
