package etcd_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/kit/registry"
)

// gateway is a whole one, started on a file.
type gateway struct {
	*control.Controller
	t *testing.T
}

func startGateway(t *testing.T, path string) *gateway {
	t.Helper()
	c, err := control.New(control.Options{File: path, Loops: 2, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	if r, err := c.Start(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, r.Report)
	}
	return &gateway{c, t}
}

func (g *gateway) ask() string {
	g.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + g.Listeners()[0].Bound + "/")
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", r.StatusCode, strings.SplitN(string(body), "\n", 2)[0])
}

// asks collects who answers.
func (g *gateway) asks() string {
	seen := map[string]bool{}
	for range 20 {
		seen[g.ask()] = true
	}
	return fmt.Sprint(seen)
}

// app is an upstream that says its name, and its address.
func app(t *testing.T, name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestAGatewayWhoseEndpointsAreInEtcd(t *testing.T) {
	s := startServer(t)
	services := s.services()
	a, b := app(t, "a"), app(t, "b")
	first := register(t, services, registry.Instance{Service: "orders", ID: "a", Address: a, Zone: "eu-1"})
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	document := func(more string) string {
		return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: off
watch: off
defaults: {etcd: {addresses: %q, timeout: 300ms, grace: 500ms}}
clusters:
  orders: {endpoints: {etcd: orders}%s}
routes: [{path: /*, cluster: orders}]
`, s.addr, more)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(document(""))
	g := startGateway(t, path)
	if got := g.asks(); got != "map[200 a:true]" {
		t.Fatalf("%s", got)
	}
	register(t, services, registry.Instance{Service: "orders", ID: "b", Address: b})
	eventually(t, "the second instance gets requests", func() bool { return g.asks() == "map[200 a:true 200 b:true]" })
	c := g.Clusters()[0]
	if len(c.Discovery) != 1 || c.Discovery[0].State != "fresh" || c.Discovery[0].Endpoints != 2 || c.Discovery[0].Service != "etcd orders" {
		t.Errorf("%+v", c.Discovery)
	}
	page := httptest.NewRecorder()
	g.Metrics().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`yumen_discovery_state{cluster="orders",service="etcd orders",state="fresh"} 1`,
		`yumen_discovery_endpoints{cluster="orders",service="etcd orders"} 2`, `yumen_discovery_missing{cluster="orders",service="etcd orders"} 0`} {
		if !strings.Contains(page.Body.String(), line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	for _, e := range c.Endpoints {
		if e.Address == a && (e.Instance != "a" || e.Zone != "eu-1" || e.Weight != 100) {
			t.Errorf("%+v", e)
		}
	}

	// An operator's drain is for the endpoint, and outlasts what comes and goes beside it, and a change of the document.
	if err := g.DrainEndpoint("orders", b, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the drain is seen", func() bool { return g.asks() == "map[200 a:true]" })
	write(document(", balance: load_aware"))
	if _, err := g.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := g.asks(); got != "map[200 a:true]" {
		t.Errorf("after a change: %s", got)
	}
	if err := first.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first instance has left", func() bool { return len(g.Clusters()[0].Endpoints) == 1 })
	if err := g.DrainEndpoint("orders", b, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second is back", func() bool { return g.asks() == "map[200 b:true]" })

	s.freeze()
	eventually(t, "etcd is seen to be frozen", func() bool { return g.Clusters()[0].Discovery[0].State == "stale" })
	if got := g.asks(); got != "map[200 b:true]" {
		t.Errorf("while etcd is frozen: %s", got)
	}
	// A mistyped etcd fails a change, and what ran runs on.
	write(strings.Replace(document(""), s.addr, "127.0.0.1:1", 1))
	if _, err := g.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "etcd has not answered") {
		t.Errorf("a change to an etcd that is not there: %v", err)
	}
	if got := g.asks(); got != "map[200 b:true]" {
		t.Errorf("after a change that failed: %s", got)
	}
	s.thaw()
	s.kill()
	g.Stop()

	// A start without etcd has the file of the process before.
	write(document(""))
	g = startGateway(t, path)
	if got := g.asks(); got != "map[200 b:true]" {
		t.Errorf("a start without etcd: %s", got)
	}
	if d := g.Clusters()[0].Discovery[0]; d.State != "from_snapshot" {
		t.Errorf("%+v", d)
	}
}
