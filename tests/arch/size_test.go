package arch

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"

	"farshore/fault"
)

const (
	maxFileLines     = 500
	maxFunctionLines = 70
	maxTestLines     = 100 // a test may carry its table
	maxParameters    = 5
	maxNesting       = 4 // blocks inside a function's own block
)

func TestFilesAndFunctionsAreSmallEnoughToSee(t *testing.T) {
	for _, s := range sources(t) {
		if lines := s.fset.File(s.file.Pos()).LineCount(); lines > maxFileLines {
			t.Errorf("%s has %d lines, at most %d: is there a second noun inside?", s.path, lines, maxFileLines)
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				checkFunction(t, s, f)
			}
		}
	}
}

func checkFunction(t *testing.T, s source, f *ast.FuncDecl) {
	t.Helper()
	lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
	limit := maxFunctionLines
	if s.test {
		limit = maxTestLines
	}
	if lines > limit {
		t.Errorf("%s: %s has %d lines, at most %d", s.path, f.Name.Name, lines, limit)
	}
	if n := f.Type.Params.NumFields(); n > maxParameters+1 { // ctx or t does not count
		t.Errorf("%s: %s takes %d parameters, at most %d: name the struct they are", s.path, f.Name.Name, n, maxParameters)
	}
	if depth := nesting(f.Body, 0); depth > maxNesting {
		t.Errorf("%s: %s nests %d deep, at most %d", s.path, f.Name.Name, depth, maxNesting)
	}
}

// nesting gives the greatest number of control statements around a statement of the node.
func nesting(n ast.Node, depth int) int {
	deepest := depth
	ast.Inspect(n, func(m ast.Node) bool {
		if m == nil || m == n {
			return true
		}
		switch m := m.(type) {
		case *ast.FuncLit:
			deepest = max(deepest, nesting(m.Body, 0))
			return false
		case *ast.IfStmt:
			deepest = max(deepest, nesting(m.Body, depth+1))
			if m.Else != nil {
				inner := depth + 1
				if _, chained := m.Else.(*ast.IfStmt); chained {
					inner = depth
				}
				deepest = max(deepest, nesting(m.Else, inner))
			}
			return false
		case *ast.ForStmt:
			deepest = max(deepest, nesting(m.Body, depth+1))
			return false
		case *ast.RangeStmt:
			deepest = max(deepest, nesting(m.Body, depth+1))
			return false
		case *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
			deepest = max(deepest, nesting(body(m), depth+1))
			return false
		}
		return true
	})
	return deepest
}

func body(n ast.Node) *ast.BlockStmt {
	switch n := n.(type) {
	case *ast.SwitchStmt:
		return n.Body
	case *ast.TypeSwitchStmt:
		return n.Body
	case *ast.SelectStmt:
		return n.Body
	}
	return nil
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := map[string]bool{}
	dirs := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		dirs[s.dir] = true
		if s.file.Doc != nil && strings.HasSuffix(s.path, "doc.go") {
			documented[s.dir] = true
		}
	}
	for dir := range dirs {
		if !documented[dir] {
			t.Errorf("folder %s has no doc.go with a package comment", dir)
		}
	}
}

func TestEveryFaultCodeIsInTheTable(t *testing.T) {
	known := map[string]bool{}
	for _, c := range fault.Codes {
		known[c.Code] = true
	}
	code := regexp.MustCompile(`"(FS-[0-9]{4})"`)
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok {
				return true
			}
			if m := code.FindStringSubmatch(lit.Value); m != nil && !known[m[1]] {
				t.Errorf("%s: %s is not in fault.Codes", s.fset.Position(lit.Pos()), m[1])
			}
			return true
		})
	}
}
