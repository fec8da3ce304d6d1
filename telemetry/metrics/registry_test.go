package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/yumen-io/yumen/control/config"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite docs/reference/metrics.md")

// testConfig has every kind of word.
func testConfig(loops int) Config {
	return Config{
		Loops:        loops,
		Reasons:      []string{"no_route", "no_healthy_endpoint"},
		Refusals:     []string{"length_and_coding", "bare_lf"},
		CloseReasons: []string{"client", "idle_timeout"},
		RejectLimits: []string{"connections", "descriptors"},
		Outcomes:     []string{"ok", "connect_failure", "reset"},
		Verdicts:     []string{"retried", "no_budget"},
		Version:      "1.2.3",
		Commit:       "abc",
	}
}

func newRegistry(t testing.TB, c Config) *Registry {
	t.Helper()
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// page is one scrape: the value of each series by its name and labels as they stand in the text.
func page(t testing.TB, r *Registry) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d\n%s", w.Code, w.Body)
	}
	values := make(map[string]float64)
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		var v float64
		if _, err := fmt.Sscan(line[at+1:], &v); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if _, twice := values[line[:at]]; twice {
			t.Fatalf("series %q is shown twice", line[:at])
		}
		values[line[:at]] = v
	}
	if values["promhttp_metric_handler_errors_total{cause=\"gathering\"}"] != 0 {
		t.Fatal("gathering found inconsistent metrics")
	}
	return values
}

// want compares some series of a page.
func want(t *testing.T, values, wanted map[string]float64) {
	t.Helper()
	for series, v := range wanted {
		got, found := values[series]
		if !found && v == absent {
			continue
		}
		if !found || got != v {
			t.Errorf("%s = %v (shown: %v), want %v", series, got, found, v)
		}
	}
}

// absent, as a wanted value, says that the series must not be shown.
const absent = -1

func TestAddsOfAllLoopsAreSummed(t *testing.T) {
	r := newRegistry(t, testConfig(2))
	v := r.View([]string{"api", "static"}, []string{"app"})
	for loop := range 2 {
		s := r.Shard(loop)
		s.ConnAccepted()
		s.RequestStarted()
		s.RequestDone(v.Route(loop, 0), 200, 3*time.Millisecond, 100, 1000)
		s.RequestStarted()
		s.RequestDone(v.Route(loop, NoRoute), 404, time.Millisecond/2, 50, 60)
		s.Answered(0)
		c := v.Cluster(loop, 0)
		c.ConnOpened()
		c.AttemptDone(0, 2*time.Millisecond)
		c.ConnParked()
	}
	s, c := r.Shard(1), v.Cluster(1, 0)
	s.RequestStarted() // runs on
	s.ConnAccepted()
	s.ConnClosed(1)
	s.ConnRejected(0)
	s.Refused(1)
	s.Turn(30*time.Microsecond, 3)
	c.ConnReused()
	c.AttemptDone(2, -1)
	c.RetryDecided(1)
	c.ConnClosed(false)
	c.Queued(20 * time.Millisecond)
	v.Cluster(2, 0).Ejected() // from the control plane
	c.OutcomeDropped()
	r.Reloaded(ReloadApplied, 7, time.Unix(1000, 0))
	r.Reloaded(ReloadRefused, 7, time.Unix(1010, 0))
	r.SetSources(Sources{
		AccessLog: func() AccessLog { return AccessLog{Written: 5, Dropped: 2, Lost: 1} },
		Loop: func(loop int) Loop {
			n := uint64(10 * loop)
			return Loop{n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 8, n + 7}
		},
		Endpoints: func(yield func(Endpoint) bool) {
			_ = yield(Endpoint{"app", "10.0.0.1:80", true}) && yield(Endpoint{"app", "10.0.0.2:80", false})
		},
	})

	want(t, page(t, r), map[string]float64{
		`yumen_requests_total{route="api",status="2xx"}`:                   2,
		`yumen_requests_total{route="api",status="5xx"}`:                   absent,
		`yumen_requests_total{route="_none",status="4xx"}`:                 2,
		`yumen_requests_total{route="static",status="2xx"}`:                absent,
		`yumen_request_duration_seconds_bucket{route="api",le="0.0025"}`:   0,
		`yumen_request_duration_seconds_bucket{route="api",le="0.005"}`:    2,
		`yumen_request_duration_seconds_bucket{route="api",le="+Inf"}`:     2,
		`yumen_request_duration_seconds_count{route="api"}`:                2,
		`yumen_request_duration_seconds_sum{route="api"}`:                  0.006,
		`yumen_request_duration_seconds_bucket{route="_none",le="0.0005"}`: 2,
		`yumen_request_bytes_total{route="api"}`:                           200,
		`yumen_response_bytes_total{route="api"}`:                          2000,
		`yumen_requests_started_total`:                                     5,
		`yumen_requests_running`:                                           1,
		`yumen_routes_folded`:                                              0,
		`yumen_gateway_responses_total{reason="no_route"}`:                 2,
		`yumen_gateway_responses_total{reason="no_healthy_endpoint"}`:      0,
		`yumen_requests_refused_total{reason="bare_lf"}`:                   1,
		`yumen_client_connections_accepted_total`:                          3,
		`yumen_client_connections_open`:                                    2,
		`yumen_client_connections_closed_total{reason="idle_timeout"}`:     1,
		`yumen_client_connections_rejected_total{limit="connections"}`:     1,
		`yumen_upstream_attempts_total{cluster="app",outcome="ok"}`:        2,
		`yumen_upstream_attempts_total{cluster="app",outcome="reset"}`:     1,
		`yumen_upstream_latency_seconds_count{cluster="app"}`:              2,
		`yumen_upstream_retries_total{cluster="app",verdict="no_budget"}`:  1,
		`yumen_upstream_queue_seconds_sum{cluster="app"}`:                  0.02,
		`yumen_upstream_connections_opened_total{cluster="app"}`:           2,
		`yumen_upstream_connections_reused_total{cluster="app"}`:           1,
		`yumen_upstream_connections_open{cluster="app"}`:                   1,
		`yumen_upstream_connections_idle{cluster="app"}`:                   1,
		`yumen_upstream_ejections_total{cluster="app"}`:                    1,
		`yumen_upstream_outcomes_dropped_total{cluster="app"}`:             1,
		`yumen_endpoint_healthy{cluster="app",endpoint="10.0.0.2:80"}`:     0,
		`yumen_cluster_endpoints{cluster="app",state="healthy"}`:           1,
		`yumen_loop_turn_seconds_bucket{loop="1",le="5e-05"}`:              1,
		`yumen_loop_turn_events_sum{loop="1"}`:                             3,
		`yumen_loop_stale_events_total{loop="0"}`:                          1,
		`yumen_loop_stale_events_total{loop="1"}`:                          11,
		`yumen_loop_mailbox_wakes_total{loop="1"}`:                         12,
		`yumen_loop_accepts_exhausted_total{loop="1"}`:                     13,
		`yumen_loop_accepts_refused_total{loop="1"}`:                       14,
		`yumen_loop_accept_pauses_total{loop="1"}`:                         15,
		`yumen_loop_connections_moved_total{loop="1"}`:                     16,
		`yumen_loop_connections_delayed_total{loop="1"}`:                   18,
		`yumen_loop_connections_starved_total{loop="1"}`:                   17,
		`yumen_loop_mailbox_wakes_total{loop="2"}`:                         absent,
		`yumen_config_revision`:                                            7,
		`yumen_config_reloads_total{result="applied"}`:                     1,
		`yumen_config_reloads_total{result="refused"}`:                     1,
		`yumen_config_last_reload_timestamp_seconds`:                       1010,
		`yumen_access_log_records_total{fate="dropped"}`:                   2,
	})
}

func TestStatusClass(t *testing.T) {
	f := func(status int, want string) {
		t.Helper()
		if got := classes[classOf(status)]; got != want {
			t.Errorf("class of %d is %s, want %s", status, got, want)
		}
	}
	f(0, "none")
	f(99, "none")
	f(101, "1xx")
	f(200, "2xx")
	f(399, "3xx")
	f(404, "4xx")
	f(599, "5xx")
	f(600, "none")
	f(-200, "none")
}

func TestBucketAgreesWithLinearSearch(t *testing.T) {
	slow := func(s *scale, v uint64) int {
		for i, b := range s.bounds {
			if v <= b {
				return i
			}
		}
		return len(s.bounds)
	}
	for name, s := range map[string]*scale{"request": requestScale, "turn": turnScale, "event": eventScale} {
		for _, b := range append(s.bounds[:], 0, 1, 1<<63, ^uint64(0)) {
			for _, v := range []uint64{b - 1, b, b + 1} {
				if got, want := s.bucket(v), slow(s, v); got != want {
					t.Errorf("%s: bucket of %d is %d, want %d", name, v, got, want)
				}
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64().Draw(t, "v") >> rapid.IntRange(0, 63).Draw(t, "shift")
		if got, want := requestScale.bucket(v), slow(requestScale, v); got != want {
			t.Fatalf("bucket of %d is %d, want %d", v, got, want)
		}
	})
}

func TestRouteKeepsItsCountOverAReload(t *testing.T) {
	r := newRegistry(t, testConfig(1))
	s := r.Shard(0)
	ask := func(v *View, route int) {
		s.RequestStarted()
		s.RequestDone(v.Route(0, route), 200, time.Millisecond, 1, 1)
	}
	const stays, goes = `yumen_requests_total{route="stays",status="2xx"}`, `yumen_requests_total{route="goes",status="2xx"}`

	old := r.View([]string{"goes", "stays"}, nil)
	ask(old, 0)
	ask(old, 1)
	next := r.View([]string{"new", "stays"}, nil)
	ask(next, 1)
	ask(old, 0) // an exchange that pinned the old snapshot
	want(t, page(t, r), map[string]float64{stays: 2, goes: 2})

	old.Release()
	old.Release()
	want(t, page(t, r), map[string]float64{stays: 2, goes: absent})

	ask(old, 0) // too late: unseen, and counted nowhere else
	again := r.View([]string{"goes", "stays"}, nil)
	next.Release()
	ask(again, 0)
	values := page(t, r)
	want(t, values, map[string]float64{stays: 2, goes: 1, `yumen_requests_started_total`: 6})
}

func TestRoutesBeyondTheLimitAreFolded(t *testing.T) {
	c := testConfig(1)
	c.RouteLimit = 2
	c.ClusterLimit = 1
	r := newRegistry(t, c)
	s := r.Shard(0)
	ask := func(v *View, routes ...int) {
		for _, i := range routes {
			s.RequestDone(v.Route(0, i), 200, 0, 0, 0)
		}
	}
	f := func(route string) string { return `yumen_requests_total{route="` + route + `",status="2xx"}` }

	one := r.View([]string{"a", "b", "c", "a", "d"}, []string{"x", "y"})
	ask(one, 0, 1, 2, 3, 4)
	one.Cluster(0, 1).ConnOpened()
	want(t, page(t, r), map[string]float64{
		f("a"): 2, f("b"): 1, f("c"): absent, f("_other"): 2,
		`yumen_routes_folded`: 2, `yumen_clusters_folded`: 1,
		`yumen_upstream_connections_open{cluster="_other"}`: 1,
	})

	// Who had a label keeps it, wherever it stands now.
	two := r.View([]string{"e", "d", "b"}, nil)
	one.Release()
	ask(two, 0, 1, 2)
	want(t, page(t, r), map[string]float64{f("b"): 2, f("e"): 1, f("_other"): 3, `yumen_routes_folded`: 1})
}

func TestNamesThatWouldBreakAScrape(t *testing.T) {
	c := testConfig(1)
	c.EndpointLimit = 2
	r := newRegistry(t, c)
	names := []string{"_other", "_none", "bad\xff", "bad\uFFFD", "", "new\nline\"quote"}
	v := r.View(names, names)
	for i := range names {
		r.Shard(0).RequestDone(v.Route(0, i), 200, 0, 0, 0)
		v.Cluster(0, i).ConnOpened()
	}
	r.SetSources(Sources{Endpoints: func(yield func(Endpoint) bool) {
		for _, e := range []Endpoint{{"c", "a", true}, {"c", "a", false}, {"c", "b", false}, {"c", "d", false}} {
			if !yield(e) {
				return
			}
		}
	}})
	want(t, page(t, r), map[string]float64{
		`yumen_requests_total{route="_other",status="2xx"}`:              2,
		`yumen_requests_total{route="bad` + "\uFFFD" + `",status="2xx"}`: 2,
		`yumen_requests_total{route="new\nline\"quote",status="2xx"}`:    1,
		`yumen_endpoints_folded`:                                         2,
		`yumen_cluster_endpoints{cluster="c",state="unhealthy"}`:         3,
	})
}

// The cardinality attack of a control plane gone mad: the series stay bounded by the limit and the live views.
func TestSeriesStayBoundedOverManyReloads(t *testing.T) {
	c := testConfig(1)
	c.RouteLimit = 10
	r := newRegistry(t, c)
	v := r.View(nil, nil)
	for i := range 1000 {
		names := make([]string, 20)
		for j := range names {
			names[j] = fmt.Sprint("route-", i*7+j)
		}
		next := r.View(names, names)
		v.Release()
		v = next
	}
	if len(r.mu.routes.live) > 10 || len(r.mu.views) != 1 {
		t.Errorf("%d series and %d views live, want 10 and 1", len(r.mu.routes.live), len(r.mu.views))
	}
	v.Release()
	if n := len(r.mu.routes.live) + len(r.mu.clusters.live); n != 0 {
		t.Errorf("%d series live without a view", n)
	}
}

// The balance law of the threat model, looked at while the loops run and once they have stopped.
func TestCountsAddUpAtEveryScrape(t *testing.T) {
	const loops, rounds = 3, 3000
	r := newRegistry(t, testConfig(loops))
	names := []string{"a", "b", "c"}
	first := r.View(names, names)
	var running sync.WaitGroup
	for loop := range loops {
		running.Go(func() {
			s := r.Shard(loop)
			v := first
			for i := range rounds {
				if i == rounds/2 {
					v = r.View(names[:2], names) // a reload; the old view stays pinned
				}
				s.ConnAccepted()
				s.RequestStarted()
				c := v.Cluster(loop, i%3)
				c.ConnOpened()
				c.ConnParked()
				c.ConnReused()
				c.AttemptDone(i%3, time.Duration(i)*time.Microsecond)
				s.RequestDone(v.Route(loop, i%2), 100+i%500, time.Duration(i)*time.Microsecond, 1, 2)
				c.ConnClosed(false)
				s.ConnClosed(i % 2)
			}
		})
	}
	stopped := make(chan struct{})
	go func() { running.Wait(); close(stopped) }()

	var last map[string]float64
	for over := false; !over; {
		select {
		case <-stopped:
			over = true
		default:
		}
		p := page(t, r)
		var ended, closed float64
		for series, v := range p {
			switch {
			case strings.HasPrefix(series, "yumen_requests_total"):
				ended += v
			case strings.HasPrefix(series, "yumen_client_connections_closed_total"):
				closed += v
			}
			if strings.HasPrefix(series, "yumen_") && v < 0 {
				t.Fatalf("%s is %v", series, v)
			}
			if strings.HasSuffix(series, "_total") && v < last[series] {
				t.Fatalf("%s fell from %v to %v", series, last[series], v)
			}
		}
		for _, route := range names[:2] {
			var sum float64
			for _, class := range classes {
				sum += p[`yumen_requests_total{route="`+route+`",status="`+class+`"}`]
			}
			if count := p[`yumen_request_duration_seconds_count{route="`+route+`"}`]; count != sum {
				t.Fatalf("route %s: %v durations for %v requests", route, count, sum)
			}
		}
		if open := p["yumen_client_connections_open"]; open+closed != p["yumen_client_connections_accepted_total"] {
			t.Fatalf("%v open and %v closed are not %v accepted", open, closed, p["yumen_client_connections_accepted_total"])
		}
		started, running := p["yumen_requests_started_total"], p["yumen_requests_running"]
		// Routes are read before the shards: what ended in between is missing in the sum, never too much.
		if started-running < ended {
			t.Fatalf("%v started, %v running, but %v ended", started, running, ended)
		}
		if over && (started != loops*rounds || running != 0 || ended != started) {
			t.Fatalf("at rest: %v started, %v running, %v ended, want %d, 0, %[4]d", started, running, ended, loops*rounds)
		}
		last = p
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	r := newRegistry(t, testConfig(1))
	v := r.View([]string{"api"}, []string{"app"})
	if n := testing.AllocsPerRun(100, func() { countRequest(r.Shard(0), v, 200) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestLoopsShareNoCacheLine(t *testing.T) {
	r := newRegistry(t, testConfig(2))
	v := r.View([]string{"a", "b"}, []string{"x"})
	s := r.Shard(1)
	for name, at := range map[string]uintptr{
		"shard":    uintptr(unsafe.Pointer(s.n)),
		"reasons":  uintptr(unsafe.Pointer(&s.reasons[0])),
		"closes":   uintptr(unsafe.Pointer(&s.closes[0])),
		"route":    uintptr(unsafe.Pointer(v.Route(1, 1))),
		"cluster":  uintptr(unsafe.Pointer(v.Cluster(1, 0))),
		"Shard":    unsafe.Sizeof(shardCounters{}),
		"Route":    unsafe.Sizeof(Route{}),
		"Cluster":  unsafe.Sizeof(Cluster{}),
		"17 words": uintptr(cap(newCounters(17))) * 8,
	} {
		if at%cacheLine != 0 {
			t.Errorf("%s: address or size %d is no multiple of a cache line", name, at)
		}
	}
}

func TestConfigThatCannotBe(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		c := testConfig(1)
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	f(func(c *Config) { c.Loops = 0 }, "0 loops")
	f(func(c *Config) { c.Reasons = []string{"a", "a"} }, `Reasons[1] is "a"`)
	f(func(c *Config) { c.Refusals = []string{""} }, `Refusals[0] is ""`)
	f(func(c *Config) { c.Outcomes = make([]string, 17) }, "at most 16")
	f(func(c *Config) { c.RouteLimit = -1 }, "RouteLimit is -1")
}

// Who writes no limits gets those that the documentation of the configuration gives.
func TestDefaultsAreThoseOfADocument(t *testing.T) {
	doc, problems := config.Parse("short", []byte(`listen: ":8080"`), nil)
	if doc == nil {
		t.Fatal(problems)
	}
	c, err := Config{Loops: 1}.withDefaults()
	if m := doc.Telemetry.Metrics; err != nil || c.RouteLimit != m.RouteLimit || c.EndpointLimit != m.EndpointLimit {
		t.Errorf("%d routes and %d endpoints, want %+v (%v)", c.RouteLimit, c.EndpointLimit, m, err)
	}
}

// The reference page is made from the families, and every family is really shown.
func TestReferencePage(t *testing.T) {
	var doc bytes.Buffer
	doc.WriteString("# Metrics\n\n" +
		"Served at `/metrics` of the admin address. Made from `telemetry/metrics/family.go` by\n" +
		"`go test ./telemetry/metrics -run TestReferencePage -update`; edit it there.\n\n" +
		"Names, types and labels are kept stable. Seconds and bytes are the only units. Beside these families stand the usual\n" +
		"`go_*`, `process_*` and `promhttp_*` ones.\n\n" +
		"- A label's values come from fixed lists or from the configuration, never from a client.\n" +
		fmt.Sprintf("- The first %d routes and the first %d clusters of a configuration have labels of their own; the rest are counted\n"+
			"  together under `_other`. Requests that no route matched are under `_none`. At most %d endpoints\n"+
			"  and %d certificates are listed.",
			routesDefault, clustersDefault, endpointsDefault, certificatesMax) +
		" (`telemetry.metrics` of the configuration can say otherwise for routes and endpoints.)\n" +
		"- A route or cluster is shown once it has counted something, and until the last configuration that names it is out of\n" +
		"  use; it keeps its counts over changes of the configuration.\n" +
		"- `reason` is the word of the `x-yumen-reason` header and of the access log.\n\n" +
		"| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		kind := map[prometheus.ValueType]string{counterKind: "counter", gaugeKind: "gauge", histogramKind: "histogram"}[f.kind]
		labels := make([]string, len(f.labels))
		for i, l := range f.labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&doc, "| `%s` | %s | %s | %s |\n", f.name, kind, strings.Join(labels, " "), f.help)
	}
	fmt.Fprintf(&doc, "\nBuckets, in seconds unless said otherwise, each up to and including its bound:\n\n")
	for _, b := range []struct {
		names string
		scale *scale
	}{
		{"`yumen_request_duration_seconds`, `yumen_upstream_latency_seconds`, `yumen_upstream_queue_seconds`", requestScale},
		{"`yumen_loop_turn_seconds`", turnScale},
		{"`yumen_loop_turn_events` (events)", eventScale},
	} {
		bounds := strings.Trim(fmt.Sprint(b.scale.le[:]), "[]")
		fmt.Fprintf(&doc, "- %s: %s\n", b.names, strings.ReplaceAll(bounds, " ", ", "))
	}

	golden := filepath.Join("..", "..", "docs", "reference", "metrics.md")
	if *update {
		if err := os.WriteFile(golden, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	onDisk, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(onDisk, doc.Bytes()) {
		t.Errorf("%s is out of date; run with -update. It should be:\n%s", golden, doc.Bytes())
	}

	r := newRegistry(t, testConfig(1))
	v := r.View([]string{"api"}, []string{"app"})
	countRequest(r.Shard(0), v, 200)
	r.SetSources(Sources{
		AccessLog: func() AccessLog { return AccessLog{} },
		Loop:      func(int) Loop { return Loop{} },
		Endpoints: func(yield func(Endpoint) bool) { yield(Endpoint{"app", "a:1", true}) },

		Handshakes:   func() (client, upstream Handshakes) { return client, upstream },
		Certificates: func() []Certificate { return []Certificate{{Path: "site.pem"}} },
		Discovery:    func() []Discovery { return []Discovery{{Cluster: "app", Service: "etcd orders", State: "fresh"}} },
		Guards: func(yield func(Guard) bool) {
			yield(Guard{Name: "per-tenant", Kind: "limit", Mode: "enforce",
				Outcomes: func(yield func(string, uint64)) { yield("refused", 1) },
				Numbers:  func(yield func(string, float64)) { yield("keys", 1) }})
		},
		Splits: func(yield func(Split) bool) {
			yield(Split{Name: "shop", Each: func(yield func(string, string, uint64)) { yield("canary", "2xx", 1) },
				Weights: func(yield func(string, float64)) { yield("canary", 1) }})
		},
	})
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, f := range families {
		if !strings.Contains(w.Body.String(), "# TYPE "+f.name+" ") {
			t.Errorf("%s is documented and not shown", f.name)
		}
	}
}

// countRequest is everything a proxied request on kept connections adds.
func countRequest(s *Shard, v *View, status int) {
	s.RequestStarted()
	c := v.Cluster(0, 0)
	c.ConnReused()
	c.AttemptDone(0, 900*time.Microsecond)
	c.ConnParked()
	s.RequestDone(v.Route(0, 0), status, time.Millisecond, 300, 400)
}

func BenchmarkRequest(b *testing.B) {
	r := newRegistry(b, testConfig(2))
	v := r.View([]string{"api"}, []string{"app"})
	s := r.Shard(0)
	b.ReportAllocs()
	for b.Loop() {
		countRequest(s, v, 200)
	}
}

func BenchmarkTurn(b *testing.B) {
	s := newRegistry(b, testConfig(1)).Shard(0)
	b.ReportAllocs()
	for b.Loop() {
		s.Turn(40*time.Microsecond, 5)
	}
}

// BenchmarkScrape is a whole page of 10,000 routes that have all been asked for, on 4 loops.
func BenchmarkScrape(b *testing.B) {
	for _, limit := range []int{1000, 10000} {
		b.Run(fmt.Sprint("labels=", limit), func(b *testing.B) {
			c := testConfig(4)
			c.RouteLimit = limit
			r := newRegistry(b, c)
			names := make([]string, 10000)
			for i := range names {
				names[i] = fmt.Sprintf("/service/%d/items/:id", i)
			}
			v := r.View(names, []string{"app"})
			for loop := range 4 {
				for i := range names {
					r.Shard(loop).RequestDone(v.Route(loop, i), 200+i%5*100, time.Duration(i)*time.Microsecond, 300, 400)
				}
			}
			var bytes int64
			b.ReportAllocs()
			for b.Loop() {
				w := &sizeOnly{header: http.Header{}}
				r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
				bytes = w.n
			}
			b.ReportMetric(float64(bytes), "page-bytes")
		})
	}
}

// sizeOnly is a client that throws the page away.
type sizeOnly struct {
	header http.Header
	n      int64
}

func (w *sizeOnly) Header() http.Header { return w.header }
func (w *sizeOnly) WriteHeader(int)     {}
func (w *sizeOnly) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}
