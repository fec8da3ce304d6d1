package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// outcome is what a command line did.
type outcome struct {
	exit     int
	out, err string
}

// yumen runs a command line in this process, without an environment.
func yumen(ctx context.Context, in string, args ...string) outcome {
	var out, err bytes.Buffer
	exit := newProgram(strings.NewReader(in), &out, &err, func(string) (string, bool) { return "", false }).main(ctx, args)
	return outcome{exit, out.String(), err.String()}
}

// took is what differs from run to run.
var took = regexp.MustCompile(`checked in \S+\)`)

// transcript is a command line and all that came of it, as one would see it in a terminal.
func transcript(args []string, o outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ yumen %s\n%s", strings.Join(args, " "), took.ReplaceAllString(o.out, "checked in TIME)"))
	if o.err != "" {
		for line := range strings.Lines(o.err) {
			b.WriteString("! " + line)
		}
	}
	fmt.Fprintf(&b, "exit %d\n", o.exit)
	return b.String()
}

// Each transcript holds the command lines of one theme; lines with ! went to standard error.
func TestTranscripts(t *testing.T) {
	for name, lines := range map[string][]string{
		"check": {
			"check -c testdata/sound.yaml",
			"check -c testdata/warned.yaml",
			"check -c testdata/broken.yaml",
			"check -c testdata/broken.yaml --json",
			"check -c testdata/sound.yaml --json",
			"check -c testdata/missing.yaml",
			"check -c testdata/secure.yaml",
			"check -c testdata/secure.yaml --no-files",
			"check",
		},
		"explain": {
			"explain -c testdata/sound.yaml --admin 127.0.0.1:1 http://example.com/",
			"explain",
			"explain -c testdata/sound.yaml -H nonsense http://example.com/",
			"explain -c testdata/broken.yaml http://example.com/",
		},
		"proxy": {
			"proxy :8080 a:9000 b:9000 --print",
			"proxy 127.0.0.1:8080 10.0.0.1:9000 --balance least_request --health-path /healthz --health-interval 2s --admin off --access-log stdout --pipeline 8 --print",
			"proxy :8080 10.0.0.1 --admin 127.0.0.1:0",
			"proxy :8080",
		},
		"usage": {
			"",
			"nonsense",
			"run",
			"run -c testdata/sound.yaml --nonsense",
			"run -c testdata/sound.yaml --log-level loud",
			"run -c testdata/sound.yaml --log-format xml",
			"run -c testdata/broken.yaml",
			"rollback x",
			"help run",
			"help demo",
			"status --admin 127.0.0.1:1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, line := range lines {
				args := strings.Fields(line)
				got.WriteString(transcript(args, yumen(t.Context(), "", args...)) + "\n")
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() == string(want) {
				return
			}
			said, meant := strings.Split(got.String(), "\n$ "), strings.Split(string(want), "\n$ ")
			for i := range min(len(said), len(meant)) {
				if said[i] != meant[i] {
					t.Errorf("got:\n%s\nwant:\n%s", said[i], meant[i])
				}
			}
			t.Errorf("%d of %d commands are in %s; go test ./cmd/yumen -update rewrites it", len(meant), len(said), file)
		})
	}
}

func TestCheckComparesRoutes(t *testing.T) {
	o := yumen(t.Context(), "", "check", "-c", "testdata/ambiguous.yaml")
	if o.exit != 1 || !strings.HasPrefix(o.out, "testdata/ambiguous.yaml:5:5: ") || !strings.Contains(o.out, "GET http://") {
		t.Errorf("%+v", o)
	}
}

// What a program reads is what a person is told.
func TestCheckAsJSONReadsBack(t *testing.T) {
	for file, ok := range map[string]bool{"broken": false, "warned": true, "ambiguous": false, "sound": true} {
		path := "testdata/" + file + ".yaml"
		said := yumen(t.Context(), "", "check", "-c", path)
		var read verdict
		decoder := json.NewDecoder(strings.NewReader(yumen(t.Context(), "", "check", "-c", path, "--json").out))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&read); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if text := read.String(); read.OK != ok || !strings.HasPrefix(said.out, text) || (text == "") != (file == "sound") {
			t.Errorf("%s: ok %v, read back as\n%s\nsaid as\n%s", file, read.OK, text, said.out)
		}
	}
}

// What an explanation says is the compiler's; here it is the way to it.
func TestExplainADocument(t *testing.T) {
	const c = "--config=testdata/sound.yaml"
	expect(t, "route      user\n", "explain", c, "GET", "http://example.com/users/7")
	expect(t, "route      user-next\n", "explain", c, "http://example.com/users/7", "-H", "X-Env: next")
	expect(t, "route      all\n", "explain", c, "POST", "http://example.com/users/7")
	expect(t, "on listener internal\n", "explain", c, "http://example.com/", "--listener", "internal")
	expect(t, "route      user\n", "explain", c, "GET", "/users/7")
	expect(t, "route      user\n", "explain", c, "/users/7?q=1")
	expect(t, `"route": "hello"`, "explain", c, "--json", "http://example.com/hello")
}

func TestCheckReadsStandardInput(t *testing.T) {
	o := yumen(t.Context(), "listen: \":8080\"\nroutes: [{path: /, respond: 204}]\n", "check", "-c", "-")
	if o.exit != 0 || !strings.Contains(o.out, "can be used") {
		t.Errorf("%+v", o)
	}
}

func TestSchemaIsTheSchema(t *testing.T) {
	if o := yumen(t.Context(), "", "schema"); o.exit != 0 || o.out != string(config.Schema()) {
		t.Errorf("exit %d, %d bytes", o.exit, len(o.out))
	}
}

func TestVersion(t *testing.T) {
	if o := yumen(t.Context(), "", "version"); o.exit != 0 || !strings.HasPrefix(o.out, "yumen ") {
		t.Errorf("%+v", o)
	}
}

func TestCompletionsForEveryShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if o := yumen(t.Context(), "", "completion", shell); o.exit != 0 || !strings.Contains(o.out, "yumen") {
			t.Errorf("%s: exit %d, %d bytes, %s", shell, o.exit, len(o.out), o.err)
		}
	}
}

// A document that users copy has neither errors nor warnings.
func TestExamplesHaveNoProblem(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range append(files, "demo/demo.yaml") {
		doc, problems, err := config.Load(file, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if plan, report := compile.Compile(doc, problems, nil, nil); plan == nil || len(report.Problems) > 0 {
			t.Errorf("%s:\n%s", file, report)
		}
	}
}
