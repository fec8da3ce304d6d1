package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestHouse compares the tree with the rules.
func TestHouse(t *testing.T) {
	tr := readTree(t, os.DirFS("../.."))
	if len(tr.sources) == 0 {
		t.Fatal("no Go file found: the tests look at the wrong folder")
	}
	for _, fault := range slices.Concat(inspect(tr), tr.spareExceptions()) {
		t.Error(fault)
	}
}

// inspect returns every fault of the tree, in the order of its files, then those of its folders.
func inspect(tr *tree) []string {
	var faults []string
	for _, s := range tr.sources {
		at := func(pos token.Pos, format string, args ...any) {
			p := tr.fset.Position(pos)
			faults = append(faults, fmt.Sprintf("%s:%d: ", p.Filename, p.Line)+fmt.Sprintf(format, args...))
		}
		checkFloors(tr, s, at)
		for _, w := range walls {
			if _, exempt := w.except[s.path]; !exempt {
				w.check(s, at)
			}
		}
		checkInit(s, at)
		checkPromises(s, at)
		if n := tr.fset.File(s.file.Pos()).LineCount(); n > linesMax && !ast.IsGenerated(s.file) {
			at(s.file.Package, "is %d lines long, at most %d: a file this long holds two ideas", n, linesMax)
		}
	}
	faults = append(faults, checkPackageDocs(tr)...)
	for _, f := range tr.folders {
		if !slices.Contains(folders, f) {
			faults = append(faults, fmt.Sprintf("%s/: is not one of the top-level folders: each is a plane of the system, and a new one is a decision", f))
		}
	}
	for _, r := range tr.rooms {
		if !slices.Contains(rooms, r) {
			faults = append(faults, fmt.Sprintf("internal/%s/: is not one of the rooms of internal: what one package needs belongs beside it, not in a drawer", r))
		}
	}
	return faults
}

type report func(pos token.Pos, format string, args ...any)

// floorOf finds the floor of a folder, nil if it stands on none.
func floorOf(folder string) *floor {
	var best *floor
	bestFit := -1
	for i := range floors {
		for _, pattern := range floors[i].packages {
			if fit, ok := covers(pattern, folder); ok && fit > bestFit {
				best, bestFit = &floors[i], fit
			}
		}
	}
	return best
}

// checkFloors compares a file's imports with the picture.
func checkFloors(tr *tree, s *source, at report) {
	if s.test {
		return
	}
	here := floorOf(s.folder())
	if here == nil {
		at(s.file.Package, "package %s stands on no floor: name it in internal/archtest/floors_test.go", s.folder())
		return
	}
	for _, i := range s.imports() {
		switch target, ours := strings.CutPrefix(i.path, tr.module+"/"); {
		case ours && target != s.folder():
			there := floorOf(target)
			if there == nil || !slices.Contains(here.may, there.name) {
				at(i.spec.Pos(), "%s imports %s: %s", s.folder(), target, here.why)
			}
		case strings.Contains(strings.Split(i.path, "/")[0], "."):
			if !slices.Contains(here.libraries, "*") && !slices.ContainsFunc(here.libraries, func(m string) bool {
				_, ok := covers(m+"/...", i.path)
				return ok
			}) {
				at(i.spec.Pos(), "%s imports the library %s, which its floor %q does not list: %s", s.folder(), i.path, here.name, here.why)
			}
		}
	}
}

// check holds one file against the wall.
func (w *wall) check(s *source, at report) {
	if s.test && !w.tests || !coversAny(w.in, s.folder()) || coversAny(w.notIn, s.folder()) {
		return
	}
	packages := map[string]string{} // the name in this file -> import path
	for _, i := range s.imports() {
		// An address and a URL are values; everything else below net can dial.
		if coversAny(w.imports, i.path) && i.path != "net/netip" && i.path != "net/url" {
			at(i.spec.Pos(), "imports %s: %s", i.path, w.why)
		}
		packages[i.name] = i.path
	}
	if len(w.calls) == 0 && !w.goroutines {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if w.goroutines {
				at(n.Pos(), "starts a goroutine: %s", w.why)
			}
		case *ast.SelectorExpr:
			// An identifier that the parser resolved within the file is a variable that hides the package.
			if x, ok := n.X.(*ast.Ident); ok && x.Obj == nil && packages[x.Name] != "" && w.forbids(packages[x.Name], n.Sel.Name) {
				at(n.Pos(), "uses %s.%s: %s", packages[x.Name], n.Sel.Name, w.why)
			}
		}
		return true
	})
}

// forbids tells whether the name of that package may not be used.
func (w *wall) forbids(importPath, name string) bool {
	if slices.Contains(w.calls, importPath+"."+name) {
		return true
	}
	// New..., types and constants take or hold a source that somebody passed; the other functions use the process's own.
	global := !strings.HasPrefix(name, "New") && !slices.Contains([]string{"Rand", "Source", "Source64", "PCG", "ChaCha8", "Zipf"}, name)
	return global && slices.Contains(w.calls, importPath+".*")
}

// checkInit finds work that happens because a package was imported.
func checkInit(s *source, at report) {
	if ast.IsGenerated(s.file) {
		return
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			at(f.Pos(), "has an init function: no work happens because a package was imported; write the list out where a reader finds it")
		}
	}
}

var promise = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

// checkPromises finds comments that put work off.
func checkPromises(s *source, at report) {
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if word := promise.FindString(c.Text); word != "" {
				at(c.Pos(), "says %s: do it, or open an issue and say here what is true now", word)
			}
		}
	}
}

// checkPackageDocs finds packages without a package comment, and with more than one.
func checkPackageDocs(tr *tree) []string {
	type doc struct {
		files     []string
		name      string
		testsOnly bool
	}
	docs := map[string]*doc{}
	var order []string
	for _, s := range tr.sources {
		d := docs[s.folder()]
		if d == nil {
			d = &doc{testsOnly: true}
			docs[s.folder()], order = d, append(order, s.folder())
		}
		if !s.test {
			d.testsOnly = false
			d.name = s.file.Name.Name
		}
	}
	for _, s := range tr.sources {
		if d := docs[s.folder()]; s.file.Doc != nil && (!s.test || d.testsOnly) {
			d.files = append(d.files, s.path)
			if first := s.file.Doc.Text(); d.name != "main" && !strings.HasPrefix(first, "Package "+s.file.Name.Name+" ") {
				d.files = append(d.files, s.path+" (which should begin with \"Package "+s.file.Name.Name+"\")")
			}
		}
	}
	var faults []string
	for _, folder := range order {
		switch d := docs[folder]; len(d.files) {
		case 1:
		case 0:
			faults = append(faults, folder+"/: has no package comment: say what it is, what it owns and what it deliberately does not do")
		default:
			faults = append(faults, fmt.Sprintf("%s/: has package comments in %s: one place, one comment", folder, strings.Join(d.files, ", ")))
		}
	}
	return faults
}

// spareExceptions finds exceptions to walls that no file needs any more.
func (tr *tree) spareExceptions() []string {
	var faults []string
	for _, w := range walls {
		for file := range w.except {
			needed := false
			for _, s := range tr.sources {
				if s.path == file {
					w.check(s, func(token.Pos, string, ...any) { needed = true })
				}
			}
			if !needed {
				faults = append(faults, fmt.Sprintf("%s: is excepted from a wall it does not touch: take the exception out (%s)", file, w.why))
			}
		}
	}
	return faults
}
