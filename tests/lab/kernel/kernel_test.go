package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

func TestTheMirrorOfThisMachinesReleaseIsFound(t *testing.T) {
	const key = "/usr/share/keyrings/k.gpg"
	rows := []struct {
		name, text string
		want       source
		found      bool
	}{
		{"stanza", "Types: deb\n# note: x\nURIs: http://m/debian\nSuites: one one-updates\nComponents: main\nSigned-By: " + key + "\n", source{"http://m/debian", key}, true},
		{"second stanza", "URIs: http://s\nSuites: one-security\n\nURIs: http://m\nSuites: one\n", source{"http://m", ""}, true},
		{"switched off", "Enabled: no\nURIs: http://m\nSuites: one\n", source{}, false},
		{"line", "# deb http://no one main\ndeb http://m one main contrib\n", source{"http://m", ""}, true},
		{"line with options", "deb [arch=amd64 signed-by=" + key + "] http://m one main\n", source{"http://m", key}, true},
		{"another release", "deb http://m two main\n", source{}, false},
		{"broken line", "deb [x http://m one main\n", source{}, false},
	}
	for _, row := range rows {
		if got, found := parseSource([]byte(row.text), "one"); got != row.want || found != row.found {
			t.Errorf("%s: parseSource = %+v, %v; want %+v, %v", row.name, got, found, row.want, row.found)
		}
	}
}

// The archive is read by GNU cpio where there is one, else by the kernels that boot it (tests/kernels).
func TestAnArchiveHoldsWhatWasPutIntoIt(t *testing.T) {
	if err := need.Programs("reading the archive", "cpio"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	var out bytes.Buffer
	w := newArchiveWriter(&out)
	w.file("a/b/one", []byte("first"), 0o755)
	w.file("a/two", nil, 0o644)
	w.link("a/three", "/a/b/one")
	w.end()
	c := exec.CommandContext(t.Context(), "cpio", "--extract", "--quiet")
	c.Dir, c.Stdin = t.TempDir(), bytes.NewReader(out.Bytes())
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, text)
	}
	if got, err := os.ReadFile(filepath.Join(c.Dir, "a/b/one")); err != nil || string(got) != "first" {
		t.Errorf("a/b/one = %q, %v", got, err)
	}
	if to, err := os.Readlink(filepath.Join(c.Dir, "a/three")); err != nil || to != "/a/b/one" {
		t.Errorf("a/three -> %q, %v", to, err)
	}
}

func TestModulesAreLoadedBehindThoseThatTheyNeed(t *testing.T) {
	if err := Missing(qemu.AMD64); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	cache, err := need.Cache()
	if err != nil {
		t.Fatal(err)
	}
	k, err := Fetch(t.Context(), cache, Debian13)
	if err != nil {
		t.Fatal(err)
	}
	l, err := k.loading(t.Context(), []string{"xfs", "raid1", "no_such_module"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"libcrc32c", "xfs"}, {"md_mod", "raid1"}} {
		before, after := slices.Index(l.order, pair[0]), slices.Index(l.order, pair[1])
		if before < 0 || after < before {
			t.Errorf("order %v: want %s before %s", l.order, pair[0], pair[1])
		}
	}
	for name, body := range l.bodies {
		if !bytes.HasPrefix(body, []byte("\x7fELF")) {
			t.Errorf("module %s is not unpacked", name)
		}
	}
}

func TestAGuestsLineThatIsNoJSONIsTheJobsOwnWord(t *testing.T) {
	if r := parseReport([]byte("--- PASS: single\r")); r.Action != "said" || string(r.Raw) != "--- PASS: single" {
		t.Errorf("parseReport = %+v", r)
	}
	if r := parseReport([]byte(`{"Action":"ended","Code":3,"Uptime":4.5}`)); r.Action != "ended" || r.Code != 3 || r.Uptime != 4.5 {
		t.Errorf("parseReport = %+v", r)
	}
}
