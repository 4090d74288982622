package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// objects gives everything that a vault holds outside the container replica.
func objects(t *testing.T, s vault.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, prefix := range []string{"points/", "journal/"} {
		for e, err := range s.List(t.Context(), prefix, "") {
			if err != nil {
				t.Fatal(err)
			}
			body, err := s.Get(t.Context(), e.Name)
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name] = string(body)
		}
	}
	return all
}

func sameObjects(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, body := range want {
		if got[name] != body {
			t.Errorf("%s is missing or differs", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s was not there", name)
		}
	}
}

// archived exports everything into a file, and gives what the file holds.
func (w *world) archived() (file string, content []byte) {
	w.t.Helper()
	file = filepath.Join(w.t.TempDir(), "web-01.tar")
	var out exported
	w.mustRun(&out, "export", file)
	content, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return file, content
}

// elsewhere is a world that looks at another place.
func (w *world) elsewhere(flags ...string) *world {
	other := *w
	other.flags = flags
	return &other
}

func emptyFolder(t *testing.T) (string, []string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	return dir, []string{"--vault-path", dir}
}

func openFolder(t *testing.T, dir string) vault.Store {
	t.Helper()
	s, _, err := connect.Open(t.Context(), vault.Config{Kind: vault.KindFile, Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAMachineIsCarriedInAFileAndRestoresTheSameBytesThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	t.Run("in a folder", func(t *testing.T) { carry(t, vault.Config{Kind: vault.KindFile, Path: dir}, "--vault-path", dir) })
	t.Run("in a storage account", func(t *testing.T) {
		c := inAzurite(t)
		carry(t, c, accountFlags(c)...)
	})
}

// carry brings a machine to a place where nothing is, and restores it there.
func carry(t *testing.T, to vault.Config, flags ...string) {
	w := newWorld(t)
	w.history()
	file := filepath.Join(t.TempDir(), "web-01.tar")
	var out exported
	w.mustRun(&out, "export", "--machine", "web-01", file)
	there := w.elsewhere(flags...)
	if code, stdout, stderr := there.run("import", file); code != 12 || !strings.Contains(stdout, "would put") {
		t.Errorf("without --yes: exit %d: %s%s", code, stdout, stderr)
	}
	var in imported
	there.mustRun(&in, "import", file, "--yes")
	if in.New != out.Objects || in.Present != 0 || !in.Done {
		t.Errorf("brought %+v, carried %+v", in, out)
	}
	there.mustRun(&in, "import", file, "--yes")
	if in.New != 0 || in.Present != out.Objects {
		t.Errorf("again: %+v", in)
	}
	last := w.order[len(w.order)-1]
	disks := filepath.Join(t.TempDir(), "disks")
	var plan writePlan
	there.mustRun(&plan, "write", "web-01", "--at", last.String(), "--out", disks)
	for disk, want := range w.points[last] {
		w.sameFile(filepath.Join(disks, string(disk)+".raw"), want)
	}
	s, _, err := connect.Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	sameObjects(t, objects(t, s), objects(t, w.store))
}

func TestAnExportThatWasBrokenOffGoesOnAndEndsWithTheSameBytes(t *testing.T) {
	w := newWorld(t)
	w.history()
	_, want := w.archived()
	var out exported
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	inPadding := bytes.Index(want, []byte("\n\x00\x00\x00\x00")) + 1 // behind the body of an entry
	for _, cut := range []int{0, 511, 512, 513, inPadding, random.IntN(len(want)), random.IntN(len(want)), len(want) - 1025, len(want)} {
		path := filepath.Join(t.TempDir(), "web.tar")
		left := append(bytes.Clone(want[:cut]), []byte("torn")...)
		if err := os.WriteFile(path+".partial", left, 0o600); err != nil {
			t.Fatal(err)
		}
		w.mustRun(&out, "export", path)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("cut at %d of %d: %d bytes, others: %v", cut, len(want), len(got), err)
		}
	}
	w.write(true, change{"sda", 0, 1, 0, 9})
	path := filepath.Join(t.TempDir(), "web.tar")
	if err := os.WriteFile(path+".partial", want[:4096], 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := w.run("export", path); code != 11 || !strings.Contains(stderr, "FS-3540") {
		t.Errorf("the stream has grown: exit %d: %s", code, stderr)
	}
}

func TestAFolderIsAVaultItselfAndItsSumsAreThoseOfSha256sum(t *testing.T) {
	w := newWorld(t)
	w.history()
	dir := filepath.Join(t.TempDir(), "usb")
	var out exported
	w.mustRun(&out, "export", dir+"/")
	w.mustRun(&out, "export", dir+"/")
	if out.Kept != out.Objects {
		t.Errorf("the second time %d of %d were there", out.Kept, out.Objects)
	}
	sums := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	sums.Dir = dir
	if said, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	var points []farshore.RecoveryPoint
	w.elsewhere("--vault-path", dir).mustRun(&points, "points", "web-01")
	if len(points) != len(w.order) {
		t.Errorf("%d points, want %d", len(points), len(w.order))
	}
	to, flags := emptyFolder(t)
	var in imported
	w.elsewhere(flags...).mustRun(&in, "import", dir, "--yes")
	sameObjects(t, objects(t, openFolder(t, to)), objects(t, w.store))
}

func TestWhatComesBehindAPositionIsBroughtOnlyWhereThatIs(t *testing.T) {
	w := newWorld(t)
	w.history()
	first, second := filepath.Join(t.TempDir(), "1.tar"), filepath.Join(t.TempDir(), "2.tar")
	middle := w.order[1].String()
	var out exported
	w.mustRun(&out, "export", "--machine", "web-01", "--to", middle, first)
	w.mustRun(&out, "export", "--machine", "web-01", "--from", middle, second)
	dir, flags := emptyFolder(t)
	there := w.elsewhere(flags...)
	if code, _, stderr := there.run("import", second, "--yes"); code != 11 || !strings.Contains(stderr, "FS-3543") {
		t.Errorf("without what is in front: exit %d: %s", code, stderr)
	}
	if n := len(objects(t, openFolder(t, dir))); n != 0 {
		t.Errorf("%d objects were put", n)
	}
	var in imported
	there.mustRun(&in, "import", first, "--yes")
	var points []farshore.RecoveryPoint
	there.mustRun(&points, "points", "web-01")
	if len(points) != 2 {
		t.Errorf("%d points after the first, want 2", len(points))
	}
	there.mustRun(&in, "import", second, "--yes")
	sameObjects(t, objects(t, openFolder(t, dir)), objects(t, w.store))
}

func TestAnImportNeverReplacesAndPutsNothingIfItWouldHaveTo(t *testing.T) {
	w := newWorld(t)
	w.history()
	file := filepath.Join(t.TempDir(), "web-01.tar")
	var out exported
	w.mustRun(&out, "export", file)
	dir, flags := emptyFolder(t)
	there := w.elsewhere(flags...)
	var in imported
	there.mustRun(&in, "import", file, "--yes")
	before := objects(t, openFolder(t, dir))
	w.write(true, change{"sda", 0, 1, 0, 7}) // the stream goes on here,
	w.mustRun(&out, "export", file+"2")
	other := newWorld(t)
	name := chain.NameOf(web, w.writer.Tip().Position)
	if _, err := openFolder(t, dir).PutIfAbsent(t.Context(), name, []byte("and there")); err != nil { // and there
		t.Fatal(err)
	}
	before[name] = "and there"
	if code, _, stderr := there.run("import", file+"2", "--yes"); code != 11 || !strings.Contains(stderr, "FS-3542: "+name) {
		t.Errorf("exit %d: %s", code, stderr)
	}
	sameObjects(t, objects(t, openFolder(t, dir)), before)
	if code, _, stderr := w.elsewhere(other.flags...).run("import", file, "--yes"); code != 11 || !strings.Contains(stderr, "FS-3542: points/v1/vault.json") {
		t.Errorf("another vault: exit %d: %s", code, stderr)
	}
}

func TestNoFlippedBitAndNoMissingEndGetsThroughAnImport(t *testing.T) {
	w := newWorld(t)
	w.write(true, change{"sda", 0, 8, 0, 1})
	if err := journal.PutSpec(t.Context(), w.deps, farshore.MachineSpec{ID: web, Hostname: "web", OS: "linux"}); err != nil { // of which nothing but its sum is checked
		t.Fatal(err)
	}
	file, whole := w.archived()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir, flags := emptyFolder(t)
	for range 150 {
		bad := bytes.Clone(whole)
		at := random.IntN(len(bad))
		bad[at] ^= 1 << random.IntN(8)
		if random.IntN(4) == 0 {
			bad = bad[:at]
		}
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := execTool(t, append([]string{"import", file, "--yes"}, flags...)...)
		if code == 0 { // padding and unused fields of tar are nobody's: then what was put is right
			sameObjects(t, objects(t, openFolder(t, dir)), objects(t, w.store))
		} else if code != 13 {
			t.Errorf("byte %d: exit %d: %s", at, code, stderr)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}
