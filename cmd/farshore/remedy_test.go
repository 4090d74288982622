package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// named matches a command line of ours in a text: a noun of ours, a verb if there is one, and the version behind what is the name of
// something signed instead, such as "farshore machine spec v1".
func named(root *cobra.Command) *regexp.Regexp {
	var nouns []string
	for _, c := range root.Commands() {
		nouns = append(nouns, c.Name())
	}
	return regexp.MustCompile(`\bfarshore (` + strings.Join(nouns, "|") + `)\b( [a-z-]+\b)?( v\d)?`)
}

// TestEveryCommandThatATextNamesExists reads all sources and documents: on the worst day nobody shall be sent to a command
// that is not there.
func TestEveryCommandThatATextNamesExists(t *testing.T) {
	tool := &tool{in: strings.NewReader(""), out: &bytes.Buffer{}, talk: &bytes.Buffer{}, now: showtime}
	root := tool.rootCommand()
	commands, found := named(root), 0
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
		for _, match := range commands.FindAllStringSubmatch(string(content), -1) {
			if match[3] != "" {
				continue
			}
			found++
			words, args := match[0], strings.Fields(match[0])[1:]
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
