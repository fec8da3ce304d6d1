package control

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/revision"
)

// Documents alternate under traffic: routes, clusters and an endpoint come and go. In both, the route leads to the blue
// origins by way of one cluster, while the other cluster holds the green ones: who mixed two documents would answer green.
func TestReloadUnderTrafficFailsNoRequest(t *testing.T) {
	blue := []*origin{startOrigin(t, "blue"), startOrigin(t, "blue")}
	green := []*origin{startOrigin(t, "green"), startOrigin(t, "green")}
	doc := func(n int) string {
		used, spare := "one", "two"
		if n%2 == 1 {
			used, spare = spare, used
		}
		return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: off
clusters:
  %s: {endpoints: [%q]}
  %s: {endpoints: [%q]}
  only%d: {endpoints: [%q]}
routes:
  - {path: /*, cluster: %s}
  - {path: /spare/*, cluster: %s}
  - {path: /only, cluster: only%d}
  - {path: /generation, respond: {body: "%d"}}
`, used, blue[n%2].addr, spare, green[n%2].addr, n, blue[0].addr, used, spare, n, n)
	}
	g := start(t, doc(0), Options{})
	addr := g.addr("web")
	tr := startTraffic(addr, 6, false, says("blue"))
	const reloads = 40
	for n := 1; n <= reloads; n++ {
		tr.more(t, 20)
		g.apply(doc(n))
		want(t, get(t, addr, "/generation"), fmt.Sprintf("200 %d", n))
	}
	tr.end(t)
	if tr.last.Load() > 0 {
		t.Errorf("%d kept connections were ended by a change", tr.last.Load())
	}
	if n := g.Current().Number; n != reloads+1 {
		t.Errorf("revision %d is in force, want %d", n, reloads+1)
	}
}

func TestBrokenDocumentChangesNothing(t *testing.T) {
	o := startOrigin(t, "app")
	g := start(t, document(o), Options{})
	tr := startTraffic(g.addr("web"), 2, false, says("app"))
	r, err := g.Apply(t.Context(), Change{Origin: "admin", Name: "new.yaml", Text: []byte(strings.Replace(document(o), "cluster: app", "clutser: app", 1))})
	if !errors.Is(err, ErrInvalid) || r.Changed || r.Revision != 1 || !strings.Contains(r.Report.String(), "clutser") {
		t.Errorf("got %+v, %v", r, err)
	}
	tr.more(t, 50)
	tr.end(t)
	if !strings.Contains(g.log.String(), "clutser") {
		t.Errorf("the log does not name the unknown key:\n%s", g.log)
	}
	ready, deps := g.Ready()
	if said := fmt.Sprint(deps); !ready || !strings.Contains(said, "last change") {
		t.Errorf("ready %v, %v", ready, deps)
	}
	g.apply(document(o))
	if _, deps := g.Ready(); strings.Contains(fmt.Sprint(deps), "last change") {
		t.Errorf("a refused change is remembered though what is in force was asked for again: %v", deps)
	}
}

func TestOutcomesOfChanges(t *testing.T) {
	o := startOrigin(t, "app")
	one, two := document(o), document(o, "  - {path: /two, cluster: app}\n")
	g := start(t, one, Options{})
	apply := func(ch Change) string {
		r, err := g.Apply(t.Context(), ch)
		var conflict *ConflictError
		s := fmt.Sprintf("revision %d changed %v", r.Revision, r.Changed)
		if errors.As(err, &conflict) {
			return s + " conflict"
		} else if err != nil {
			return s + " " + err.Error()
		}
		return s
	}
	for _, c := range []struct {
		what string
		ch   Change
		want string
	}{
		{"the same text", Change{Text: []byte(one)}, "revision 1 changed false"},
		{"a dry run", Change{Text: []byte(two), DryRun: true}, "revision 1 changed true"},
		{"a dry run of what is in force", Change{Text: []byte(one), DryRun: true}, "revision 1 changed false"},
		{"a dry run that expects another", Change{Text: []byte(two), DryRun: true, Expect: 7}, "revision 1 changed false conflict"},
		{"based on another revision", Change{Text: []byte(two), Expect: 7}, "revision 1 changed false conflict"},
		{"based on this one", Change{Text: []byte(two), Expect: 1}, "revision 2 changed true"},
		{"an error in a dry run", Change{Text: []byte("listen: 7"), DryRun: true}, "revision 2 changed false " + ErrInvalid.Error()},
		{"what needs a restart", Change{Text: []byte(two + "limits: {loops: 5}\n")}, "revision 3 changed true"},
	} {
		if got := apply(c.ch); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	g.Stop()
	if got := apply(Change{Text: []byte(one)}); !strings.HasSuffix(got, ErrStopping.Error()) {
		t.Errorf("after Stop: %s", got)
	}
}

func TestWhatTakesEffectLaterIsSaid(t *testing.T) {
	o := startOrigin(t, "app")
	g := start(t, document(o), Options{Loops: -1})
	r, err := g.Apply(t.Context(), Change{Text: []byte(document(o, "limits: {loops: 5, buffer_bytes: 1MiB}\n"))})
	if err != nil || fmt.Sprint(r.Later) != "[limits.loops limits.buffer_bytes]" {
		t.Errorf("later: %v, %v", r.Later, err)
	}
}

// A change is stopped before each of its steps: everything that the steps before it opened is closed again, nothing was
// recorded, and the old document serves on.
func TestChangeStoppedAtEachStep(t *testing.T) {
	o, other, s := startOrigin(t, "app"), startOrigin(t, "other"), newSite(t)
	dir, files := t.TempDir(), s.pair("a", s.issue("a.test"))
	g := start(t, document(o), Options{RevisionDir: filepath.Join(dir, "revisions"), Loops: 1})
	addr := g.addr("web")
	want(t, get(t, addr, "/"), "200 app")
	g.settled()
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			fresh := freeAddr(t)
			g.interrupt = func(step string) error {
				if step == s.name {
					return errors.New("interrupted")
				}
				return nil
			}
			defer func() { g.interrupt = func(string) error { return nil } }()
			descriptors, goroutines := descriptorsOpen(t), runtime.NumGoroutine()
			doc := fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}, {name: fresh, address: %q, tls: %s}]
admin: off
access_log: %s
clusters: {app: {endpoints: [%q]}, extra: {endpoints: [%q], health: {path: /}}}
routes: [{path: /*, cluster: extra}, {path: /app, cluster: app}]
`, fresh, files, filepath.Join(dir, "access.log"), other.addr, other.addr)
			_, err := g.Apply(t.Context(), Change{Origin: "admin", Text: []byte(doc)})
			if err == nil || !strings.Contains(err.Error(), s.name) || !strings.Contains(err.Error(), "interrupted") {
				t.Fatalf("got %v", err)
			}
			want(t, get(t, addr, "/"), "200 app")
			if !refused(fresh) {
				t.Error("the new listener's address is open")
			}
			if n := g.Current().Number; n != 1 || len(g.Revisions()) != 1 {
				t.Errorf("revision %d of %d", n, len(g.Revisions()))
			}
			eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
			eventually(t, "descriptors close", func() bool { return descriptorsOpen(t) <= descriptors })
		})
	}
}

// settled waits until loops and clients have closed what the last requests left.
func (g *gw) settled() {
	g.t.Helper()
	eventually(g.t, "no connection is open", func() bool { return g.plane.open() == 0 })
}

// The address of a new listener is taken by somebody else.
func TestAddressInUseIsRefused(t *testing.T) {
	o := startOrigin(t, "app")
	g := start(t, document(o), Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = g.Apply(t.Context(), Change{Text: []byte(strings.Replace(document(o), "127.0.0.1:0", l.Addr().String(), 1))})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
	want(t, get(t, g.addr("web"), "/"), "200 app")
}

// Two gateways on one address would share its connections without a word, because their sockets may.
func TestSecondGatewayOnTheAddressIsRefused(t *testing.T) {
	o, addr := startOrigin(t, "app"), freeAddr(t)
	doc := strings.Replace(document(o), "127.0.0.1:0", addr, 1)
	start(t, doc, Options{})
	var log lines
	second, err := New(Options{Document: []byte(doc), Loops: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	if _, err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	if strings.Contains(log.String(), "stays") {
		t.Errorf("nothing was in force that could stay:\n%s", &log)
	}
}

func TestProblemsOfADocumentWithoutAFileBeginWithItsName(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		c, err := New(Options{Document: []byte("listen: x\n"), DocumentName: name})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Stop()
		r, err := c.Start(t.Context())
		if !errors.Is(err, ErrInvalid) || !strings.HasPrefix(r.Report.String(), want) {
			t.Errorf("%v\n%s", err, r.Report)
		}
	}
	f("command line", "command line:1:9: listen: ")
	f("", "document:1:9: listen: ")
}

func TestAReloadThatChangesNothingSaysSo(t *testing.T) {
	o := startOrigin(t, "app")
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte(document(o, "watch: off\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	g := start(t, "", Options{File: path})
	before := len(g.log.String())
	r, err := g.Reload(t.Context())
	if err != nil || r.Changed || r.Revision != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	said := g.log.String()[before:]
	if strings.Count(said, "\n") != 1 || !strings.Contains(said, "nothing changed") || !strings.Contains(said, "revision=1") || !strings.Contains(said, path) {
		t.Errorf("the log says:\n%s", said)
	}
}

// Two hundred changes, each with another listener, cluster and access log, and a request on each: nothing is left of them.
func TestTwoHundredChangesLeaveNothing(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	s.pair("a", s.issue("a.test"))
	log := filepath.Join(t.TempDir(), "access.log")
	doc := func(n int) string {
		return fmt.Sprintf(`
listeners:
  - {name: web, address: "127.0.0.1:0"}
  - {name: l%d, address: "127.0.0.1:0"}
  - {name: s%d, address: "127.0.0.1:0", tls: {cert: %s, key: %s, ticket_rotation: %dm}}
admin: off
access_log: {path: %s, request_headers: [x-%d]}
clusters: {kept: {endpoints: [%q]}, c%d: {endpoints: [%q], health: {path: /}, pipeline: %d}}
routes: [{path: /*, cluster: c%d}, {path: /kept, cluster: kept}]
`, n, n, s.path("a.pem"), s.path("a.key"), 1+n%7, log, n, o.addr, n%3, o.addr, 1+n%2, n%3)
	}
	g := start(t, doc(0), Options{})
	addr := g.addr("web")
	kept, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	ask := func(n int) {
		t.Helper()
		for _, path := range []string{"/", "/kept"} {
			a, err := kept.get(path)
			if err != nil {
				t.Fatal(err)
			}
			want(t, a, "200 app")
		}
		want(t, get(t, g.addr(fmt.Sprint("l", n)), "/"), "200 app")
		if got := askTLS(g.addr(fmt.Sprint("s", n)), s.client("a.test"), "/"); got != "200 app" {
			t.Error(got)
		}
	}
	measure := func() (int, int) { return descriptorsOpen(t), runtime.NumGoroutine() }
	for n := 1; n <= 10; n++ {
		g.apply(doc(n))
		ask(n)
	}
	eventually(t, "only one connection is open", func() bool { return g.plane.open() == 1 })
	descriptors, goroutines := measure()
	for n := 11; n <= 210; n++ {
		g.apply(doc(n))
		if n%20 == 10 {
			ask(n)
		}
	}
	// A margin for the origin's own connections and checks under way, of which each reload would add one at least.
	eventually(t, "descriptors and goroutines are as before", func() bool {
		d, r := measure()
		return d <= descriptors+8 && r <= goroutines+8
	})
	if n := len(g.liveGroups()); n != 2 {
		t.Errorf("%d groups live", n)
	}
}

// A cluster whose plan did not change keeps its connections; one that changed keeps those of the endpoints that stay.
func TestUnchangedClustersKeepTheirConnections(t *testing.T) {
	a, b := startOrigin(t, "a"), startOrigin(t, "b")
	doc := func(n int) string {
		return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: off
clusters: {same: {endpoints: [%q]}, changed: {endpoints: [%q], timeouts: {first_byte: %ds}}}
routes: [{path: /same, cluster: same}, {path: /changed, cluster: changed}, {path: /r%d, respond: {body: x}}]
`, a.addr, b.addr, 10+n, n)
	}
	g := start(t, doc(0), Options{Loops: 1})
	for n := range 10 {
		if n > 0 {
			g.apply(doc(n))
		}
		want(t, get(t, g.addr("web"), "/same"), "200 a")
		want(t, get(t, g.addr("web"), "/changed"), "200 b")
	}
	if n, m := a.accepted.Load(), b.accepted.Load(); n != 1 || m != 1 {
		t.Errorf("%d and %d connections were made, want one each", n, m)
	}
}

// A request that began under a document ends under it, though its cluster is gone from the next.
func TestRequestOutlivesItsCluster(t *testing.T) {
	a, b := startOrigin(t, "a"), startOrigin(t, "b")
	g := start(t, document(a), Options{})
	c, err := dial(g.addr("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /waits HTTP/1.1\r\nHost: exam.test\r\n\r\n")
	<-a.waiting
	g.apply(strings.ReplaceAll(document(b), "app", "other"))
	want(t, get(t, g.addr("web"), "/"), "200 b")
	if n := len(g.liveGroups()); n != 2 {
		t.Errorf("%d groups live while a request needs the old one", n)
	}
	close(a.gate)
	got, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, "200 a")
	eventually(t, "the old group ends", func() bool { return len(g.liveGroups()) == 1 })
}

// A request waits for a connection to an endpoint when a change takes the endpoint away: it is served there all the same.
func TestRequestWaitsAtAnEndpointThatLeaves(t *testing.T) {
	a, b := startOrigin(t, "a"), startOrigin(t, "b")
	doc := func(endpoints string) string {
		return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: off
clusters: {app: {endpoints: [%s], connections: {per_endpoint: 1, queue_timeout: 20s}}}
routes: [{path: /*, cluster: app, retry: {attempts: 1}}]
`, endpoints)
	}
	reserve := fmt.Sprintf("{address: %q, priority: 1}", b.addr)
	g := start(t, doc(fmt.Sprintf("%q, %s", a.addr, reserve)), Options{Loops: 1})
	ask := func(path string) *conn {
		t.Helper()
		c, err := dial(g.addr("web"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: exam.test\r\n\r\n", path)
		return c
	}
	first := ask("/waits")
	<-a.waiting
	second := ask("/")
	eventually(t, "the second waits for a connection", func() bool { return g.Clusters()[0].Endpoints[0].Waiting == 1 })
	g.apply(doc(reserve))
	want(t, get(t, g.addr("web"), "/"), "200 b")
	close(a.gate)
	for _, c := range []*conn{first, second} {
		got, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		want(t, got, "200 a")
	}
}

func (g *gw) liveGroups() map[string]bool {
	live := map[string]bool{}
	g.do(func() {
		for group := range g.groups {
			live[group.Name] = true
		}
	})
	return live
}

func TestListenersComeAndGo(t *testing.T) {
	o := startOrigin(t, "app")
	first, second := freeAddr(t), freeAddr(t)
	doc := func(listeners string) string {
		return fmt.Sprintf("listeners: [%s]\nadmin: off\nclusters: {app: {endpoints: [%q]}}\nroutes: [{path: /*, cluster: app}]\n", listeners, o.addr)
	}
	g := start(t, doc(fmt.Sprintf("{name: a, address: %q}", first)), Options{})
	kept, err := dial(first)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	ask := func(text string) {
		t.Helper()
		a, err := kept.get("/")
		if err != nil {
			t.Fatal(err)
		}
		want(t, a, text)
	}
	ask("200 app")

	g.apply(doc(fmt.Sprintf("{name: renamed, address: %q}, {name: b, address: %q}", first, second)))
	ask("200 app")
	want(t, get(t, second, "/"), "200 app")
	if l := g.Listeners()[0]; l.Name != "renamed" || l.Accepted != 1 {
		t.Errorf("a renamed listener has other sockets: %+v", l)
	}

	g.apply(doc(fmt.Sprintf("{name: b, address: %q, limits: {body_bytes: 10B}}", second)))
	if !refused(first) {
		t.Error("a removed listener still accepts")
	}
	ask("200 app (last)")
	c, err := dial(second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: exam.test\r\nContent-Length: 11\r\n\r\n01234567890")
	if a, err := c.read(); err != nil || a.status != 413 {
		t.Errorf("past the new limit: %v, %v", a, err)
	}
}

func TestRollback(t *testing.T) {
	o := startOrigin(t, "app")
	doc := func(n int) string { return document(o, fmt.Sprintf("  - {path: /n, respond: {body: \"%d\"}}\n", n)) }
	dir := t.TempDir()
	g := start(t, doc(1), Options{RevisionDir: dir})
	n := func() string { return get(t, g.addr("web"), "/n").body }
	if _, err := g.Rollback(t.Context(), 0); !errors.Is(err, ErrNothingEarlier) || strings.Contains(err.Error(), "revision 0") {
		t.Errorf("rollback with nothing to go back to: %v", err)
	}
	g.apply(doc(2))
	g.apply(doc(3))
	for _, c := range []struct {
		to       uint64
		revision uint64
		body     string
	}{
		{0, 4, "2"}, {1, 5, "1"}, {0, 6, "2"}, {3, 7, "3"},
	} {
		r, err := g.Rollback(t.Context(), c.to)
		if err != nil || r.Revision != c.revision || n() != c.body {
			t.Errorf("rollback to %d: revision %d %v, body %s; want revision %d and %s", c.to, r.Revision, err, n(), c.revision, c.body)
		}
	}
	if origin := g.Current().Origin; origin != "rollback to 3" {
		t.Errorf("origin %q", origin)
	}
	if _, err := g.Rollback(t.Context(), 99); !errors.Is(err, revision.ErrNone) {
		t.Errorf("rollback to what never was: %v", err)
	}
	if r, err := g.Rollback(t.Context(), 7); err != nil || r.Changed {
		t.Errorf("rollback to what is in force: %+v %v", r, err)
	}
	g.Stop()

	// The next process goes on counting; the file rules, and the log says that it is not what ran last.
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(doc(9)), 0o600); err != nil {
		t.Fatal(err)
	}
	g = start(t, "", Options{RevisionDir: dir, File: file})
	if g.Current().Number != 8 || n() != "9" || !strings.Contains(g.log.String(), "not what ran last") {
		t.Errorf("revision %d, body %s", g.Current().Number, n())
	}
	g.Stop()
	g = start(t, "", Options{RevisionDir: dir, File: file})
	if g.Current().Number != 8 {
		t.Errorf("started again with the same file: revision %d, want 8 again", g.Current().Number)
	}
}

// A history that cannot be written refuses a change when it was asked for, and is kept in memory when it was not.
func TestHistoryThatCannotBeWritten(t *testing.T) {
	o := startOrigin(t, "app")
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(file, []byte(document(o)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".yumen"), nil, 0o600); err != nil { // a file where the folder would be
		t.Fatal(err)
	}
	g := start(t, "", Options{File: file})
	if g.history.Directory() != "" || !strings.Contains(g.log.String(), "in memory only") {
		t.Errorf("the history is in %q", g.history.Directory())
	}
	g.apply(document(o, "# two\n"))
	if r, err := g.Rollback(t.Context(), 0); err != nil || r.Revision != 3 {
		t.Errorf("rollback in memory: %+v, %v", r, err)
	}
	c, err := New(Options{File: file, RevisionDir: filepath.Join(dir, ".yumen", "x")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	if _, err := c.Start(t.Context()); err == nil || !strings.Contains(err.Error(), ".yumen") {
		t.Errorf("a directory that was asked for: %v", err)
	}
}

// The file is saved: it is in force without anybody asking. Then watching is turned off, and only Reload sees it.
func TestFileIsWatched(t *testing.T) {
	o := startOrigin(t, "app")
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	save := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+"~", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
	}
	save(document(o))
	g := start(t, "", Options{File: file})
	save(document(o, "# two\n"))
	eventually(t, "the second document is in force", func() bool { return g.Current().Number == 2 })
	save("listen: broken: yaml")
	eventually(t, "the broken one is refused", func() bool { return strings.Contains(g.log.String(), "refused") })
	save(document(o, "# three\n", "watch: off\n"))
	eventually(t, "the third document is in force", func() bool { return g.Current().Number == 3 })
	save(document(o, "# four\n", "watch: on\n"))
	if r, err := g.Reload(t.Context()); err != nil || r.Revision != 4 || !r.Changed {
		t.Errorf("reload: %+v, %v", r, err)
	}
	if r, err := g.Reload(t.Context()); err != nil || r.Changed {
		t.Errorf("reload of the same: %+v, %v", r, err)
	}
	save(document(o, "# five\n"))
	eventually(t, "the fifth document is in force", func() bool { return g.Current().Number == 5 })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if r, err := g.Reload(t.Context()); err == nil || r.Revision != 5 {
		t.Errorf("reload without the file: %+v, %v", r, err)
	}
}

func TestFewerConnectionsThanLoopsAreSaid(t *testing.T) {
	o := startOrigin(t, "app")
	doc := func(n int) string {
		return strings.Replace(document(o), "endpoints:", fmt.Sprintf("connections: {per_endpoint: %d}, endpoints:", n), 1)
	}
	g := start(t, doc(2), Options{Loops: 2})
	const line = "each event loop opens a connection to an endpoint"
	if strings.Contains(g.log.String(), line) {
		t.Errorf("two connections are enough for two loops:\n%s", g.log)
	}
	g.apply(doc(1))
	if n := strings.Count(g.log.String(), line); n != 1 {
		t.Errorf("said %d times:\n%s", n, g.log)
	}
}
