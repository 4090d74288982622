package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"farshore/fault"
)

func load(t *testing.T, text string) (config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(path)
}

func TestTheConfigurationIsTakenAsItStands(t *testing.T) {
	c, err := load(t, "control: fs.example.com:443\nringMiB: 64\nwindowMiB: 100\nhrl: {path: /var/lib/farshore/agent/changes.hrl, memoryMiB: 256, fileMiB: 4096}\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := (hrlConfig{Path: "/var/lib/farshore/agent/changes.hrl", MemoryMiB: 256, FileMiB: 4096}); c.HRL != want {
		t.Errorf("hrl is %+v, want %+v", c.HRL, want)
	}
	if c.through != nil {
		t.Error("there is a proxy, though none is named")
	}
	if w := c.wish(); w.RingBytes != 64<<20 || w.LogBytes != 256<<20 || w.WindowBytes != 100<<20 {
		t.Errorf("wish is %+v", w)
	}
	c, err = load(t, "control: fs.example.com:443\nproxy: {url: 'http://proxy:3128'}\n")
	if err != nil || c.through == nil {
		t.Errorf("a proxy: %v", err)
	}
	c, err = load(t, "control: fs.example.com:443\nhrl: {path: /changes.hrl}\n")
	if err != nil || c.HRL.FileMiB != defaultFile || c.HRL.MemoryMiB != 0 || c.RingMiB != 0 || c.WindowMiB != 0 || c.Root != "/" {
		t.Errorf("defaults are %+v: %v", c, err)
	}
}

func TestAConfigurationThatMakesNoSenseIsRefusedWithTheReason(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "hrl: {file: /x}", "unknown field"},
		{"unknown key at the top", "ring: 4", "unknown field"},
		{"relative path", "hrl: {path: changes.hrl}", "hrl.path"},
		{"size without path", "hrl: {fileMiB: 100}", "without hrl.path"},
		{"too little memory", "hrl: {memoryMiB: 7}", "8 to 16384"},
		{"too much memory", "hrl: {memoryMiB: 20000}", "8 to 16384"},
		{"too small a file", "hrl: {path: /x, fileMiB: 15}", "hrl.fileMiB is 15"},
		{"too large a file", "hrl: {path: /x, fileMiB: 1048577}", "hrl.fileMiB"},
		{"negative", "hrl: {path: /x, fileMiB: -1}", "hrl.fileMiB"},
		{"no power of two", "ringMiB: 48", "a power of two"},
		{"too small a ring", "ringMiB: 2", "a power of two"},
		{"too large a ring", "ringMiB: 2048", "a power of two"},
		{"a negative window", "windowMiB: -1", "windowMiB"},
		{"a text for a number", "ringMiB: many", "ringMiB"},
	} {
		_, err := load(t, "control: fs.example.com:443\n"+tt.text+"\n")
		f, ok := fault.As(err)
		if !ok || f.Code != "FS-1101" || !strings.Contains(f.Error(), tt.want) {
			t.Errorf("%s: %v, want FS-1101 with %q", tt.name, err, tt.want)
		}
	}
	_, err := load(t, "control: fs.example.com:443\nproxy: {url: 'proxy:3128'}\n")
	if f, ok := fault.As(err); !ok || f.Code != "FS-2108" {
		t.Errorf("a proxy that is no URL: %v", err)
	}
}
