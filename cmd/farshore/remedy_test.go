package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named is a command line of ours in a text: a noun of ours, and a verb if there is one.
var named = regexp.MustCompile(`\bfarshore (login|status|machine|point|failover|run|node|token|infra|profile)( [a-z-]+)?`)

// TestEveryCommandThatATextNamesExists reads all sources and documents: on the worst day nobody shall be sent to a command
// that is not there.
func TestEveryCommandThatATextNamesExists(t *testing.T) {
	tool := &tool{in: strings.NewReader(""), out: &bytes.Buffer{}, talk: &bytes.Buffer{}, now: showtime}
	root := tool.rootCommand()
	found := 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".md" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, words := range named.FindAllString(string(content), -1) {
			if words == "farshore machine spec" { // what a signature is for: "farshore machine spec v1"
				continue
			}
			found++
			args := strings.Fields(words)[1:]
			cmd, _, err := root.Find(args)
			if err != nil || cmd == root || cmd.HasSubCommands() && len(args) > 1 {
				t.Errorf("%s: there is no command %q", path, words)
			}
		}
		return nil
	})
	if err != nil || found < 20 {
		t.Fatalf("found %d commands, %v", found, err)
	}
}
