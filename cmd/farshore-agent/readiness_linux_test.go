package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"farshore/dataplane/readiness"
)

func TestTheConfigurationThatIsToldIsThatOfTheDisksNotOfTheSystemThatReadsThem(t *testing.T) {
	c, err := load(t, "control: fs.example.com:443\nroot: "+t.TempDir()+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.Root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	const name = "of-the-disks\n"
	if err := os.WriteFile(filepath.Join(c.Root, "etc/hostname"), []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := examiner(c.Root)()
	if err != nil {
		t.Fatal(err)
	}
	want := readiness.ConfigurationFile{Name: "/etc/hostname", SHA256: sha256.Sum256([]byte(name))}
	if len(found.configuration) != 2 || !slices.Contains(found.configuration, want) { // and what stands for the kernels
		t.Errorf("configuration %v, want %v among two", found.configuration, want)
	}
}
