package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// tree is the Go source of a module, parsed and not type-checked: these rules are about names, and parsing sees the files
// of every system and build tag at once.
type tree struct {
	module  string
	fset    *token.FileSet
	sources []*source
	// folders are the top-level folders that hold any file, rooms those of internal.
	folders, rooms []string
}

// source is one Go file.
type source struct {
	path string // slash-separated, from the root of the module
	test bool
	file *ast.File
}

func (s *source) folder() string { return path.Dir(s.path) }

// imported is one import of a file: its path and the name the file calls it by.
type imported struct {
	spec       *ast.ImportSpec
	path, name string
}

func (s *source) imports() []imported {
	var all []imported
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused the file already
		}
		name := defaultName(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		all = append(all, imported{spec, p, name})
	}
	return all
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// defaultName is the name a package most likely has: the last element of its path that is not a major version.
func defaultName(importPath string) string {
	base := path.Base(importPath)
	if majorVersion.MatchString(base) {
		base = path.Base(path.Dir(importPath))
	}
	return base
}

// readTree parses every Go file below root. It passes over what the go command passes over (testdata, names that begin
// with a dot or an underscore) and over other modules.
func readTree(t *testing.T, root fs.FS) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		if rest, ok := strings.CutPrefix(line, "module "); ok {
			tr.module = strings.TrimSpace(rest)
		}
	}
	ignored := ignoredFolders(root)
	seen := map[string]bool{}
	err = fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p == "." {
				return nil
			}
			if name[0] == '.' || name[0] == '_' || name == "testdata" || ignored[p] {
				return fs.SkipDir
			}
			// Asked of the folder, because a walk meets the files before go.mod first.
			if _, err := fs.Stat(root, p+"/go.mod"); err == nil {
				return fs.SkipDir
			}
			return nil
		}
		top, rest, nested := strings.Cut(p, "/")
		if nested && !seen[top] {
			seen[top] = true
			tr.folders = append(tr.folders, top)
		}
		if room, _, ok := strings.Cut(rest, "/"); top == "internal" && ok && !seen["internal/"+room] {
			seen["internal/"+room] = true
			tr.rooms = append(tr.rooms, room)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(tr.fset, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		tr.sources = append(tr.sources, &source{path: p, test: strings.HasSuffix(name, "_test.go"), file: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// ignoredFolders reads the folders that .gitignore names from the root ("/build/out/"): what a build leaves there is
// not part of the tree.
func ignoredFolders(root fs.FS) map[string]bool {
	ignored := map[string]bool{}
	text, err := fs.ReadFile(root, ".gitignore")
	if err != nil {
		return ignored
	}
	for line := range strings.Lines(string(text)) {
		if p := strings.TrimSpace(line); strings.HasPrefix(p, "/") && strings.HasSuffix(p, "/") {
			ignored[strings.Trim(p, "/")] = true
		}
	}
	return ignored
}

// covers tells whether a pattern ("engine", "policy/...", "...") takes in a folder or import path, and how exactly: the
// higher the number, the closer the fit.
func covers(pattern, p string) (fit int, ok bool) {
	if pattern == "..." {
		return 0, true
	}
	if base, subtree := strings.CutSuffix(pattern, "/..."); subtree {
		return 2 * len(base), p == base || strings.HasPrefix(p, base+"/")
	}
	return 2*len(pattern) + 1, p == pattern
}

func coversAny(patterns []string, p string) bool {
	for _, pattern := range patterns {
		if _, ok := covers(pattern, p); ok {
			return true
		}
	}
	return false
}
