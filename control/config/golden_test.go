package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// testEnv is the environment of all test documents.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"HOST": "127.0.0.1", "PORT": "8080", "LIMIT": "17", "EMPTY": "",
		"INJECTION": "x}\nadmin: {address: 0.0.0.0:1}\nroutes: [", "LIST": "[a, b]", "BINARY": "\xff\x00",
	}[name]
	return v, ok
}

func TestGoodDocumentsGiveTheirEffectiveConfiguration(t *testing.T) {
	eachGoodFile(t, func(t *testing.T, path string, text []byte) {
		doc, problems := Parse(filepath.Base(path), text, testEnv)
		if doc == nil {
			t.Fatalf("refused:\n%s", render(problems))
		}
		got := string(doc.YAML())
		if len(problems) > 0 {
			got = "# " + strings.ReplaceAll(strings.TrimSuffix(render(problems), "\n"), "\n", "\n# ") + "\n" + got
		}
		golden(t, strings.TrimSuffix(path, ".yaml")+".effective", got)
		assertRoundTrip(t, doc)
	})
}

func TestBadDocumentsGiveTheirProblems(t *testing.T) {
	eachFile(t, "testdata/bad/*.yaml", func(t *testing.T, path string, text []byte) {
		doc, problems := Parse(filepath.Base(path), text, testEnv)
		if doc != nil {
			t.Error("accepted")
		}
		for _, p := range problems {
			if p.Line == 0 || p.Cause == "" {
				t.Errorf("no place or cause: %+v", p)
			}
		}
		golden(t, strings.TrimSuffix(path, ".yaml")+".problems", render(problems))
	})
}

// eachGoodFile visits the documents that packages above judge as well.
func eachGoodFile(t *testing.T, f func(t *testing.T, path string, text []byte)) {
	eachFile(t, "testdata/good/*.yaml", f)
}

func eachFile(t *testing.T, pattern string, f func(t *testing.T, path string, text []byte)) {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file matches %s: %v", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f(t, path, text)
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update and look at the difference)\n%s", path, firstDifference(string(want), got))
	}
}

// firstDifference shows the first line that is not the same.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := 0; i < max(len(w), len(g)); i++ {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return "want: " + a + "\ngot:  " + b
		}
	}
	return "the same"
}

func render(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// assertRoundTrip checks that the effective configuration means what it was made from, and is its own effective
// configuration.
func assertRoundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, doc *Document) {
	t.Helper()
	text := doc.YAML()
	again, problems := Parse("again.yaml", text, nil)
	if again == nil {
		t.Fatalf("the effective configuration is refused:\n%s\n%s", render(problems), text)
	}
	if second := string(again.YAML()); second != string(text) {
		t.Fatalf("the effective configuration is not its own\n%s", firstDifference(string(text), second))
	}
	withoutPlaces(reflect.ValueOf(doc).Elem())
	withoutPlaces(reflect.ValueOf(again).Elem())
	doc.File, again.File = "", ""
	if !reflect.DeepEqual(doc, again) {
		t.Fatalf("read back differently:\n%+v\n%+v\n%s", doc, again, text)
	}
}

// withoutPlaces clears every Pos below v.
func withoutPlaces(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			withoutPlaces(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			withoutPlaces(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Pos]() {
			v.SetZero()
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				withoutPlaces(v.Field(i))
			}
		}
	}
}
