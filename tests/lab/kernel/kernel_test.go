package kernel

import (
	"bytes"
	"slices"
	"testing"

	"farshore/dataplane/rescue/initrd"
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
	l, err := initrd.Load(k.Modules, []string{"xfs", "raid1", "no_such_module"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"libcrc32c", "xfs"}, {"md_mod", "raid1"}} {
		before, after := slices.Index(l.Order, pair[0]), slices.Index(l.Order, pair[1])
		if before < 0 || after < before {
			t.Errorf("order %v: want %s before %s", l.Order, pair[0], pair[1])
		}
	}
	for name, body := range l.Bodies {
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
