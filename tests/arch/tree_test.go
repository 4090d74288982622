package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// source is one parsed Go file of the module.
type source struct {
	path string // slash-separated, from the module's root
	dir  string // the package's folder; "." is the root package
	test bool
	file *ast.File
	fset *token.FileSet
}

// skipped are folders that hold no house code: generated, cached, or another module.
var skipped = map[string]bool{"api/gen": true, "bin": true, ".git": true, ".cache": true, "node_modules": true, "cmd/farshore-temporal": true}

// sources parses every hand-written Go file of the main module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if skipped[rel] || d.Name() == "node_modules" || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.Contains(rel, "_bpf") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		all = append(all, source{path: rel, dir: dir, test: strings.HasSuffix(rel, "_test.go"), file: file, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatalf("read the tree: %v", err)
	}
	if len(all) == 0 {
		t.Fatal("the tree has no Go files: this test looks in the wrong place")
	}
	return all
}
