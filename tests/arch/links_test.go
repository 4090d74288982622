package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mayNotLink says which modules a binary must be free of: a small trusted base on customers' servers, and a restore tool
// that works when everything else is gone.
var mayNotLink = map[string][]string{
	"cmd/farshore-agent":     {"go.temporal.io/", "github.com/Azure/", "github.com/vmware/", "go.etcd.io/"},
	"cmd/farshore-restore":   {"go.temporal.io/", "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager", "github.com/vmware/", "go.etcd.io/"},
	"cmd/farshore-dataplane": {"go.temporal.io/", "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager", "github.com/vmware/", "go.etcd.io/"},
	"cmd/farshore":           {"go.temporal.io/", "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager", "github.com/vmware/"},
}

func TestBinariesLinkOnlyWhatTheyMay(t *testing.T) {
	for binary, banned := range mayNotLink {
		if _, err := os.Stat(filepath.Join(root, binary)); err != nil {
			t.Errorf("%s: %v", binary, err)
			continue
		}
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+binary)
		list.Dir = root
		out, err := list.Output()
		if err != nil {
			t.Errorf("list what %s links: %v", binary, err)
			continue
		}
		for dep := range strings.FieldsSeq(string(out)) {
			for _, prefix := range banned {
				if strings.HasPrefix(dep, prefix) {
					t.Errorf("%s links %s", binary, dep)
				}
			}
		}
	}
}
