package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLoadReadsAFileAndSaysWhyNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if _, _, err := Load(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("listen: ':80'\nroutes: [{path: /, respond: 200}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, problems, err := Load(path, nil)
	if err != nil || doc == nil || doc.File != path || len(problems) != 0 {
		t.Errorf("got %v, %v, %v", doc, problems, err)
	}
	if _, _, err := Load(filepath.Dir(path), nil); err == nil {
		t.Error("a directory was read")
	}
	if err := os.Truncate(path, textMax+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path, nil); err == nil {
		t.Error("a file past the limit was read")
	}
}

func TestPartsKnowTheirPlace(t *testing.T) {
	doc, problems := Parse("x", []byte(`listen: [":80", ":81"]
clusters:
  app:
    endpoints:
      - 10.0.0.1:80
      - {address: "10.0.0.2:80"}
filters:
  tag: {rewrite: {host: a}}
routes:
  - path: /a
    cluster: app
    filters: [tag, {rewrite: {host: b}}]
  - match: {host: [a, b], path: /b, headers: {x-a: b}}
    cluster: app
`), nil)
	if doc == nil {
		t.Fatal(render(problems))
	}
	f := func(what string, got Pos, line, column int) {
		t.Helper()
		if got != (Pos{line, column}) {
			t.Errorf("%s: got %v, want %d:%d", what, got, line, column)
		}
	}
	f("listener", doc.Listeners[1].Pos, 1, 17)
	f("cluster", doc.Clusters[0].Pos, 3, 3)
	f("short endpoint", doc.Clusters[0].Endpoints[0].Pos, 5, 9)
	f("long endpoint", doc.Clusters[0].Endpoints[1].Pos, 6, 9)
	f("filter", doc.Filters[0].Pos, 8, 3)
	f("route", doc.Routes[0].Pos, 10, 5)
	f("path", doc.Routes[0].Match.Path.Pos, 10, 11)
	f("cluster of a route", doc.Routes[0].Cluster.Pos, 11, 14)
	f("filter by name", doc.Routes[0].Filters[0].Pos, 12, 15)
	f("filter on the route", doc.Routes[0].Filters[1].Filter.Pos, 12, 20)
	f("second host", doc.Routes[1].Match.Hosts[1].Pos, 13, 23)
	f("predicate", doc.Routes[1].Match.Headers[0].Pos, 13, 47)
	if doc.Routes[0].Filters[0].Filter != &doc.Filters[0] {
		t.Error("a filter used by name is not the named one")
	}
}

func TestTimeoutsAreInheritedNearestFirst(t *testing.T) {
	doc, problems := Parse("x", []byte(`
listen: ":80"
routes:
  - {path: /route, cluster: own, timeouts: {first_byte: 1s}}
  - {path: /cluster, cluster: own}
  - {path: /defaults, cluster: plain}
clusters:
  own: {endpoints: a:1, timeouts: {first_byte: 2s}}
  plain: a:1
defaults: {timeouts: {first_byte: 3s, request: 9s}}
`), nil)
	if doc == nil {
		t.Fatal(render(problems))
	}
	for i, want := range []string{"1s 1m0s 9s", "2s 1m0s 9s", "3s 1m0s 9s"} {
		r := doc.Routes[i].Timeouts
		if got := fmt.Sprint(r.FirstByte, " ", r.BetweenBytes, " ", r.Request); got != want {
			t.Errorf("route %d: got %s, want %s", i, got, want)
		}
	}
}

func TestWeightsThatDifferAreHonoured(t *testing.T) {
	f := func(cluster string, want Algorithm) {
		t.Helper()
		doc, problems := Parse("x", []byte("listen: ':80'\nclusters: {app: "+cluster+"}\nroutes: [{cluster: app}]"), nil)
		if doc == nil {
			t.Fatal(render(problems))
		}
		if got := doc.Clusters[0].Balance.Algorithm; got != want {
			t.Errorf("%s: got %s, want %s", cluster, got, want)
		}
	}
	f("[a:1, b:1]", RoundRobin)
	f("[{address: a:1, weight: 2}, {address: b:1, weight: 2}]", RoundRobin)
	f("[{address: a:1, weight: 2}, b:1]", Weighted)
	f("{endpoints: [{address: a:1, weight: 2}, b:1], balance: random}", Random)
	f("{endpoints: [{address: a:1, weight: 2}, b:1], balance: round_robin}", RoundRobin) // and a warning
}

func TestVariables(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		d := &decoder{env: testEnv}
		got, ok := d.expand(nil, text)
		if !ok {
			got = "problem"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("plain", "plain")
	f("${PORT}", "8080")
	f("a${PORT}b${HOST}c", "a8080b127.0.0.1c")
	f("${EMPTY}", "")
	f("${EMPTY:-x}", "x")
	f("${UNSET:-}", "")
	f("${UNSET:-a b}", "a b")
	f("${UNSET}", "problem")
	f("${UNSET:-${PORT}}", "${PORT}") // the first brace closes; a default is not looked through
	f("$${PORT}", "${PORT}")
	f("$$${PORT}", "$${PORT}")
	f("$PORT $5 $$", "$PORT $5 $$")
	f("${", "problem")
	f("${}", "problem")
	f("${a-b}", "problem")
	f("${BINARY}", "problem")
}

func TestEscapedTextReadsBackAsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.StringMatching(`[$ {}aPORT-]*`).Draw(t, "text")
		d := &decoder{env: testEnv}
		if got, ok := d.expand(nil, escapeVariables(want)); !ok || got != want {
			t.Fatalf("got %q", got)
		}
	})
}

// TestAnyBodyAndHeaderRoundTrip tries the texts a YAML emitter gets wrong: spaces at ends, line ends, what looks like
// numbers, switches, variables.
func TestAnyBodyAndHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, problems := Parse("x", []byte("listen: ':80'\nclusters: {app: 'a:1'}\nroutes: [{path: /a, respond: {body: x, headers: {x-y: z}}}, {path: /b, cluster: app, headers: {a: b}}]"), nil)
		if doc == nil {
			t.Fatal(render(problems))
		}
		doc.Routes[0].Respond.Body = rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \n\t\r#:'"${}\[\]&*!|>%@,?-]*`),
			rapid.SampledFrom([]string{"true", "off", "null", "~", "1e3", "0x1", "2001-01-01", "<<", "=", "---", "...", "\u2028", "\u0085", "\ufeff", "\x00", "\x7f", " a", "a ", "a\n", "\n"})).Draw(t, "body")
		doc.Routes[1].Match.Headers[0].Value = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"true", "false", "on", "~", "", "7"})).Draw(t, "predicate")
		doc.Routes[0].Name = rapid.StringMatching(`[ -~]{1,20}`).Draw(t, "name")
		assertRoundTrip(t, doc)
	})
}

func TestValuesReadBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 1<<62).Draw(t, "size")
		if got, cause, _ := parseSize(formatSize(size)); got != size {
			t.Errorf("size %d: %s: %d %s", size, formatSize(size), got, cause)
		}
		percent := Percent(rapid.Float64Range(0.001, 100).Draw(t, "percent"))
		if got, _, _ := parsePercent(percent.String()); got != percent && len(percent.String()) <= 21 {
			t.Errorf("percent %v: %s: %v", float64(percent), percent, got)
		}
		d := rapid.Custom(func(t *rapid.T) int64 { return rapid.Int64Range(0, 1<<50).Draw(t, "ns") / 1000 * 1000 }).Draw(t, "duration")
		text := formatDuration(time.Duration(d))
		if got, cause, _ := parseDuration(text); int64(got) != d {
			t.Errorf("duration %d: %s: %v %s", d, text, got, cause)
		}
	})
}

// TestHostileDocuments are refused, or read, within the memory and time of a test.
func TestHostileDocuments(t *testing.T) {
	f := func(name, text, wantCause string) {
		t.Run(name, func(t *testing.T) {
			doc, problems := Parse("x", []byte(text), testEnv)
			if doc != nil || !strings.Contains(render(problems), wantCause) {
				t.Errorf("want %q, got %.500s", wantCause, render(problems))
			}
			if len(problems) > problemsMax+1 {
				t.Errorf("%d problems", len(problems))
			}
		})
	}
	f("deep lists", strings.Repeat("[", 1<<18), "exceeded max depth")
	f("deep maps", strings.Repeat("{a: ", 1<<18), "exceeded max depth")
	f("deep dashes", strings.Repeat("- ", 1<<18), "exceeded max depth")
	f("one line of 10 MB", "listen: "+strings.Repeat("x", 10<<20), "has no port")
	f("a list of 10 MB on one line", "listen: ["+strings.Repeat("a,", 5<<20)+"]", "more than")
	f("a key of 1 MB", `"`+strings.Repeat("x", 1<<20)+`": a`, "YAML")
	f("20,000 unknown keys", repeat(20_000, "k%d: 1\n"), "more problems are not shown")
	f("20,000 routes to nowhere", "listen: ':80'\nclusters:\n"+repeat(5_000, "  cluster-%d: 'a:1'\n")+"routes:\n"+repeat(20_000, "  - {path: /, cluster: clster-%d}\n"), "there is no cluster")
	f("too many values", strings.Repeat("a,", tokensMax+1), "more than")
	f("too large", strings.Repeat("#", textMax+1), "larger than")

	f("alias of itself", "clusters: &a {x: *a, y: *a}\nroutes: &b [*b, *b]\nlisten: &c [*c]\nfilters: &d {x: *d}", "expected")
	f("variables that grow", "listen: '"+strings.Repeat("${INJECTION}", 100_000)+"'", "grows past")
}

// TestAliasBombIsCutOff: the vocabulary has no recursion, so that a bomb is as deep as it: many clusters of the same many
// endpoints. The bound is a thousandth of the real one, to be quick.
func TestAliasBombIsCutOff(t *testing.T) {
	text := "listen: ':80'\nclusters:\n  a: &a [" + repeat(100, "'b%d:1',") + "]\n" + repeat(100, "  c%d: *a\n")
	d := &decoder{file: "x", doc: &Document{}, valuesMax: valuesMax / 1000}
	doc, problems := d.parse([]byte(text))
	if doc != nil || !strings.Contains(render(problems), "once its aliases are followed") {
		t.Errorf("got %.500s", render(problems))
	}
	if d.values > 2*d.valuesMax {
		t.Errorf("%d values visited, the bound is %d", d.values, d.valuesMax)
	}
}

func repeat(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// manyRoutes is a document of n routes over 100 clusters.
func manyRoutes(n int) []byte {
	var b bytes.Buffer
	b.WriteString("listen: ':8080'\nclusters:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  c%d: [10.0.0.%d:9000]\n", i, i+1)
	}
	b.WriteString("routes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - path: /api/v%d/service-%d/:id\n    cluster: c%d\n", i%10, i, i%100)
	}
	return b.Bytes()
}

func TestManyRoutesHaveNamesOfTheirOwn(t *testing.T) {
	doc, problems := Parse("x", manyRoutes(2000), nil)
	if doc == nil || len(problems) > 0 || len(doc.Routes) != 2000 {
		t.Fatalf("%.500s", render(problems))
	}
	assertRoundTrip(t, doc)
}

func BenchmarkParse100000Routes(b *testing.B) {
	text := manyRoutes(100_000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if doc, problems := Parse("x", text, nil); doc == nil {
			b.Fatal(render(problems))
		}
	}
}

func BenchmarkYAML100000Routes(b *testing.B) {
	doc, _ := Parse("x", manyRoutes(100_000), nil)
	b.ReportAllocs()
	for b.Loop() {
		doc.YAML()
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/good/*/*.yaml", "testdata/bad/*.yaml"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, problems := Parse("x", text, testEnv)
		if (doc == nil) != anyError(problems) {
			t.Fatalf("a document and errors, or neither: %s", render(problems))
		}
		if doc != nil {
			assertRoundTrip(t, doc)
		}
	})
}
