package vsphere

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestTheRoleInTheManualIsWhatThePreflightAsksFor(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operate/failback.md")
	if err != nil {
		t.Fatal(err)
	}
	for object, needs := range map[string][]string{
		"the folder of the VMs": onFolder, "the resource pool": onPool, "the datastore": onDatastore, "the network": onNetwork, "the master target's VM": onMasterTarget,
	} {
		slices.Sort(needs)
		want := "| " + object + " | `" + strings.Join(needs, "`, `") + "` |\n"
		if !strings.Contains(string(manual), want) {
			t.Errorf("the table of docs/operate/failback.md lacks the line\n%s", want)
		}
	}
}
