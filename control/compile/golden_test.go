package compile

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/config"
)

var update = flag.Bool("update", false, "rewrite the golden files with what came out; read the diff")

// golden compares what came out with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	w, g := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			t.Fatalf("%s differs from line %d on\n--- want\n%s\n--- got\n%s", file, i+1,
				strings.Join(w[min(i, len(w)):], "\n"), strings.Join(g[min(i, len(g)):], "\n"))
		}
	}
}

// compileText parses and compiles a document without variables.
func compileText(name, text string) (*Plan, *Report) {
	doc, problems := config.Parse(name, []byte(text), nil)
	return Compile(doc, problems, nil, nil)
}

// mustCompile compiles a document that is sound.
func mustCompile(t testing.TB, text string) *Plan {
	t.Helper()
	plan, report := compileText("test.yaml", text)
	if plan == nil {
		t.Fatal(report)
	}
	return plan
}

// TestReports compares what is said of the documents in testdata/report with the files beside them.
func TestReports(t *testing.T) {
	reports(t, "testdata/report/*.yaml", func(t *testing.T, p *Problem) {
		if p.Path == "" {
			t.Errorf("a problem of no part of the document: %s", p)
		}
	})
}

// TestNewcomersMistakes does so with the documents that people write who come from another proxy, or from none: each
// problem has its place, its cause and what to do about it.
func TestNewcomersMistakes(t *testing.T) {
	reports(t, "testdata/newcomer/*.yaml", func(t *testing.T, p *Problem) {
		if p.Fix == "" && len(p.Others) == 0 {
			t.Errorf("nothing says what to do: %s", p)
		}
	})
}

func reports(t *testing.T, pattern string, judge func(*testing.T, *Problem)) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal("no documents", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			plan, report := compileText(filepath.Base(file), string(text))
			if (plan == nil) != report.Errors() {
				t.Errorf("plan %v, errors %v", plan != nil, report.Errors())
			}
			for _, p := range report.Problems {
				if p.Line == 0 || p.Column == 0 || p.Cause == "" {
					t.Errorf("a problem without place or cause: %+v", p)
				}
				judge(t, &p)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".report", report.String())
		})
	}
}

// TestExplain asks testdata/explain.yaml the questions of explain.txt, as the command line writes them.
func TestExplain(t *testing.T) {
	text, err := os.ReadFile("testdata/explain.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan := mustCompile(t, string(text))
	story, err := os.ReadFile("testdata/explain.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(story)) {
		question, ok := strings.CutPrefix(strings.TrimSpace(line), "> ")
		if !ok {
			continue
		}
		parts := strings.Split(question, " -H ")
		method, url, _ := strings.Cut(parts[0], " ")
		req := ExplainRequest{Method: method, URL: url}
		for _, h := range parts[1:] {
			name, value, _ := strings.Cut(h, ":")
			req.Headers = append(req.Headers, Header{name, value})
		}
		out.WriteString("> " + question + "\n" + plan.Explain(req).String() + "\n")
	}
	golden(t, "testdata/explain.txt", strings.TrimSuffix(out.String(), "\n"))
}

// TestEveryGoodDocumentCompiles: what the parser's own tests call good can be used, warnings aside.
func TestEveryGoodDocumentCompiles(t *testing.T) {
	t.Chdir("../config/testdata/good") // where the files are that they name
	t.Setenv("REDIS_PASSWORD", "word")
	t.Setenv("JWT_SECRET", "c2VjcmV0LXRoYXQtbm9ib2R5LWlzLXRvbGQtb2YtMzI=")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no documents", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		env := func(name string) (string, bool) { return "9", true }
		doc, problems := config.Parse(file, text, env)
		if doc == nil {
			continue // it needs variables of its own
		}
		if plan, report := Compile(doc, problems, nil, nil); plan == nil {
			t.Errorf("%s:\n%s", file, report)
		}
	}
}

// FuzzCompile: whatever the parser accepts, compiling ends in a plan or in errors, and explaining in an explanation.
func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/report/*.yaml", "../config/testdata/good/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text), "http://a.example.com:8080/users/7?q=1")
		}
	}
	f.Fuzz(func(t *testing.T, text, url string) {
		doc, problems := config.Parse("fuzz.yaml", []byte(text), nil)
		plan, report := Compile(doc, problems, nil, nil)
		if (plan == nil) != report.Errors() {
			t.Fatalf("plan %v, errors %v:\n%s", plan != nil, report.Errors(), report)
		}
		if plan == nil {
			return
		}
		for _, c := range plan.Clusters {
			c.Spec(2)
		}
		_ = plan.Explain(ExplainRequest{URL: url}).String()
	})
}
