package arch

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// systems are those that the mobility agent is built for beside the one that the tests run on.
var systems = []struct{ os, arch string }{{"windows", "amd64"}, {"linux", "arm64"}}

func goFor(t *testing.T, system struct{ os, arch string }, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system.os, "GOARCH="+system.arch)
	return cmd
}

func TestTheAgentIsSoundOnEverySystem(t *testing.T) {
	for _, s := range systems {
		if out, err := goFor(t, s, "vet", "./cmd/farshore-agent/...").CombinedOutput(); err != nil {
			t.Errorf("%s/%s: %v\n%s", s.os, s.arch, err, out)
		}
	}
}

func TestTheAgentOfWindowsLinksNothingOfLinux(t *testing.T) {
	out, err := goFor(t, systems[0], "list", "-deps", "./cmd/farshore-agent").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		for _, banned := range append([]string{"github.com/cilium/ebpf", "golang.org/x/sys/unix"}, mayNotLink["cmd/farshore-agent"]...) {
			if strings.HasPrefix(dep, banned) {
				t.Errorf("the agent of Windows links %s", dep)
			}
		}
	}
}
