package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control"
)

// document is a configuration that answers with a word of its own, and has a cluster nobody listens for.
func document(word string) string {
	return fmt.Sprintf(`listen: "127.0.0.1:0"
clusters: {app: ["127.0.0.1:1", "127.0.0.1:2"]}
routes:
  - {name: all, path: /*, cluster: app}
  - {name: word, path: /word, respond: {body: %q}}
`, word)
}

// start runs a gateway with a document and returns its admin API. With a file, the document is in it.
func start(t *testing.T, file, text string) (*httptest.Server, *control.Controller) {
	t.Helper()
	options := control.Options{Loops: 1, Version: "v0.0.0-test"}
	if file != "" {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		options.File = file
	} else {
		options.Document = []byte(text)
	}
	c, err := control.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	if result, err := c.Start(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, result.Report)
	}
	api := httptest.NewServer(New(Config{Controller: c, Address: "127.0.0.1:0", Version: "v0.0.0-test"}).Handler())
	t.Cleanup(api.Close)
	return api, c
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; fields are "Name: value".
func ask(t *testing.T, api *httptest.Server, method, path, body string, fields ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, api.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	resp, err := api.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// want fails the test unless the answer has the status and holds all the texts.
func (a answer) want(t *testing.T, status int, texts ...string) answer {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("the answer lacks %q:\n%s", text, a.body)
		}
	}
	return a
}

func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

func TestEverythingIsListedAndDescribed(t *testing.T) {
	api, c := start(t, "", document("one"))
	list := ask(t, api, "GET", "/", "").want(t, 200)
	reference, err := os.ReadFile("../../docs/reference/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Controller: c, Address: "127.0.0.1:0"})
	for _, e := range s.endpoints() {
		if !strings.Contains(list.body, e.method+strings.Repeat(" ", 7-len(e.method))+e.path+" ") {
			t.Errorf("GET / does not list %s %s", e.method, e.path)
		}
		if !strings.Contains(string(reference), "`"+e.path+"`") {
			t.Errorf("docs/reference/admin.md does not describe %s", e.path)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	api, _ := start(t, "", document("one"))
	ask(t, api, "GET", "/nonsense", "").want(t, 404, `"error"`, "GET / lists")
	ask(t, api, "GET", "/nonsense", "", "Accept: text/plain").want(t, 404, "there is nothing at \"/nonsense\"\n    GET / lists")
	a := ask(t, api, "POST", "/api/config", "").want(t, 405, "GET, PUT")
	if got := a.header.Get("Allow"); got != "GET, PUT" {
		t.Errorf("Allow is %q", got)
	}
	ask(t, api, "GET", "/api/drain", "").want(t, 405, "POST")
	ask(t, api, "GET", "/api/clusters/none", "").want(t, 404, "no cluster")
	ask(t, api, "GET", "/api/revisions/99", "").want(t, 404, "no such revision")
	ask(t, api, "GET", "/api/revisions/x", "").want(t, 404, "not the number")
}

func TestHealth(t *testing.T) {
	api, c := start(t, "", document("one"))
	ask(t, api, "GET", "/healthz", "").want(t, 200, "ok\n")
	ask(t, api, "GET", "/readyz", "").want(t, 200, "ready\n", "ok      configuration: revision 1 is in force", "listener default")
	r := decode[Readiness](t, ask(t, api, "GET", "/readyz?verbose", "").want(t, 200))
	if !r.Ready || len(r.Dependencies) < 3 {
		t.Errorf("%+v", r)
	}
	ask(t, api, "GET", "/readyz", "", "Accept: application/json").want(t, 200, `"ready": true`)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	ask(t, api, "GET", "/readyz", "").want(t, 503, "not ready\nFAILS   process: draining")
	ask(t, api, "GET", "/healthz", "").want(t, 200)
	ask(t, api, "PUT", "/api/config", document("two"), "If-Match: *").want(t, 503, "stopping")
}

func TestStatusAndMetrics(t *testing.T) {
	api, _ := start(t, "", document("one"))
	s := decode[Status](t, ask(t, api, "GET", "/api/status", "").want(t, 200))
	if s.Version != "v0.0.0-test" || s.PID != os.Getpid() || s.Revision != 1 || !s.Ready {
		t.Errorf("%+v", s)
	}
	ask(t, api, "GET", "/metrics", "").want(t, 200, "yumen_")
}

func TestAChangeSaysWhatItIsBasedOn(t *testing.T) {
	api, _ := start(t, "", document("one"))
	now := ask(t, api, "GET", "/api/config", "").want(t, 200, `body: "one"`)
	if now.body != document("one") || now.header.Get("ETag") != `"1"` {
		t.Errorf("ETag %s, text\n%s", now.header.Get("ETag"), now.body)
	}

	ask(t, api, "PUT", "/api/config", document("two")).want(t, 428, "If-Match")
	ask(t, api, "PUT", "/api/config", document("two"), "If-Match: junk").want(t, 400, "junk")
	ask(t, api, "PUT", "/api/config", document("two"), `If-Match: "7"`).want(t, 412, "revision 7", "revision 1 is in force")

	done := ask(t, api, "PUT", "/api/config", document("two"), `If-Match: "1"`).want(t, 200)
	if got := decode[changed](t, done); got.Revision != 2 || !got.Changed || done.header.Get("ETag") != `"2"` {
		t.Errorf("%+v, ETag %s", got, done.header.Get("ETag"))
	}
	// Whoever also began with revision 1 is told, and nothing is undone.
	ask(t, api, "PUT", "/api/config", document("three"), `If-Match: "1"`).want(t, 412)
	ask(t, api, "GET", "/api/config", "").want(t, 200, `body: "two"`)

	same := decode[changed](t, ask(t, api, "PUT", "/api/config", document("two"), `If-Match: "2"`).want(t, 200))
	if same.Revision != 2 || same.Changed {
		t.Errorf("the same document again: %+v", same)
	}
	ask(t, api, "PUT", "/api/config", document("three"), `If-Match: "1", "2"`).want(t, 200, `"revision": 3`)
	ask(t, api, "PUT", "/api/config", document("four"), "If-Match: *", "Accept: text/plain").want(t, 200, "revision 4 is in force\n")
}

func TestABrokenDocumentIsReportedWhole(t *testing.T) {
	api, _ := start(t, "", document("one"))
	const text = "listen: \":8080\"\nrouts: []\nclusters: {app: {endpoints: [nonsense]}}\n"
	a := ask(t, api, "PUT", "/api/config", text, "If-Match: *").want(t, 422)
	r := decode[struct {
		Error    string
		Problems []struct {
			Severity, Cause string
			Line            int
		}
	}](t, a)
	if len(r.Problems) < 2 || r.Problems[0].Line != 2 || r.Problems[0].Severity != "error" || !strings.Contains(r.Error, "errors") {
		t.Errorf("%+v", r)
	}
	ask(t, api, "PUT", "/api/config", text, "If-Match: *", "Accept: text/plain").want(t, 422, ":2:1: routs: ", "\n    ")
	ask(t, api, "GET", "/api/config", "").want(t, 200, `body: "one"`)
}

func TestADryRunChangesNothing(t *testing.T) {
	api, _ := start(t, "", document("one"))
	got := decode[changed](t, ask(t, api, "PUT", "/api/config?dry_run=true", document("two")).want(t, 200))
	if got.Revision != 1 || !got.Changed || !got.DryRun {
		t.Errorf("%+v", got)
	}
	ask(t, api, "PUT", "/api/config?dry_run", document("two"), "Accept: text/plain").want(t, 200, "would replace revision 1")
	ask(t, api, "PUT", "/api/config?dry_run", document("one"), "Accept: text/plain").want(t, 200, "is that of revision 1")
	ask(t, api, "PUT", "/api/config?dry_run", document("two"), `If-Match: "5"`).want(t, 412)
	ask(t, api, "PUT", "/api/config?dry_run", "listen: 5\n").want(t, 422)
	ask(t, api, "PUT", "/api/config?dry_run=maybe", document("two")).want(t, 400, "maybe")
	ask(t, api, "GET", "/api/config", "").want(t, 200, `body: "one"`)
}

func TestAnOversizeDocumentIsNotRead(t *testing.T) {
	api, _ := start(t, "", document("one"))
	r := httptest.NewRequest("PUT", "/api/config", strings.NewReader(""))
	r.Host = "127.0.0.1"
	r.Header.Set("If-Match", "*")
	r.ContentLength = configBytesMax + 1
	w := httptest.NewRecorder()
	api.Config.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTheEffectiveDocumentIsADocument(t *testing.T) {
	api, _ := start(t, "", document("one"))
	whole := ask(t, api, "GET", "/api/config?effective=true", "").want(t, 200, "first_byte: 1m")
	ask(t, api, "PUT", "/api/config?dry_run", whole.body).want(t, 200)
}

func TestRollback(t *testing.T) {
	api, _ := start(t, "", document("one"))
	ask(t, api, "POST", "/api/rollback", "").want(t, 404, "there is no earlier revision", "GET /api/revisions")
	ask(t, api, "PUT", "/api/config", document("two"), "If-Match: *").want(t, 200)
	ask(t, api, "POST", "/api/rollback", "").want(t, 200, `"revision": 3`)
	ask(t, api, "GET", "/api/config", "").want(t, 200, `body: "one"`)
	ask(t, api, "POST", "/api/rollback?to=2", "").want(t, 200, `"revision": 4`)
	ask(t, api, "POST", "/api/rollback?to=99", "").want(t, 404, "no such revision")
	ask(t, api, "POST", "/api/rollback?to=x", "").want(t, 400)

	list := decode[[]PastRevision](t, ask(t, api, "GET", "/api/revisions", "").want(t, 200))
	var got []string
	for _, r := range list {
		got = append(got, fmt.Sprintf("%d %s %v", r.Number, r.Origin, r.Current))
	}
	const want = "4 rollback to 2 true, 3 rollback to 1 false, 2 admin false, 1 start false"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("revisions are %s, want %s", s, want)
	}
	ask(t, api, "GET", "/api/revisions/2", "").want(t, 200, `body: "two"`)
}

func TestReload(t *testing.T) {
	api, _ := start(t, "", document("one"))
	ask(t, api, "POST", "/api/reload", "").want(t, 409, "PUT the document")

	file := filepath.Join(t.TempDir(), "yumen.yaml")
	api, _ = start(t, file, "watch: off\n"+document("one"))
	ask(t, api, "POST", "/api/reload", "").want(t, 200, `"changed": false`)
	if err := os.WriteFile(file, []byte("watch: off\n"+document("two")), 0o600); err != nil {
		t.Fatal(err)
	}
	ask(t, api, "POST", "/api/reload", "").want(t, 200, `"changed": true`, `"revision": 2`)
	if err := os.WriteFile(file, []byte("watch: maybe\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask(t, api, "POST", "/api/reload", "", "Accept: text/plain").want(t, 422, "watch")
	ask(t, api, "GET", "/readyz", "").want(t, 200, "warning last change")
}

func TestTrafficIsShown(t *testing.T) {
	api, _ := start(t, "", document("one"))
	ask(t, api, "GET", "/api/listeners", "").want(t, 200, `"accepting": true`)
	ask(t, api, "GET", "/api/routes", "").want(t, 200, `"name": "all"`, `"cluster": "app"`)
	ask(t, api, "GET", "/api/clusters", "").want(t, 200, `"address": "127.0.0.1:1"`, `"state": "healthy"`)
	ask(t, api, "GET", "/api/clusters/app", "").want(t, 200, `"name": "app"`, `"healthy": 2`)
}

func TestDrainAnEndpoint(t *testing.T) {
	api, _ := start(t, "", document("one"))
	const drain = "/api/clusters/app/endpoints/127.0.0.1:2/drain"
	ask(t, api, "PUT", drain, "").want(t, 204)
	ask(t, api, "GET", "/api/clusters/app", "").want(t, 200, `"healthy": 1`, `"state": "drained"`)
	ask(t, api, "DELETE", drain, "").want(t, 204)
	ask(t, api, "GET", "/api/clusters/app", "").want(t, 200, `"healthy": 2`)
	ask(t, api, "PUT", "/api/clusters/app/endpoints/127.0.0.1:3/drain", "").want(t, 404, "127.0.0.1:3")
	ask(t, api, "PUT", "/api/clusters/none/endpoints/127.0.0.1:2/drain", "").want(t, 404, "none")
}

func TestExplain(t *testing.T) {
	api, _ := start(t, "", document("one"))
	ask(t, api, "GET", "/api/explain?url=http://example.com/a&header=X-Env:next", "").want(t, 200, `"all"`, `"live"`, "127.0.0.1:2")
	ask(t, api, "GET", "/api/explain?url=http://example.com/a", "", "Accept: text/plain").want(t, 200, "all", "cluster app: 2 of 2 endpoints healthy")
	if a := ask(t, api, "GET", "/api/explain?url=http://example.com/word", "").want(t, 200, `"word"`); strings.Contains(a.body, `"live"`) {
		t.Errorf("a route without a cluster has endpoints:\n%s", a.body)
	}
	ask(t, api, "GET", "/api/explain", "").want(t, 400, "url")
	ask(t, api, "GET", "/api/explain?url=http://a/&header=junk", "").want(t, 400, "junk")
	ask(t, api, "GET", "/api/explain?url=http://a/&client=junk", "").want(t, 400, "junk")
}

func TestDrainEndsTheGateway(t *testing.T) {
	api, c := start(t, "", document("one"))
	ask(t, api, "POST", "/api/drain", "").want(t, 202, "draining")
	<-c.Stopped()
	ask(t, api, "GET", "/readyz", "").want(t, 503)
}

func TestProfiles(t *testing.T) {
	api, _ := start(t, "", document("one"))
	ask(t, api, "GET", "/debug/pprof/", "").want(t, 200, "goroutine")
	ask(t, api, "GET", "/debug/pprof/goroutine?debug=1", "").want(t, 200, "goroutine profile")
}
