package control

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/gateway/upstream"
)

// An origin of two is sick: it is judged before the first request of a new cluster, its state and the reason are shown, an
// operator drains the other and puts it back.
func TestHealthIsKnownShownAndKept(t *testing.T) {
	well, dead := startOrigin(t, "well"), freeAddr(t)
	doc := func(n int) string {
		return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: off
clusters:
  app:
    endpoints: [%q, %q]
    timeouts: {first_byte: %ds}
    health: {path: /, interval: 1h, failures: 1}
routes: [{path: /*, cluster: app}]
`, well.addr, dead, 10+n)
	}
	g := start(t, doc(0), Options{})
	states := func() string {
		var list []string
		for _, e := range g.Clusters()[0].Endpoints {
			list = append(list, e.State)
		}
		return strings.Join(list, " ")
	}
	if got := states(); got != "healthy failing" {
		t.Fatalf("after the start: %s", got)
	}
	for range 10 {
		want(t, get(t, g.addr("web"), "/"), "200 well")
	}
	c := g.Clusters()[0]
	if c.Healthy != 1 || c.Endpoints[1].Why == "" || c.Endpoints[1].LastCheck == "" {
		t.Errorf("the cluster: %+v", c)
	}
	ready, deps := g.Ready()
	if s := fmt.Sprint(deps); !ready || !strings.Contains(s, "1 of 2 endpoints are healthy") {
		t.Errorf("ready %v: %s", ready, s)
	}
	page := httptest.NewRecorder()
	g.Metrics().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		fmt.Sprintf(`yumen_endpoint_healthy{cluster="app",endpoint=%q} 0`, dead),
		fmt.Sprintf(`yumen_endpoint_healthy{cluster="app",endpoint=%q} 1`, well.addr),
		`yumen_config_revision 1`,
	} {
		if !strings.Contains(page.Body.String(), line) {
			t.Errorf("the metrics lack %s", line)
		}
	}

	if err := g.DrainEndpoint("app", well.addr, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the drain is seen", func() bool { return states() == "drained failing" })
	g.apply(doc(1))
	if got := states(); got != "drained failing" {
		t.Errorf("after a change: %s", got)
	}
	eventually(t, "no endpoint is left", func() bool { return get(t, g.addr("web"), "/").status == 503 })
	if err := g.DrainEndpoint("app", well.addr, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return get(t, g.addr("web"), "/").status == 200 })
	for _, c := range [][2]string{{"app", "10.0.0.1:1"}, {"none", well.addr}} {
		if err := g.DrainEndpoint(c[0], c[1], true); err == nil || !strings.Contains(err.Error(), ErrNoEndpoint.Error()) {
			t.Errorf("drain %v: %v", c, err)
		}
	}
}

// A name that does not resolve fails a change, because what runs is better; it does not fail a start, because nothing is not.
func TestNames(t *testing.T) {
	o := startOrigin(t, "app")
	_, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		t.Fatal(err)
	}
	doc := func(endpoints string, more ...string) string {
		return strings.Replace(document(o, more...), fmt.Sprintf("{endpoints: [%q]}", o.addr),
			fmt.Sprintf("{endpoints: [%s], dns: {timeout: 2s}}", endpoints), 1)
	}
	mistyped := "nowhere.invalid:80"
	g := start(t, doc(mistyped+", localhost:"+port), Options{})
	c := g.Clusters()[0]
	if len(c.Unresolved) != 1 || c.Unresolved[0].Name != "nowhere.invalid" || c.Unresolved[0].Why == "" {
		t.Errorf("not resolved: %+v", c.Unresolved)
	}
	if ready, deps := g.Ready(); !ready || !strings.Contains(fmt.Sprint(deps), "nowhere.invalid") {
		t.Errorf("ready %v: %v", ready, deps)
	}
	// localhost may have an address that the origin does not listen on, so ask until it is ejected.
	eventually(t, "the origin answers", func() bool { return get(t, g.addr("web"), "/").status == 200 })

	g.apply(doc("localhost:" + port))
	if c := g.Clusters()[0]; len(c.Unresolved) > 0 || len(c.Endpoints) == 0 || c.Endpoints[0].Name != "localhost:"+port {
		t.Errorf("the cluster: %+v", c)
	}
	if _, err := g.Apply(t.Context(), Change{Text: []byte(doc(mistyped))}); err == nil || !strings.Contains(err.Error(), "nowhere.invalid") {
		t.Errorf("a mistyped name: %v", err)
	}
	if n := g.Current().Number; n != 2 {
		t.Errorf("revision %d is in force", n)
	}
	// What discovery finds is put into place, unless the cluster has changed since.
	former := g.state().clusters[0]
	at := func(address string) []upstream.Target {
		return []upstream.Target{{Addr: netip.MustParseAddrPort(address), Name: "localhost:" + port}}
	}
	g.do(func() { g.retarget(former, at(o.addr)) })
	if e := g.Clusters()[0].Endpoints; len(e) != 1 || e[0].Address != o.addr {
		t.Errorf("after discovery: %+v", e)
	}
	g.apply(doc(fmt.Sprintf("%q", o.addr)))
	g.do(func() { g.retarget(former, at("127.0.0.1:1")) })
	if e := g.Clusters()[0].Endpoints; len(e) != 1 || e[0].Address != o.addr {
		t.Errorf("after late news: %+v", e)
	}
	want(t, get(t, g.addr("web"), "/"), "200 app")
}

// The limit on connections is the process's: it holds over two listeners, and a change moves it.
func TestLimitOfConnectionsOfTheProcess(t *testing.T) {
	o := startOrigin(t, "app")
	doc := func(n int) string {
		return fmt.Sprintf(`
listeners: [{name: a, address: "127.0.0.1:0"}, {name: b, address: "127.0.0.1:0"}]
admin: off
limits: {connections: %d}
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, n, o.addr)
	}
	g := start(t, doc(2), Options{Loops: 1})
	hold := func(name string) answer {
		t.Helper()
		c, err := dial(g.addr(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		a, err := c.get("/")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	want(t, hold("a"), "200 app")
	want(t, hold("b"), "200 app")
	want(t, hold("a"), "503  (last)")
	want(t, hold("b"), "503  (last)")
	g.apply(doc(3))
	want(t, hold("a"), "200 app")
	want(t, hold("a"), "503  (last)")
	// The client may have its answer before the loop has counted it.
	eventually(t, "three rejected connections are counted", func() bool {
		page := httptest.NewRecorder()
		g.Metrics().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(page.Body.String(), `yumen_client_connections_rejected_total{limit="connections"} 3`)
	})
	if l := g.Listeners(); l[0].Turned+l[1].Turned != 3 || l[0].Open+l[1].Open != 3 {
		t.Errorf("listeners: %+v", l)
	}
}

// Every loop shows what it counts by itself: here, connections that it handed to another because it had more of them.
func TestLoopsShowWhatTheyCount(t *testing.T) {
	o := startOrigin(t, "app")
	g := start(t, document(o), Options{Loops: 2})
	shown := regexp.MustCompile(`(?m)^yumen_loop_connections_moved_total\{loop="[01]"\} (.*)$`)
	moved := func() (most string) {
		page := httptest.NewRecorder()
		g.Metrics().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		loops := shown.FindAllStringSubmatch(page.Body.String(), -1)
		if len(loops) != 2 {
			t.Fatalf("%d loops are shown, want 2", len(loops))
		}
		return max(loops[0][1], loops[1][1])
	}
	if got := moved(); got != "0" {
		t.Errorf("%s connections moved before there were any", got)
	}
	// The kernel would have to spread them evenly by itself, one by one, for none to be moved.
	for i := 0; moved() == "0"; i++ {
		if i == 1000 {
			t.Fatal("of a thousand connections none was moved")
		}
		c, err := dial(g.addr("web"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.get("/"); err != nil {
			t.Fatal(err)
		}
	}
}

// The access log is turned on, moved to another file with other fields, rotated, and turned off, under traffic; no line is
// lost or written twice.
func TestAccessLogChangesUnderTraffic(t *testing.T) {
	o := startOrigin(t, "app")
	dir := t.TempDir()
	doc := func(log string) string { return document(o, "access_log: "+log+"\n") }
	g := start(t, doc("off"), Options{})
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	tr := startTraffic(g.addr("web"), 2, false, says("app"))
	tr.more(t, 20)
	g.apply(doc(one))
	tr.more(t, 20)
	g.apply(doc("{path: " + two + ", fields: [status, duration_us], request_headers: [x-test]}"))
	tr.more(t, 20)
	if err := os.Rename(two, two+".1"); err != nil {
		t.Fatal(err)
	}
	g.ReopenLogs()
	eventually(t, "the file is there again", func() bool { _, err := os.Stat(two); return err == nil })
	tr.more(t, 20)
	tr.end(t)
	g.apply(doc("off"))
	n := 0
	for _, path := range []string{one, two, two + ".1"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rows := strings.Count(string(text), "\n")
		if rows == 0 {
			t.Errorf("%s is empty", filepath.Base(path))
		}
		n += rows
		for line := range strings.Lines(string(text)) {
			if path != one && !strings.Contains(line, `"headers":{"x-test":"yes"}`) {
				t.Fatalf("%s: %s", filepath.Base(path), line)
			}
		}
	}
	if counted := g.logs.get(); int(counted.Written) != n || counted.Dropped+counted.Lost > 0 {
		t.Errorf("%d lines are in the files, counted are %+v", n, counted)
	}
	if int64(n) > tr.answers.Load() {
		t.Errorf("%d lines for %d requests", n, tr.answers.Load())
	}
	_, err := g.Apply(t.Context(), Change{Text: []byte(doc(filepath.Join(dir, "no", "folder")))})
	if err == nil || !strings.Contains(err.Error(), "access log") {
		t.Errorf("a log that cannot be opened: %v", err)
	}
}

// The admin API moves to another address by a change that came in through it, and is turned off.
func TestAdminAPIMoves(t *testing.T) {
	o := startOrigin(t, "app")
	doc := func(admin string) string { return strings.Replace(document(o), "admin: off", "admin: "+admin, 1) }
	g := start(t, doc("\"127.0.0.1:0\""), Options{Admin: func(c *Controller, address string) AdminServer {
		mux := http.NewServeMux()
		mux.HandleFunc("PUT /", func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			_, err := c.Apply(r.Context(), Change{Origin: "admin", Text: text})
			fmt.Fprint(w, err)
		})
		s := &http.Server{Handler: mux}
		return AdminServer{Serve: s.Serve, Shutdown: s.Shutdown}
	}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	put := func(text string) string {
		t.Helper()
		r, err := http.NewRequest("PUT", "http://"+g.AdminAddress()+"/", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	first := g.AdminAddress()
	second := freeAddr(t)
	if said := put(doc(fmt.Sprintf("%q", second))); said != "<nil>" || g.AdminAddress() != second {
		t.Errorf("moved: %s, to %s", said, g.AdminAddress())
	}
	eventually(t, "the former address is closed", func() bool { return refused(first) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if said := put(doc(fmt.Sprintf("%q", l.Addr()))); !strings.Contains(said, "in use") {
		t.Errorf("moved where somebody is: %s", said)
	}
	if said := put(doc("off")); said != "<nil>" || g.AdminAddress() != "" {
		t.Errorf("turned off: %s, at %q", said, g.AdminAddress())
	}
	eventually(t, "the second address is closed", func() bool { return refused(second) })
}
