package readiness

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"farshore/dataplane/readiness/volume"
)

func TestTheEntryThatStartsByItselfIsFoundAsGRUBFindsIt(t *testing.T) {
	const entries = `
menuentry "A" --id a { linux16 /vmlinuz-1 root=UUID=a
	initrd16 /initrd-1
}
submenu 'More' $menuentry_id_option 'more' {
	menuentry 'B' $menuentry_id_option 'b' {
		if [ x$grub_platform = xxen ]; then insmod xzio; fi
		linuxefi /vmlinuz-2 root=UUID=b "dyndbg=file a.c +p"
	}
	menuentry 'C' { linux /vmlinuz-3 }
}
menuentry 'chain' { chainloader +1 }
`
	for name, c := range map[string]struct{ settings, saved, want string }{
		"by number":            {`set default="0"`, "", "/vmlinuz-1"},
		"nothing said":         {"", "", "/vmlinuz-1"},
		"in a submenu":         {`set default="1>1"`, "", "/vmlinuz-3"},
		"by id":                {`set default="more>b"`, "", "/vmlinuz-2"},
		"by title":             {`set default='More>C'`, "", "/vmlinuz-3"},
		"a submenu itself":     {`set default="1"`, "", "/vmlinuz-2"},
		"what was saved":       {`set default="${saved_entry}"`, "more>C", "/vmlinuz-3"},
		"next time only":       {"set default=\"0\"\nset default=\"${next_entry}\"", "", "/vmlinuz-1"},
		"one that is not":      {`set default="gone"`, "", "/vmlinuz-1"},
		"one that starts none": {`set default="2"`, "", ""},
	} {
		parsed := parseMenu([]byte(c.settings + strings.ReplaceAll(entries, "{ ", "{\n")))
		all, chosen := parsed.choose("grub.cfg", map[string]string{"saved_entry": c.saved})
		got := ""
		if chosen != nil {
			got = chosen.kernel
		}
		if got != c.want || len(all) != 3 {
			t.Errorf("%s: %q of %d entries, want %q", name, got, len(all), c.want)
		}
	}
}

func TestWordsAreSplitAsAShellDoes(t *testing.T) {
	for text, want := range map[string][]string{
		`a  b`:              {"a", "b"},
		`'a b' "c d"e f\ g`: {"a b", "c de", "f g"},
		`a # comment`:       {"a"},
		`a#b`:               {"a#b"},
		`"" x`:              {"", "x"},
		`"a'b" 'c"d'`:       {"a'b", `c"d`},
	} {
		if got := shellWords(text); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestVersionsAreOrderedAsPeopleNumberThem(t *testing.T) {
	want := []string{"5.14.0-70.el9", "5.14.0-427.13.1.el9", "6.1.0-9-amd64", "6.1.0-38-amd64", "6.12.9+bpo-amd64"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareVersions)
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func FuzzMenu(f *testing.F) {
	f.Add("set default=\"0\"\nmenuentry 'A' --id a {\n\tlinux /vmlinuz root=/dev/sda1\n\tinitrd /initrd\n}\n", "0")
	f.Add("submenu x {\nmenuentry y {\nlinux /k\n}\n}\n}", "0>0")
	f.Add("menuentry", ">>1>")
	f.Fuzz(func(t *testing.T, text, saved string) {
		m := parseMenu([]byte(text))
		m.settings["default"] = "${saved_entry}"
		entries, chosen := m.choose("grub.cfg", map[string]string{"saved_entry": saved})
		if chosen != nil && !slices.ContainsFunc(entries, func(e bootEntry) bool { return e.kernel == chosen.kernel }) {
			t.Errorf("%+v was chosen, which is not offered", chosen)
		}
		parseLoaderEntry([]byte(text))
	})
}

func FuzzTable(f *testing.F) {
	f.Add("/dev/sda1 / ext4 defaults 0 1\n# /dev/sda1\n\tUUID=x /srv xfs nofail\n")
	f.Add("/dev/sda1")
	f.Add("/dev/sda2 /dev/sda1 x\r\n/dev/sda1\x00")
	f.Fuzz(func(t *testing.T, text string) {
		m := &Machine{Root: fstest.MapFS{"etc/fstab": {Data: []byte(text)}}, Facts: Facts{
			Live: true, Devices: []Device{{Names: []string{"sda1"}, Volume: volume.Volume{Type: "ext4", UUID: "id"}}},
		}}
		c := newChecker(m, Targets())
		content, changes := c.renamed("etc/fstab", 0)
		was, is := strings.Split(text, "\n"), strings.Split(string(content), "\n")
		if len(was) != len(is) {
			t.Fatalf("%d lines became %d", len(was), len(is))
		}
		differ := 0
		for n := range was {
			if was[n] == is[n] {
				continue
			}
			differ++
			if strings.Replace(is[n], "UUID=id", "/dev/sda1", 1) != was[n] {
				t.Errorf("%q became %q", was[n], is[n])
			}
		}
		if differ != len(changes) {
			t.Errorf("%d lines differ, and %d changes are told", differ, len(changes))
		}
		m.Root = fstest.MapFS{"etc/fstab": {Data: content}}
		if _, again := newChecker(m, Targets()).renamed("etc/fstab", 0); len(again) > 0 {
			t.Errorf("changed twice: %v", again)
		}
	})
}
