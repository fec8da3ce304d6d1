package compile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// serve brings a plan to life on one loop, on a port of the kernel's choice, until the test ends. It returns the address.
func serve(t *testing.T, plan *Plan) string {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	l, err := loop.New(loop.Config{})
	check(err)
	w := engine.NewWorker(l, 0)
	go l.Run()
	workers := []*engine.Worker{w}
	registry, err := metrics.New(gateway.Vocabulary(metrics.Config{Loops: 1}))
	check(err)
	g := gateway.New(gateway.Config{Engines: workers, Metrics: registry, Wall: time.Now})

	var routes, clusters []string
	for _, r := range plan.Routes {
		routes = append(routes, r.Name)
	}
	for _, c := range plan.Clusters {
		clusters = append(clusters, c.Name)
	}
	s := &gateway.Snapshot{Table: plan.Table, Path: plan.Path, View: registry.View(routes, clusters)}
	for i, c := range plan.Clusters {
		group := upstream.NewGroup(c.Name, workers)
		t.Cleanup(group.Close)
		var targets []upstream.Target
		for _, e := range c.Endpoints {
			targets = append(targets, e.Target(e.Addr.Addr()))
		}
		change, err := group.Prepare(c.Spec(1), targets, []*metrics.Cluster{s.View.Cluster(0, i)})
		check(err)
		change.Commit()
		s.Clusters, s.Changes = append(s.Clusters, group), append(s.Changes, change)
	}
	for i, r := range plan.Routes {
		live := r.Route
		live.Index = i
		if r.Cluster >= 0 {
			live.Cluster, live.ClusterIndex = s.Clusters[r.Cluster], r.Cluster
		}
		s.Routes = append(s.Routes, &live)
	}
	g.Swap(s)
	sockets, err := engine.Bind("127.0.0.1:0", 1)
	check(err)
	p := plan.Listeners[0]
	listener, err := engine.Listen(workers, sockets, engine.ListenerConfig{
		Name: p.Name, Server: p.Server, Handlers: []engine.Handler{gateway.NewFront(g.Workers[0], p.Gateway)},
	})
	check(err)
	t.Cleanup(func() {
		listener.Close()
		l.Stop()
		<-l.Done()
	})
	return sockets.Bound().String()
}

// exchange sends a request as it stands and returns the answer's status line and what is asked for of it.
func exchange(t *testing.T, address, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	method, _, _ := strings.Cut(request, " ")
	fmt.Fprintf(conn, "%s\r\n\r\n", strings.ReplaceAll(request, "\n", "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

// TestAPlanServesWhatItsDocumentSays: document, plan, gateway, upstream and back, on real sockets; the explanation of each
// request says the same as what the upstream saw.
func TestAPlanServesWhatItsDocumentSays(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "origin")
		w.Header().Set("X-Keep", "kept")
		var fields []string
		for name := range r.Header {
			if strings.HasPrefix(name, "X-T-") {
				fields = append(fields, name+"="+strings.Join(r.Header[name], "+"))
			}
		}
		slices.Sort(fields)
		fmt.Fprintf(w, "%s %s host %s %s", r.Method, r.RequestURI, r.Host, strings.Join(fields, " "))
	}))
	t.Cleanup(origin.Close)
	plan := mustCompile(t, strings.ReplaceAll(`
listen: ":8080"
clusters: {app: [ORIGIN]}
filters:
  trace:
    headers:
      request: {set: {x-t-set: new}, add: {x-t-add: two}, remove: x-t-gone}
      response: {set: {x-t-answer: "yes"}, remove: server}
routes:
  - {path: /api/*rest, cluster: app, filters: [rewrite: {strip_prefix: /api, prefix: /v2}, trace]}
  - {path: /users/:id/posts/:post, cluster: app, filters: [rewrite: {path: "/posts/:post/of/:id", host: posts.internal}]}
  - {path: /plain, cluster: app}
  - {path: /old/:id/*rest, redirect: {to: "https://{host}/new/:id/*rest{query}", status: 308}, filters: [trace]}
  - {path: /secure/*rest, redirect: "https://{host}:8443{path}{query}"}
  - {path: /no, respond: {status: 403, body: "no\n"}}
`, "ORIGIN", origin.Listener.Addr().String()))
	address := serve(t, plan)

	proxied := func(request, want string) {
		t.Helper()
		resp := exchange(t, address, request)
		body, _ := io.ReadAll(resp.Body)
		if got := strings.TrimSpace(string(body)); got != want {
			t.Errorf("%q\nupstream saw %s\nwant         %s", request, got, want)
		}
		lines := strings.Split(request, "\n")
		parts := strings.Fields(lines[0])
		e := plan.Explain(ExplainRequest{Method: parts[0], URL: "http://" + strings.TrimPrefix(lines[1], "Host: ") + parts[1]})
		explained := parts[0] + " " + e.Forwarded.Path
		if e.Forwarded.Query != "" {
			explained += "?" + e.Forwarded.Query
		}
		if explained += " host " + e.Forwarded.Host; !strings.HasPrefix(want, explained) {
			t.Errorf("%q is explained as %s", request, explained)
		}
	}
	proxied("GET /api/users?x=%2e HTTP/1.1\nHost: example.com", "GET /v2/users?x=%2e host example.com X-T-Add=two X-T-Set=new")
	proxied("GET /api/./a/../b//c HTTP/1.1\nHost: example.com\nX-T-Set: old\nX-T-Add: one\nX-T-Gone: g", "GET /v2/b/c host example.com X-T-Add=one+two X-T-Set=new")
	proxied("GET /users/a%3bb/posts/%37 HTTP/1.1\nHost: example.com", "GET /posts/7/of/a%3Bb host posts.internal")
	proxied("GET /plain HTTP/1.1\nHost: example.com:8080\nX-T-Set: old", "GET /plain host example.com:8080 X-T-Set=old")

	answered := func(request string, status int, header, want string) {
		t.Helper()
		resp := exchange(t, address, request)
		if resp.StatusCode != status || resp.Header.Get(header) != want {
			t.Errorf("%q: %d, %s %q; want %d, %q", request, resp.StatusCode, header, resp.Header.Get(header), status, want)
		}
	}
	answered("GET /api/ HTTP/1.1\nHost: a", 200, "Server", "")
	answered("GET /api/ HTTP/1.1\nHost: a", 200, "X-Keep", "kept")
	answered("GET /api/ HTTP/1.1\nHost: a", 200, "X-T-Answer", "yes")
	answered("GET /plain HTTP/1.1\nHost: a", 200, "Server", "origin")
	answered("GET /old/7/a/b?c=d HTTP/1.1\nHost: Example.com:8080", 308, "Location", "https://example.com/new/7/a/b?c=d")
	answered("GET /old/7/ HTTP/1.1\nHost: a", 308, "X-T-Answer", "yes")
	answered("GET /secure//evil.example HTTP/1.1\nHost: a", 302, "Location", "https://a:8443/secure/evil.example")
	answered("GET /no HTTP/1.1\nHost: a", 403, "X-Yumen-Reason", "respond")
}

// TestAPathPolicyHoldsFromTheDocumentToTheUpstream: routed, explained and forwarded by the same policy.
func TestAPathPolicyHoldsFromTheDocumentToTheUpstream(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) }))
	t.Cleanup(origin.Close)
	f := func(policy, path, want string) {
		t.Helper()
		plan := mustCompile(t, strings.ReplaceAll(policy+`
listen: ":8080"
clusters: {app: [ORIGIN]}
routes:
  - {path: /packages/:name, cluster: app}
  - {path: /packages/:scope/:name, cluster: app, filters: [rewrite: {path: "/scoped/:scope/:name"}]}
  - {path: /*, cluster: app, filters: [rewrite: {prefix: /other}]}
`, "ORIGIN", origin.Listener.Addr().String()))
		resp := exchange(t, serve(t, plan), "GET "+path+" HTTP/1.1\nHost: a")
		body, _ := io.ReadAll(resp.Body)
		got := string(body)
		if resp.StatusCode != http.StatusOK {
			got = resp.Header.Get("X-Yumen-Reason")
		}
		e := plan.Explain(ExplainRequest{URL: path})
		explained := ""
		if e.Refused != nil {
			explained = e.Refused.Reason
		} else {
			explained = e.Forwarded.Path
		}
		if got != want || explained != want {
			t.Errorf("%s %s: upstream saw %s, explained as %s, want %s", policy, path, got, explained, want)
		}
	}
	f("", "/packages/@a%2fb", "encoded_slash")
	f("", "/packages//b", "/packages/b")
	f("path: {encoded_slash: keep}", "/packages/@a%2fb", "/packages/@a%2Fb")
	f("path: {encoded_slash: keep}", "/packages/a%5cb", "/packages/a%5Cb")
	f("path: {encoded_slash: decode}", "/packages/@a%2fb", "/scoped/@a/b")
	f("path: {encoded_slash: decode}", "/packages/a%5cb", "encoded_slash")
	f("path: {merge_slashes: false}", "/packages//b", "/other/packages//b")
	f("path: {merge_slashes: off}", "//packages/b", "/other//packages/b")
}

// TestNamesOfFieldsAreSentInTheCaseTheyWereWritten: readers of HTTP/1 should not care, and some do (RFC 9110 section 5.1).
func TestNamesOfFieldsAreSentInTheCaseTheyWereWritten(t *testing.T) {
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { origin.Close() })
	seen := make(chan string, 1)
	go func() {
		conn, err := origin.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		seen <- rawHead(conn)
		fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\nx-SERVED-by: origin\r\nConnection: close\r\n\r\n")
	}()
	plan := mustCompile(t, strings.ReplaceAll(`
listen: ":8080"
clusters: {app: [ORIGIN]}
routes:
  - {path: /, cluster: app, filters: [headers: {request: {set: {X-FROM-Gateway: a}}, response: {set: {X-Served-By: b}, add: {x-Added: c}}}]}
  - {path: /own, respond: {status: 204, headers: {X-OWN: d}}}
`, "ORIGIN", origin.Addr().String()))
	address := serve(t, plan)
	ask := func(path string) string {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		return rawHead(conn)
	}
	check := func(head string, want ...string) {
		t.Helper()
		for _, line := range want {
			if !strings.Contains(head, "\r\n"+line+"\r\n") {
				t.Errorf("no line %q in\n%s", line, head)
			}
		}
	}
	check(ask("/"), "X-Served-By: b", "x-Added: c")
	check(<-seen, "X-FROM-Gateway: a")
	check(ask("/own"), "X-OWN: d")
}

// rawHead reads a head as it is on the wire.
func rawHead(r io.Reader) string {
	var head strings.Builder
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String()
		}
	}
}
