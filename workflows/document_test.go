package workflows

import (
	"os"
	"strings"
	"testing"

	"farshore"
)

func TestThePageForOperatorsNamesEveryOperationAndItsPlainWorkflow(t *testing.T) {
	page, err := os.ReadFile("../docs/operate/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range farshore.Operations() {
		if !strings.Contains(string(page), string(op)) || !strings.Contains(string(page), "`"+TypeOf(op)+"`") {
			t.Errorf("%s (%s) is not on the page", op, TypeOf(op))
		}
	}
}
