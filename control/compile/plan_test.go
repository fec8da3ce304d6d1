package compile

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/match"
	"github.com/yumen-io/yumen/policy/route"
)

// oneCluster compiles a document with one cluster of these settings.
func oneCluster(t testing.TB, settings string) *ClusterPlan {
	t.Helper()
	return mustCompile(t, "listen: \":8080\"\nroutes: [{cluster: app}]\nclusters: {app: {endpoints: [10.0.0.1:9000]"+settings+"}}").Clusters[0]
}

func TestBoundsOfTheProcessAreDividedOverLoopsRoundedUp(t *testing.T) {
	c := oneCluster(t, ", connections: {per_endpoint: 10, idle: 3, queue: 1}, retry_budget: {floor: 10/s}")
	type bounds struct {
		conns, idle, queue int
		floor              float64
	}
	f := func(loops int, want bounds) {
		t.Helper()
		s := c.Spec(loops)
		if got := (bounds{s.Pool.ConnsMax, s.Pool.IdleMax, s.Pool.QueueMax, s.Retry.FloorPerSecond}); got != want {
			t.Errorf("Spec(%d): %+v, want %+v", loops, got, want)
		}
	}
	f(1, bounds{10, 3, 1, 10})
	f(2, bounds{5, 2, 1, 5})
	f(4, bounds{3, 1, 1, 2.5})
	f(16, bounds{1, 1, 1, 0.625})
	f(1, bounds{10, 3, 1, 10}) // the plan itself is unchanged
}

func TestNoneInADocumentIsNotADefaultInThePolicies(t *testing.T) {
	s := oneCluster(t, ", eject: off, panic_threshold: off, retry_budget: {share: 0%, floor: 0/s}").Spec(2)
	if s.Health.Passive.ConsecutiveFailures >= 0 || s.Balance.PanicThreshold >= 0 || s.Retry.Ratio >= 0 || s.Retry.FloorPerSecond >= 0 {
		t.Errorf("off became a default: %+v", s)
	}
	s = oneCluster(t, ", eject: {max_share: 0%}").Spec(1)
	if s.Health.Passive.ConsecutiveFailures >= 0 {
		t.Errorf("a share of nothing ejects: %+v", s.Health)
	}
	s = oneCluster(t, ", eject: {failures: 7, max_share: 25%}, panic_threshold: 40%, retry_budget: {share: 10%, floor: 60/m}, slow_start: 3s").Spec(1)
	if s.Health.Passive.ConsecutiveFailures != 7 || s.Health.Passive.MaxEjectedShare != 0.25 || s.Balance.PanicThreshold != 0.4 ||
		s.Retry.Ratio != 0.1 || s.Retry.FloorPerSecond != 1 || s.Balance.SlowStart != 3*time.Second {
		t.Errorf("%+v", s)
	}
}

func TestHealthChecks(t *testing.T) {
	s := oneCluster(t, ", health: {path: /up, expect: [201, 200, 4xx, 204], interval: 7s, timeout: 1s, jitter: 20%, failures: 4, successes: 1}").Spec(1)
	want := upstream.Probe{Path: "/up", Interval: 7 * time.Second, Timeout: time.Second, Jitter: 0.2,
		Expect: [4]upstream.StatusRange{{From: 200, To: 201}, {From: 204, To: 204}, {From: 400, To: 499}}}
	if *s.Probe != want || s.Health.Active.FailuresToUnhealthy != 4 || s.Health.Active.SuccessesToHealthy != 1 {
		t.Errorf("%+v %+v", s.Probe, s.Health.Active)
	}
	if s := oneCluster(t, ", health: tcp").Spec(1); !s.Probe.TCP {
		t.Errorf("%+v", s.Probe)
	}
	if s := oneCluster(t, ", protocol: h2c, health: {type: grpc, service: shop.Orders, host: shop}").Spec(1); !s.Probe.GRPC || s.Probe.TCP ||
		s.Probe.Service != "shop.Orders" || s.Probe.Host != "shop" {
		t.Errorf("%+v", s.Probe)
	}
	if s := oneCluster(t, "").Spec(1); s.Probe != nil {
		t.Errorf("%+v", s.Probe)
	}
}

func TestAFingerprintTellsWhatChangedAndNotWhere(t *testing.T) {
	base := oneCluster(t, "").Fingerprint
	moved := mustCompile(t, "# a line more\nlisten: \":8080\"\nclusters: {app: {endpoints: [10.0.0.1:9000]}}\nroutes: [{cluster: app}]").Clusters[0]
	if moved.Fingerprint != base {
		t.Error("moving a cluster in the text changes it")
	}
	seen := map[string]string{base: "nothing"}
	for _, change := range []string{
		", pipeline: 2", ", balance: random", ", slow_start: 1s", ", panic_threshold: 1%", ", health: /", ", health: /a", ", health: tcp",
		", eject: off", ", connections: {idle: 1}", ", timeouts: {connect: 1s}", ", retry_budget: {share: 1%}", ", dns: {refresh: 1s}",
	} {
		f := oneCluster(t, change).Fingerprint
		if was, twice := seen[f]; twice {
			t.Errorf("%q and %q have the same fingerprint", change, was)
		}
		seen[f] = change
	}
	endpoints := mustCompile(t, "listen: \":8080\"\nclusters: {app: {endpoints: [10.0.0.2:9000]}}\nroutes: [{cluster: app}]").Clusters[0]
	if _, twice := seen[endpoints.Fingerprint]; twice {
		t.Error("another endpoint, the same fingerprint")
	}
}

func TestEndpointsAreAddressesOrNames(t *testing.T) {
	c := mustCompile(t, `
listen: ":8080"
routes: [{cluster: app}]
clusters: {app: {endpoints: ["[2001:db8::1]:80", {address: App.internal:81, weight: 5, priority: 2}], dns: {refresh: 3s}}}`).Clusters[0]
	if e := c.Endpoints[0]; e.Addr.String() != "[2001:db8::1]:80" {
		t.Errorf("%+v", e)
	}
	e := c.Endpoints[1]
	if e.Addr.IsValid() || e.Host != "app.internal" || e.Port != 81 || !c.Resolves() || c.DNS.Refresh != 3*time.Second {
		t.Errorf("%+v", e)
	}
	if got := e.Target(exampleClient); got.Addr.String() != "192.0.2.1:81" || got.Name != "app.internal:81" || got.Weight != 5 || got.Priority != 2 {
		t.Errorf("%+v", got)
	}
}

func TestListeners(t *testing.T) {
	plan := mustCompile(t, `
listeners:
  - address: ":8080"
  - name: edge
    address: 127.0.0.1:8081
    timeouts: {head: 3s, idle: 4s, between_bytes: 5s, body_min_rate: off}
    limits: {connections: 10, head_bytes: 8kB, target_bytes: 1kB, fields: 20, body_bytes: 2MB, requests: 9}
    trust: {forwarded_from: 10.0.0.0/8, forwarded: both}
    request_id: {answer: on}
routes: [{path: /*, respond: 200}]`)
	usual, edge := plan.Listeners[0], plan.Listeners[1]
	if usual.Address != ":8080" || usual.ConnectionsMax != 0 || usual.Server.BodyRateMin != 240 || usual.Server.BodyWindow != 5*time.Second ||
		usual.Gateway.Scheme != "http" || !usual.Gateway.Trust.XFields || usual.Gateway.Trust.Forwarded || usual.Gateway.AnswerID {
		t.Errorf("%+v %+v", usual, usual.Server)
	}
	s, g := edge.Server, edge.Gateway
	if edge.Name != "edge" || edge.ConnectionsMax != 10 || s.HeadTimeout != 3*time.Second || s.IdleTimeout != 4*time.Second ||
		s.SendTimeout != 5*time.Second || s.RequestsMax != 9 || s.H1.HeadBytesMax != 8000 || s.H1.TargetBytesMax != 1000 || s.H1.FieldsMax != 20 {
		t.Errorf("%+v %+v", s, s.H1)
	}
	if g.BodyBytesMax != 2_000_000 || !g.Trust.XFields || !g.Trust.Forwarded || len(g.Trust.From) != 1 || !g.AnswerID {
		t.Errorf("%+v", g)
	}
	// Without a rate, a body that stops still ends its connection.
	if s.BodyRateMin != 0 || s.BodyWindow != 5*time.Second {
		t.Errorf("rate %d over %s", s.BodyRateMin, s.BodyWindow)
	}
}

func TestABodyIsNeverJudgedOverNoTime(t *testing.T) {
	plan := mustCompile(t, `{listeners: [{address: ":8080", timeouts: {body_grace: 0s}}], routes: [{respond: 200}]}`)
	if w := plan.Listeners[0].Server.BodyWindow; w != bodyWindowMin {
		t.Errorf("window %s", w)
	}
}

func TestRoutes(t *testing.T) {
	plan := mustCompile(t, `
listeners: [{name: web, address: ":8080"}, {name: inner, address: ":8081"}]
clusters: {app: [10.0.0.1:9000], other: {endpoints: [10.0.0.2:9000], balance: maglev}}
routes:
  - {name: two, path: /two, listener: [web, inner], cluster: other, timeouts: {request: 9s}, retry: {non_idempotent: true}}
  - {name: say, path: /say, respond: {status: 403, body: no, headers: {x-a: b}}}
  - {name: go, path: /go/:id, redirect: {to: "https://{host}/:id{query}", status: 308}}
  - {name: app, path: /app, cluster: app}`)
	if names := namesOf(plan.Routes); names != "two two say go app" {
		t.Fatalf("routes %q", names)
	}
	two := plan.Routes[0]
	if two != plan.Routes[1] || two.Cluster != 1 || two.Route.Request != 9*time.Second || two.Route.FirstByte != time.Minute || !two.Route.NonIdempotent ||
		two.Route.Key == nil || two.Route.Key.By != gateway.ByClientAddress {
		t.Errorf("%+v", two)
	}
	if say := plan.Routes[2]; say.Cluster != -1 || say.Route.Respond.Status != 403 || string(say.Route.Respond.Body) != "no" ||
		say.Route.Respond.Fields[0] != (gateway.Field{Name: "x-a", Value: "b"}) {
		t.Errorf("%+v", say)
	}
	want := gateway.Template{{Literal: "https://"}, {Of: gateway.OfHost}, {Literal: "/"}, {Of: gateway.OfParam, Name: "id"}, {Of: gateway.OfQuery}}
	if r := plan.Routes[3].Route.Redirect; r.Status != 308 || !slices.Equal(r.To, want) {
		t.Errorf("%+v", r)
	}
	found := plan.Table.Match(&match.Request{Listener: "inner", Method: []byte("GET"), Path: []byte("/two")}, &route.Params{})
	if found.Index < 0 || plan.Routes[found.Index] != two {
		t.Errorf("/two on inner: %+v", found)
	}
}

func namesOf(routes []*RoutePlan) string {
	var names []string
	for _, r := range routes {
		names = append(names, r.Name)
	}
	return strings.Join(names, " ")
}

func TestRetriesAreWhatTheRouteSays(t *testing.T) {
	plan := mustCompile(t, `
listen: ":8080"
clusters: {app: [10.0.0.1:9000]}
routes:
  - {path: /a, cluster: app}
  - {path: /b, cluster: app}
  - {path: /off, cluster: app, retry: off}
  - {path: /status, cluster: app, retry: {attempts: 2, on: [503, 520-529], per_try: 2s}}`)
	a, b, off, status := plan.Routes[0].Route.Retry, plan.Routes[1].Route.Retry, plan.Routes[2].Route.Retry, plan.Routes[3].Route.Retry
	if a != b || !a.Retries() || a.RetriesStatus(503) {
		t.Error("the default is shared, retries, and takes an answer for an answer")
	}
	if off.Retries() {
		t.Error("off retries")
	}
	if !status.RetriesStatus(503) || !status.RetriesStatus(525) || status.RetriesStatus(502) || status.TryTimeout(time.Hour) != 2*time.Second {
		t.Error("statuses or per_try are not those of the document")
	}
}

// TestARegexMatchesTheWholeValue: what protects must not be got around by putting something before or after.
func TestARegexMatchesTheWholeValue(t *testing.T) {
	f := func(expr, value string, want bool) {
		t.Helper()
		plan := mustCompile(t, `
listen: ":8080"
clusters: {app: [10.0.0.1:9000]}
routes: [{path: /*, query: {q: {regex: '`+expr+`'}}, cluster: app}]`)
		e := plan.Explain(ExplainRequest{URL: "/?q=" + value})
		if got := e.Refused == nil; got != want {
			t.Errorf("%q on %q: %v", expr, value, got)
		}
	}
	f("next|beta", "next", true)
	f("next|beta", "beta", true)
	f("next|beta", "next2", false)
	f("next|beta", "abeta", false)
	f("^next$", "next", true)
	f("next.*", "next2", true)
	f(".*next.*", "the-next-one", true)
}

func TestTargetsOfRedirects(t *testing.T) {
	f := func(to, want string) {
		t.Helper()
		pieces, cause, _ := parseTarget(to, message.PathPolicy{})
		if cause == "" {
			cause = sample(pieces)
		}
		if cause != want {
			t.Errorf("%s: %s, want %s", to, cause, want)
		}
	}
	f("/new", "/new")
	f("/:id", "/d")
	f("/a/:id/b/*", "/a/d/b/d")
	f("/a/:id?x=:id", "/a/d?x=:id")
	f("/a/*rest{query}", "/a/d?b=c")
	f("/a:b", "/a:b")
	f("https://example.com:8443/:id", "https://example.com:8443/d")
	f("https://{host}:8443{path}{query}", "https://example.com:8443/a?b=c")
	f("http://example.com{path}", "http://example.com/a")
	f("/{host}", "/example.com")

	// A path after a slash would become the host of the next request.
	const twoSlashes = " has a slash before {path}, which begins with one: clients take two for the beginning of a host"
	f("/{path}", `"/{path}"`+twoSlashes)
	f("/{query}{path}", `"/{query}{path}"`+twoSlashes)
	f("/{host}{path}", `"/{host}{path}"`+twoSlashes)
	f("https://{query}{path}", `"https://{query}{path}"`+twoSlashes)
	f("https://example.com/{path}", `"https://example.com/{path}"`+twoSlashes)

	const twoFirst = " begins with two slashes, which clients take for the beginning of a host"
	f("//:id/x", `"//:id/x"`+twoFirst)
	f("//*rest", `"//*rest"`+twoFirst)
	f("https:///:id", `"https:///:id" has no host`)

	const couldBegin = " could become a path that begins with two slashes, which clients take for the beginning of a host"
	f("/{query}/*rest", `"/{query}/*rest"`+couldBegin)
	if _, cause, _ := parseTarget("/*rest", message.PathPolicy{KeepSlashes: true}); cause != `"/*rest"`+couldBegin {
		t.Errorf("/old//evil.example could leave for evil.example: %s", cause)
	}
	for _, sound := range []string{"/:id/*rest", "/new/*rest", "https://{host}/*rest"} {
		if _, cause, _ := parseTarget(sound, message.PathPolicy{KeepSlashes: true}); cause != "" {
			t.Errorf("%s where slashes are kept: %s", sound, cause)
		}
	}

	f("/a/:1", `the segment ":1" does not name a parameter`)
	f("/a/:/b", `the segment ":" does not name a parameter`)
	f("/*a/b", `the wildcard "*a" is not the last segment of the path`)
	f("/{word}", `"/{word}" holds a brace that opens none of {host}, {path}, {query}, {scheme}`)
	f("/{path", `"/{path" holds a brace that opens none of {host}, {path}, {query}, {scheme}`)
	f("/café", `"/café" holds what a URL cannot`)
}

func TestAReportIsBoundedAndSaysSo(t *testing.T) {
	var b strings.Builder
	b.WriteString("listen: \":8080\"\nclusters: {app: [10.0.0.1:9000]}\nroutes:\n")
	for range 5000 {
		b.WriteString("  - {path: /same, cluster: app}\n")
	}
	plan, report := compileText("same.yaml", b.String())
	if plan != nil || len(report.Problems) != problemsMax || report.Hidden != 4999-problemsMax {
		t.Errorf("%d problems, %d hidden", len(report.Problems), report.Hidden)
	}
	if !strings.HasSuffix(report.String(), "4799 more problems are not shown\n") {
		t.Error("the report does not say that there are more")
	}
}

func TestHiddenErrorsAreErrors(t *testing.T) {
	r := &Report{}
	for range problemsMax {
		r.add(Problem{Problem: config.Problem{Severity: config.SeverityWarning}})
	}
	if r.Errors() {
		t.Error("warnings are errors")
	}
	r.add(Problem{})
	if !r.Errors() {
		t.Error("an error past the bound is lost")
	}
}

// FuzzTarget: a target that is accepted never sends a client to a host that the request's path or query chose.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a/:id/*rest{query}", "https://{host}{path}", "/{path}", "https://{query}{path}", "//{path}", "http://a:1/:b", "/a{path}", "/*rest", "/{query}/*rest"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, keep bool) {
		if !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
			return // the parser of documents takes nothing else
		}
		pieces, cause, _ := parseTarget(s, message.PathPolicy{KeepSlashes: keep})
		if cause != "" {
			return
		}
		location := func(path, query string) string {
			var b strings.Builder
			for _, p := range pieces {
				b.WriteString(p.Literal)
				param := strings.Trim(path, "/")
				if keep && p.sigil == "*" {
					param = path
				}
				b.WriteString(map[gateway.PieceOf]string{gateway.OfHost: "asked.example", gateway.OfScheme: "http", gateway.OfPath: path, gateway.OfQuery: query, gateway.OfParam: param}[p.Of])
			}
			return b.String()
		}
		host := func(location string) string {
			u, err := url.Parse(strings.TrimRight(location, "/"))
			if err != nil {
				return "none"
			}
			return u.Host
		}
		if a, b := host(location("/evil.example/x", "")), host(location("/other.example/x", "?q")); strings.Contains(a, "evil.example") || strings.Contains(b, "other.example") {
			t.Fatalf("%q sends to %q, %q", s, location("/evil.example/x", ""), location("/other.example/x", "?q"))
		}
	})
}
