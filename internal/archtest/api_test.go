package archtest

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const apiHead = `# What other programs may use of this package. A line that goes or changes breaks them, a line more is a promise.
# Rewrite with
#     go test ./internal/archtest -run TestPublicNames -update
`

// TestPublicNames compares what each package of the kit exports with the api.txt in its folder, so that nothing that
// others build on changes unseen, and holds the kit to its word that no type of policy shows in it.
func TestPublicNames(t *testing.T) {
	for _, dir := range publicPackages(t) {
		t.Run(filepath.ToSlash(strings.TrimPrefix(dir, "../../")), func(t *testing.T) {
			got, foreign := publicNames(t, dir)
			for _, name := range foreign {
				t.Errorf("%s: the kit uses the cores of policy and shows none of their types", name)
			}
			file := filepath.Join(dir, "api.txt")
			text := apiHead + strings.Join(got, "\n") + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(want), "\n"), "\n")
			for _, line := range got {
				if !slices.Contains(lines, line) {
					t.Errorf("api.txt lacks: %s", line)
				}
			}
			for _, line := range lines {
				if !strings.HasPrefix(line, "#") && line != "" && !slices.Contains(got, line) {
					t.Errorf("api.txt has, and the package has not: %s", line)
				}
			}
		})
	}
}

// publicPackages are the folders of the kit that others can import.
func publicPackages(t *testing.T) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir("../../kit", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if n := d.Name(); n == "internal" || n == "testdata" {
			return fs.SkipDir
		}
		files, err := filepath.Glob(filepath.Join(p, "*.go"))
		if slices.ContainsFunc(files, func(f string) bool { return !strings.HasSuffix(f, "_test.go") }) {
			dirs = append(dirs, p)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return dirs
}

// publicNames returns the exported declarations of the package in dir, one a line and sorted, and those of them that
// name a type of policy.
func publicNames(t *testing.T, dir string) (names, foreign []string) {
	t.Helper()
	fset := token.NewFileSet()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		policy := policyImports(f)
		add := func(prefix string, n ast.Node) {
			line := prefix + oneLine(t, fset, n)
			names = append(names, line)
			ast.Inspect(n, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if id, ok := s.X.(*ast.Ident); ok && policy[id.Name] {
						foreign = append(foreign, line)
					}
				}
				return true
			})
		}
		for _, d := range f.Decls {
			publicOf(d, add)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), foreign
}

// publicOf hands the exported parts of a declaration to add: a function or method, each constant, variable and type,
// and each exported field or method of a type on a line of its own.
func publicOf(d ast.Decl, add func(prefix string, n ast.Node)) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
			add("", &ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type})
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if !name.IsExported() {
						continue
					}
					if s.Type == nil {
						add(d.Tok.String()+" ", name)
						continue
					}
					add(d.Tok.String()+" ", &ast.ValueSpec{Names: []*ast.Ident{name}, Type: s.Type})
				}
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					publicOfType(s, add)
				}
			}
		}
	}
}

func publicOfType(s *ast.TypeSpec, add func(prefix string, n ast.Node)) {
	var fields *ast.FieldList
	kind := ""
	switch of := s.Type.(type) {
	case *ast.StructType:
		fields, kind = of.Fields, "struct"
	case *ast.InterfaceType:
		fields, kind = of.Methods, "interface"
	default:
		add("type ", s)
		return
	}
	add("type ", &ast.TypeSpec{Name: s.Name, TypeParams: s.TypeParams, Type: ast.NewIdent(kind)})
	for _, f := range fields.List {
		if len(f.Names) == 0 {
			if kind == "interface" || ast.IsExported(receiver(f.Type)) {
				add("type "+s.Name.Name+" "+kind+": ", f.Type)
			}
			continue
		}
		for _, name := range f.Names {
			if name.IsExported() || kind == "interface" {
				add("type "+s.Name.Name+" "+kind+": "+name.Name+" ", f.Type)
			}
		}
	}
}

// receiver is the name of the type that a receiver or an embedded field names, without pointer and type parameters.
func receiver(e ast.Expr) string {
	for {
		switch t := e.(type) {
		case *ast.StarExpr:
			e = t.X
		case *ast.IndexExpr:
			e = t.X
		case *ast.IndexListExpr:
			e = t.X
		case *ast.SelectorExpr:
			return t.Sel.Name
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

// policyImports are the names by which a file calls packages of policy.
func policyImports(f *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil || !strings.Contains(p, "/policy/") {
			continue
		}
		name := p[strings.LastIndexByte(p, '/')+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = true
	}
	return names
}

func oneLine(t *testing.T, fset *token.FileSet, n ast.Node) string {
	t.Helper()
	var b bytes.Buffer
	if err := printer.Fprint(&b, fset, n); err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
