package arch

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxAgentBytes is the most that the agent may weigh: it is pushed to every machine.
const maxAgentBytes = 25 << 20

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

// vendors are the trees that may speak to a vendor's client: what is slow to build, and what could leak its types.
var vendors = map[string][]string{
	"github.com/vmware/": {"activities/vsphere", "tests/lab/vcsim"},
}

func TestAVendorsClientIsImportedInOnePlace(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			for prefix, places := range vendors {
				if path := strings.Trim(spec.Path.Value, `"`); strings.HasPrefix(path, prefix) && !slices.Contains(places, s.dir) {
					t.Errorf("%s imports %s", s.path, path)
				}
			}
		}
	}
}

func TestTheAgentIsOneSmallStaticFile(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^LDFLAGS *:= *(.*)$`).FindSubmatch(makefile)
	if flags == nil || !strings.Contains(string(makefile), "go build -trimpath -ldflags '$(LDFLAGS)'") {
		t.Fatal("the Makefile builds otherwise than this test does")
	}
	out := filepath.Join(t.TempDir(), "farshore-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", string(flags[1]), "-o", out, "./cmd/farshore-agent")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	state, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if state.Size() > maxAgentBytes {
		t.Errorf("the agent has %d bytes, at most %d", state.Size(), maxAgentBytes)
	}
	t.Logf("%d bytes", state.Size())
	static(t, out)
}

// static checks that a program needs no other file to run.
func static(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the agent has a %v segment: it is linked dynamically", p.Type)
		}
	}
}
