package arch

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors lists every tree of packages, ground floor first. A package imports only trees of lower floors, or packages of
// its own tree. The table is explained in docs/ARCHITECTURE.md.
var floors = [][]string{
	{"fault"},
	{"dataplane/readiness/initramfs", "dataplane/readiness/volume", "dataplane/rescue/initrd", "dataplane/rescue/bootentry"},
	{"dataplane/readiness"},
	{"dataplane/readiness/survey"},
	{"dataplane/readiness/repair"},
	{"."},
	{"dataplane/block"},
	{"dataplane/segment", "dataplane/vhd", "dataplane/document"},
	{"dataplane/chain", "dataplane/session", "dataplane/group", "dataplane/hashes", "dataplane/hrl", "dataplane/manifest", "dataplane/pace", "dataplane/retention"},
	{"dataplane/wire"},
	{"dataplane/host", "dataplane/windows"},
	{"dataplane/disk", "dataplane/changelog", "dataplane/footprint", "dataplane/vault", "dataplane/credential", "api/gen"},
	{"dataplane/proxy"},
	{"dataplane/tracker", "dataplane/journal", "dataplane/transport", "dataplane/group/peers", "dataplane/hub", "dataplane/sink"},
	{"dataplane/uplink", "dataplane/archive", "dataplane/scrub"},
	{"dataplane/agent", "dataplane/processserver", "dataplane/applier", "dataplane/collector"},
	{"dataplane/mastertarget"},
	{"dataplane/rescue"},
	{"activities"},
	{"workflows"},
	{"workers"},
	{"control"},
	{"cmd/commandline"},
	{"cmd"},
	{"tests"},
	{"cmd/farshore-lab"}, // shows the whole on one machine; no part of the product
}

// pure are the trees that do no I/O: they may not import these packages.
var (
	pure = []string{
		".", "fault", "dataplane/block", "dataplane/segment", "dataplane/vhd", "dataplane/document", "dataplane/chain", "dataplane/session", "dataplane/group", "dataplane/hashes", "dataplane/hrl", "dataplane/manifest", "dataplane/pace", "dataplane/retention", "dataplane/wire",
		"dataplane/readiness", "dataplane/readiness/initramfs", "dataplane/readiness/volume", "dataplane/rescue/bootentry",
	}
	forbidden = []string{"os", "net", "net/http", "os/exec", "syscall", "math/rand", "crypto/rand", "golang.org/x/sys/unix", "context"}
)

// tree finds the floor and the tree that a folder belongs to: the longest listed prefix wins.
func tree(dir string) (floor int, name string, ok bool) {
	floor = -1
	for i, names := range floors {
		for _, n := range names {
			if (dir == n || strings.HasPrefix(dir, n+"/")) && len(n) >= len(name) {
				floor, name, ok = i, n, true
			}
		}
	}
	return floor, name, ok
}

func TestPackagesImportOnlyLowerFloors(t *testing.T) {
	for _, s := range sources(t) {
		floor, name, ok := tree(s.dir)
		if !ok && s.dir != "dataplane" && s.dir != "api" {
			t.Errorf("%s: folder %s is on no floor; add it to the table and to docs/ARCHITECTURE.md", s.path, s.dir)
			continue
		}
		if s.test { // a test may stand on anything
			continue
		}
		for _, to := range imports(s) {
			toFloor, toName, ok := tree(to)
			if ok && (toFloor < floor || toName == name) {
				continue
			}
			t.Errorf("%s (floor %d) imports %s (floor %d), which is not below it", s.path, floor, to, toFloor)
		}
	}
}

// imports gives the folders of this module that a file imports.
func imports(s source) []string {
	var dirs []string
	for _, spec := range s.file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		if path == "farshore" {
			dirs = append(dirs, ".")
		} else if dir, ok := strings.CutPrefix(path, "farshore/"); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func TestTheGroundFloorDoesNoInputOrOutput(t *testing.T) {
	for _, s := range sources(t) {
		if _, name, _ := tree(s.dir); s.test || !slices.Contains(pure, name) {
			continue
		}
		for _, spec := range s.file.Imports {
			if path, err := strconv.Unquote(spec.Path.Value); err == nil && slices.Contains(forbidden, path) {
				t.Errorf("%s imports %s: the ground floor is pure", s.path, path)
			}
		}
	}
}

func TestFoldersHaveNoCycles(t *testing.T) {
	edges := map[string]map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, to := range imports(s) {
			if edges[s.dir] == nil {
				edges[s.dir] = map[string]bool{}
			}
			edges[s.dir][to] = true
		}
	}
	state := map[string]int{} // 1 = on the path, 2 = done
	var visit func(dir string, path []string)
	visit = func(dir string, path []string) {
		if state[dir] == 1 {
			t.Errorf("folders import each other: %s", strings.Join(append(path, dir), " -> "))
			return
		}
		if state[dir] == 2 {
			return
		}
		state[dir] = 1
		for to := range edges[dir] {
			visit(to, append(path, dir))
		}
		state[dir] = 2
	}
	for dir := range edges {
		visit(dir, nil)
	}
}
