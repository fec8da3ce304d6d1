//go:build linux

package guards

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// hotGuard is a guard with the settings that it has at first and those that it is given under load.
type hotGuard struct {
	name   string
	filter [2]string // of its route; with FILES, REDIS as in the matrix
	route  [2]string // more keys of the route
	// cluster is the route's; empty: app.
	cluster string
	probes  []hotProbe
	// before is asked so often under the first settings, to bring the guard into the state that has to last.
	before int
	// idle: no request is under way through it while settings change, for none would be.
	idle bool
}

// hotProbe is a request and what its client sees, under either settings.
type hotProbe struct {
	request string // the method and what the path ends in: "GET" or "POST /x"
	lines   func(h *hot, path string) string
	body    string
	want    [2]string
}

func same(want string) [2]string { return [2]string{want, want} }

// line is fields that are always the same.
func line(lines ...string) func(*hot, string) string {
	return func(*hot, string) string { return strings.Join(lines, "\r\n") + "\r\n" }
}

// hotGuards are all of them. What each promises to keep is in its page of the guide.
var hotGuards = []hotGuard{
	{name: "jwt", filter: [2]string{jwtOf(`{file: "FILES/keys.json"}, headers: {X-User: sub}`), jwtOf(`{file: "FILES/keys.json"}, headers: {X-User: iss}`)}, probes: []hotProbe{
		{"GET", func(h *hot, _ string) string { return "Authorization: Bearer " + h.token + "\r\n" }, "", [2]string{"200 well alice", "200 well https://idp.test/"}},
		{"GET", nil, "", same("401 jwt_missing")}}},
	{name: "key", filter: [2]string{`api_key: {file: "FILES/api-keys", headers: {X-User: sub}}`, `api_key: {file: "FILES/api-keys", headers: {X-User: plan}}`}, probes: []hotProbe{
		{"GET", line("X-API-Key: " + acmeKey), "", [2]string{"200 well acme", "200 well gold"}},
		{"GET", line("X-API-Key: wrong"), "", same("401 api_key_unknown")}}},
	{name: "basic", filter: [2]string{`basic_auth: {users: "FILES/users", headers: {X-User: sub}}`, `basic_auth: {users: "FILES/users", realm: staff}`}, probes: []hotProbe{
		{"GET", line(basic("alice", password)), "", [2]string{"200 well alice", "200 well"}},
		{"GET", nil, "", same("401 credentials_missing")}}},
	{name: "hmac", filter: [2]string{`hmac_auth: {file: "FILES/secrets", headers: {X-User: sub}}`, `hmac_auth: {file: "FILES/secrets", max_body: 2MiB}`}, probes: []hotProbe{
		{"GET", (*hot).signed, "", [2]string{"200 well acme", "200 well"}},
		{"GET", func(h *hot, _ string) string { return h.used }, "", same("401 signature_replayed")}}},
	{name: "mtls", filter: [2]string{`mtls: {headers: {X-User: sub}}`, `mtls: {uris: spiffe://mesh/ns/prod/*}`}, probes: []hotProbe{
		{"GET", nil, "", [2]string{"200 well spiffe://mesh/ns/prod/web", "200 well"}}}},
	{name: "ext", filter: [2]string{`ext_auth: {cluster: auth, to_upstream: x-user, cache: 1h}`, `ext_auth: {cluster: auth, to_upstream: x-user, cache: 1h, timeout: 2s}`}, probes: []hotProbe{
		{"GET", line("Authorization: a"), "", same("200 well alice")},
		{"GET", line("Authorization: no"), "", same("403 auth_denied")}}},
	{name: "ip", filter: [2]string{`ip: {allow: 127.0.0.0/8}`, `ip: {deny: 192.0.2.0/24}`}, probes: []hotProbe{
		{"GET", nil, "", same("200 well")},
		{"GET", line("X-Forwarded-For: 192.0.2.9"), "", [2]string{"403 address_not_allowed", "403 address_denied"}}}},
	{name: "cors", filter: [2]string{`cors: {origins: "https://a.test"}`, `cors: {origins: ["https://a.test", "https://b.test"]}`}, probes: []hotProbe{
		{"GET", line("Origin: https://b.test"), "", [2]string{"200 well", "200 https://b.test well"}},
		{"GET", line("Origin: https://a.test"), "", same("200 https://a.test well")}}},

	{name: "bucket", before: 3, filter: [2]string{`limit: {rate: 1/h, burst: 3, key: [header: x-key]}`, `limit: {rate: 2/h, burst: 3, key: [header: x-key], status: 503}`}, probes: []hotProbe{
		{"GET", line("X-Key: spent"), "", [2]string{"429 rate_limited", "503 rate_limited"}}}},
	{name: "window", before: 3, filter: [2]string{`limit: {rate: 3/h, algorithm: sliding_window, key: [header: x-key]}`, `limit: {rate: 2/h, algorithm: sliding_window, key: [header: x-key], status: 503}`}, probes: []hotProbe{
		{"GET", line("X-Key: spent"), "", [2]string{"429 rate_limited", "503 rate_limited"}}}},
	{name: "places", filter: [2]string{`limit: {concurrency: 1}`, `limit: {concurrency: 1, status: 503}`}, probes: []hotProbe{
		{"GET", nil, "", [2]string{"429 concurrency_limited", "503 concurrency_limited"}}}}, // by the one that is under way
	{name: "leased", before: 3, filter: [2]string{`limit: {rate: 1/h, burst: 3, key: [header: x-key], shared: {redis: "REDIS", name: hot}}`, `limit: {rate: 1/h, burst: 3, key: [header: x-key], status: 503, shared: {redis: "REDIS", name: hot}}`}, probes: []hotProbe{
		{"GET", line("X-Key: spent"), "", [2]string{"429 rate_limited", "503 rate_limited"}}}},
	{name: "open", before: 5, filter: [2]string{`breaker: {adaptive: off, error_ratio: off, consecutive: 5, open_for: 1h, open_max: 1h}`, `breaker: {adaptive: off, error_ratio: off, consecutive: 9, probes: 9, open_for: 1h, open_max: 1h}`}, probes: []hotProbe{
		{"GET /broken", nil, "", same("503 breaker_open")}}},
	{name: "closed", filter: [2]string{`breaker: on`, `breaker: {volume: 30}`}, probes: []hotProbe{{"GET", nil, "", same("200 well")}}},
	{name: "admission", filter: [2]string{`admission: {limit: 64}`, `admission: {limit: 32, max_wait: 2s}`}, probes: []hotProbe{{"GET", nil, "", same("200 well")}}},
	{name: "shed", filter: [2]string{`shed: {turn_from: 9s, turn_to: 10s}`, `shed: {turn_from: 8s, turn_to: 10s}`}, probes: []hotProbe{{"GET", nil, "", same("200 well")}}},
	{name: "sizes", filter: [2]string{`sizes: {body_bytes: 100B}`, `sizes: {body_bytes: 10B}`}, probes: []hotProbe{
		{"POST", nil, "some fifteen b.", [2]string{"200 well some fifteen b.", "413 body_too_large"}},
		{"POST", nil, strings.Repeat("x", 200), same("413 body_too_large")}}},

	{name: "cache", before: 1, filter: [2]string{`cache: {max_size: 8MiB}`, `cache: {max_size: 16MiB, status_header: off}`}, probes: []hotProbe{
		{"GET /kept", nil, "", [2]string{"200 hit answer 1", "200 answer 1"}}}},
	{name: "fallback", cluster: "dead", idle: true, filter: [2]string{`fallback: {respond: {status: 200, body: sorry}}`, `fallback: {respond: {status: 203, body: very sorry}}`}, probes: []hotProbe{
		{"GET", nil, "", [2]string{"200 fallback static sorry", "203 fallback static very sorry"}}}},
	{name: "compress", filter: [2]string{`compress: {min_size: 0B, encodings: [gzip]}`, `compress: {min_size: 1MiB, encodings: [gzip]}`}, probes: []hotProbe{
		{"GET", line("Accept-Encoding: gzip"), "", [2]string{"200 gzip well", "200 well"}}}},
	{name: "decompress", filter: [2]string{`decompress: on`, `decompress: {max_body: 3B}`}, probes: []hotProbe{
		{"POST", line("Content-Encoding: gzip"), string(zipped("body")), [2]string{"200 well body", "413 decoded_too_large"}}}},
	{name: "retry", cluster: "half", route: [2]string{`retry: {attempts: 2}`, `retry: {attempts: 3, on: [connect]}`}, probes: []hotProbe{{"GET", nil, "", same("200 well")}}},
	{name: "hedge", route: [2]string{`retry: {hedge: 5s}`, `retry: {hedge: {percentile: 90%, after: 5s}}`}, probes: []hotProbe{{"GET", nil, "", same("200 well")}}},
	{name: "deadline", route: [2]string{`timeouts: {request: 5m}`, `timeouts: {request: 10m}`}, probes: []hotProbe{
		{"GET", line("X-Request-Timeout: 20s"), "", same("200 well")}}},
	{name: "split", filter: [2]string{splitOf("20%"), splitOf("40%")}, probes: []hotProbe{
		{"GET", func(h *hot, _ string) string { return "X-Key: " + h.early + "\r\n" }, "", same("200 well a")}, // in at 20 %, in at 40 %
		{"GET", func(h *hot, _ string) string { return "X-Key: " + h.late + "\r\n" }, "", [2]string{"200 well b", "200 well a"}}}},
	{name: "colour", filter: [2]string{`colour: {user_id: {header: x-mark, claim: sub, accept: on}}`, `colour: {user_id: {header: x-mark, claim: sub, accept: on}, invalid: refuse}`}, probes: []hotProbe{
		{"GET", line("X-Mark: one"), "", same("200 well")},
		{"GET", line("X-Mark: not valid"), "", [2]string{"200 well", "400 colour_invalid"}}}},
	{name: "mirror", filter: [2]string{`mirror: dead`, `mirror: {cluster: dead, share: 50%}`}, probes: []hotProbe{{"GET", nil, "", same("200 well")}}},
	{name: "fault", before: 20, filter: [2]string{`fault: {abort: 503, budget: {requests: 20}, when: {headers: {x-chaos: "on"}}}`, `fault: {abort: 500, budget: {requests: 20}, when: {headers: {x-chaos: "on"}}}`}, probes: []hotProbe{
		{"GET", line("X-Chaos: on"), "", same("200 well")}}}, // the budget is spent, and stays it
}

func splitOf(weight string) string {
	return "split: {salt: hot, key: [header: x-key], header: X-User, variants: [{name: a, cluster: app, weight: " + weight + "}, {name: b, cluster: app}]}"
}

// hot is one gateway with all guards.
type hot struct {
	*papers
	t                    *testing.T
	addr, tls            string // of the listeners
	auth, app, dead, red string // of the clusters, and of Redis
	held                 atomic.Int64
	asked                atomic.Int64 // questions to the service that decides
	kept                 atomic.Int64 // requests for what is kept
	release              chan struct{}

	limited atomic.Int64 // answers of limits

	nonce       atomic.Int64
	used        string // a signature that was used
	early, late string // keys of the split
}

// serve is the upstream: it tells what it was told.
func (h *hot) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	said := "well"
	switch {
	case strings.HasSuffix(r.URL.Path, "/held"):
		h.held.Add(1)
		select {
		case <-h.release:
		case <-r.Context().Done():
		}
		said = "held"
	case strings.HasSuffix(r.URL.Path, "/broken"):
		w.WriteHeader(http.StatusInternalServerError)
		return
	case strings.HasSuffix(r.URL.Path, "/kept"):
		w.Header().Set("Cache-Control", "max-age=3600")
		said = fmt.Sprint("answer ", h.kept.Add(1))
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, strings.Join(strings.Fields(said+" "+r.Header.Get("X-User")+" "+string(body)), " "))
}

func (h *hot) document(state []int, generation int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `limits: {loops: 2}
trust: {forwarded_from: 127.0.0.0/8}
listeners:
  - {name: plain, address: %q}
  - {name: tls, address: %q, tls: {cert: %q, key: %q, client_certificates: {ca: %q, mode: optional}}}
clusters:
  app: {endpoints: [%q]}
  auth: {endpoints: [%q]}
  dead: {endpoints: [%q]}
  half: {endpoints: [%q, %q]}
routes:
- {path: /generation, respond: {status: 200, body: "%d"}}
`, h.addr, h.tls, h.site.CertFile, h.site.KeyFile, h.ca, h.app, h.auth, h.dead, h.dead, h.app, generation)
	fmt.Fprintf(&b, "- {path: /split-later/, cluster: app, filters: [%s]}\n", splitOf("40%"))
	said := strings.NewReplacer("REDIS", h.red, "FILES", h.files)
	for i, g := range hotGuards {
		cluster := g.cluster
		if cluster == "" {
			cluster = "app"
		}
		fmt.Fprintf(&b, "- {name: %s, path: /%s/*, cluster: %s, filters: [%s]", g.name, g.name, cluster, said.Replace(g.filter[state[i]]))
		if more := g.route[state[i]]; more != "" {
			b.WriteString(", " + more)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// signed is a signature that nobody has used.
func (h *hot) signed(path string) string {
	r, _ := http.NewRequest("GET", "http://exam.test"+path, nil)
	sign(r, fmt.Sprint("n", h.nonce.Add(1)))
	return fmt.Sprintf("Signature-Input: %s\r\nSignature: %s\r\n", r.Header.Get("Signature-Input"), r.Header.Get("Signature"))
}

// text is a probe's request, with another end of the path, or its own.
func (h *hot) text(g *hotGuard, p *hotProbe, end string) string {
	method, own, _ := strings.Cut(p.request, " /")
	if end == "" {
		end = own
	}
	path, lines := "/"+g.name+"/"+end, ""
	if p.lines != nil {
		lines = p.lines(h, path)
	}
	if p.body != "" {
		lines += fmt.Sprintf("Content-Length: %d\r\n", len(p.body))
	}
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: exam.test\r\n%s\r\n%s", method, path, lines, p.body)
}

// saw is what a client sees: the status, what the gateway says of it, and the body.
func (h *hot) saw(a *gateway.Answer) string {
	said := []string{fmt.Sprint(a.Status)}
	add := func(text string) {
		if text != "" {
			said = append(said, text)
		}
	}
	reason := a.Header.Get("X-Yumen-Reason")
	if add(reason); strings.HasSuffix(reason, "_limited") {
		h.limited.Add(1)
	}
	add(a.Header.Get("X-Degraded"))
	add(a.Header.Get("Access-Control-Allow-Origin"))
	if strings.Contains(a.Header.Get("Cache-Status"), "hit") {
		add("hit")
	}
	body := a.Body
	if coding := a.Header.Get("Content-Encoding"); coding == "gzip" {
		add(coding)
		r, err := gzip.NewReader(strings.NewReader(body))
		if err == nil {
			var text []byte
			text, err = io.ReadAll(r)
			body = string(text)
		}
		if err != nil {
			body = err.Error()
		}
	}
	if reason == "" || a.Status < 400 {
		add(body)
	}
	return strings.Join(said, " ")
}

// dial connects for one guard's requests.
func (h *hot) dial(g *hotGuard) (*gateway.Conn, error) {
	if g.name == "mtls" {
		return gateway.DialTLS(h.tls, h.shown(), patience)
	}
	return gateway.Dial(h.addr, patience)
}

// once asks on a connection of its own.
func (h *hot) once(g *hotGuard, text string) (string, error) {
	c, err := h.dial(g)
	if err != nil {
		return "", err
	}
	defer c.Close()
	a, err := c.Do(text, patience)
	if err != nil {
		return "", err
	}
	return h.saw(a), nil
}

// prepare brings the guards into the states that have to last, and has one request of each under way. The returned function waits for
// these to end, and tells what they got that they should not.
func (h *hot) prepare() (wait func() []string) {
	var mu sync.Mutex
	var wrong []string
	var all sync.WaitGroup
	held := int64(0)
	for i := range hotGuards {
		g := &hotGuards[i]
		if g.name == "split" {
			h.chooseKeys(g)
		}
		if !g.idle {
			held++
			text := strings.Replace(h.text(g, &g.probes[0], "held"), "X-Key: spent", "X-Key: held", 1)
			text = strings.Replace(text, "X-Chaos: on", "X-Chaos: off", 1)
			all.Go(func() {
				if got, err := h.once(g, text); err != nil || !strings.HasPrefix(got, "200") || !strings.Contains(got, "held") {
					mu.Lock()
					defer mu.Unlock()
					wrong = append(wrong, fmt.Sprintf("%s: %s %v", g.name, got, err))
				}
			})
			gateway.Eventually(h.t, patience, g.name+" has a request under way", func() error {
				if n := h.held.Load(); n < held {
					return fmt.Errorf("%d of %d", n, held)
				}
				return nil
			})
		}
		for range g.before {
			if got, err := h.once(g, h.text(g, &g.probes[0], "")); err != nil || got == g.probes[0].want[0] && g.name != "cache" {
				h.t.Fatalf("%s: %s, %v", g.name, got, err)
			}
		}
	}
	return func() []string {
		close(h.release)
		all.Wait()
		return wrong
	}
}

// chooseKeys finds a key that is in at 20 %, and one that is in at 40 % only.
func (h *hot) chooseKeys(g *hotGuard) {
	for n := 0; h.early == "" || h.late == ""; n++ {
		key := fmt.Sprint("k", n)
		for _, path := range []string{"split", "split-later"} {
			got, err := h.once(g, fmt.Sprintf("GET /%s/ HTTP/1.1\r\nHost: exam.test\r\nX-Key: %s\r\n\r\n", path, key))
			switch {
			case err != nil || n > 500:
				h.t.Fatal(got, err)
			case got == "200 well a" && path == "split":
				h.early = key
			case got == "200 well a" && h.early != key:
				h.late = key
			}
		}
	}
}

// steady sends what every guard judges, some hundred requests a second. Right is what either settings say.
func (h *hot) steady(secure bool) *gateway.Running {
	type one struct {
		g *hotGuard
		p *hotProbe
	}
	var list []one
	for i := range hotGuards {
		for k := range hotGuards[i].probes {
			if (hotGuards[i].name == "mtls") == secure {
				list = append(list, one{&hotGuards[i], &hotGuards[i].probes[k]})
			}
		}
	}
	pace := time.NewTicker(2 * time.Millisecond)
	h.t.Cleanup(pace.Stop)
	load := gateway.Load{Addr: h.addr, Clients: 4, Timeout: patience,
		Request: func(client, n int) string {
			<-pace.C
			o := list[(client*7+n)%len(list)]
			return h.text(o.g, o.p, "")
		},
		Check: func(client, n int, a *gateway.Answer) error {
			o := list[(client*7+n)%len(list)]
			got := h.saw(a)
			if got != o.p.want[0] && got != o.p.want[1] {
				return fmt.Errorf("%s: %s", o.g.name, got)
			}
			if a.Close && a.Status != http.StatusRequestEntityTooLarge { // the rest of that body is not read
				return fmt.Errorf("%s: %s, and the connection is closed", o.g.name, got)
			}
			return nil
		}}
	if secure {
		load.Addr, load.TLS, load.Clients = h.tls, h.shown(), 1
	}
	return load.Start(0)
}

// put gives the gateway a document by the admin API; the file stays behind.
func (h *hot) put(p *gateway.Process, document string) {
	h.t.Helper()
	document = fmt.Sprintf("admin: {address: %q}\n%s", p.Admin(), document)
	req, err := http.NewRequest(http.MethodPut, "http://"+p.Admin()+"/api/config", strings.NewReader(document))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("If-Match", "*")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("%d %s %v", resp.StatusCode, text, err)
	}
}

// All guards in one document, requests through each of them all the time, and one through each that is under way from the beginning to the
// end. The settings of one guard after the other change: no request fails, each is judged by one settings or the other, and what was
// spent, open, kept, held or known before is so afterwards.
func TestHotChange(t *testing.T) {
	gateway.Require(t, gateway.TLSListener)
	var all []string
	for i := range hotGuards {
		all = append(all, hotGuards[i].filter[1])
	}
	missing(t, all)
	h := &hot{papers: newPapers(t), t: t, addr: gateway.FreeAddr(t), tls: gateway.FreeAddr(t), dead: gateway.FreeAddr(t), red: startRedis(t).addr, release: make(chan struct{})}
	h.app = serve(t, h.serve)
	h.auth = serve(t, func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		if w.Header().Set("X-User", "alice"); r.Header.Get("Authorization") == "no" {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	state := make([]int, len(hotGuards))
	p := gateway.Start(t, h.document(state, 0), gateway.Options{})
	h.used = h.signed("/hmac/")
	if got, err := h.once(&hotGuard{}, "GET /hmac/ HTTP/1.1\r\nHost: exam.test\r\n"+h.used+"\r\n"); err != nil || got != "200 well acme" {
		t.Fatal(got, err)
	}
	wait := h.prepare()
	loads := []*gateway.Running{h.steady(false), h.steady(true)}
	for i := range hotGuards {
		g := &hotGuards[i]
		state[i] = 1
		if document := h.document(state, i+1); i%2 == 0 {
			p.WriteConfig(document)
		} else {
			h.put(p, document)
		}
		gateway.Eventually(t, patience, fmt.Sprintf("the document with other settings of %s is in force", g.name), func() error {
			got, err := h.once(&hotGuard{}, "GET /generation HTTP/1.1\r\nHost: exam.test\r\n\r\n")
			if want := fmt.Sprint("200 respond ", i+1); err != nil || got != want {
				return errors.Join(err, errors.New(got))
			}
			return nil
		})
		for k := range g.probes {
			gateway.Eventually(t, patience, fmt.Sprintf("the new settings of %s hold", g.name), func() error {
				if got, err := h.once(g, h.text(g, &g.probes[k], "")); err != nil || got != g.probes[k].want[1] {
					return fmt.Errorf("%s, want %s: %w", got, g.probes[k].want[1], err)
				}
				return nil
			})
		}
	}
	for _, l := range loads {
		tally := l.Stop()
		t.Log(tally)
		if tally.Failures() > 0 {
			t.Error("requests failed, or were judged by neither settings")
		}
	}
	if n, err := doorNumber(p, "admission/admission", "inflight"); err != nil || n < 1 {
		t.Errorf("%v are under way behind admission: %v", n, err)
	}
	for _, wrong := range wait() {
		t.Errorf("under way from the beginning to the end: %s", wrong)
	}
	doorIsEmpty(t, p, "admission/admission")
	refused, err := p.Metric("yumen_guard_decisions_total", `kind="limit"`, `outcome="refused"`)
	if err != nil || int64(refused) != h.limited.Load() {
		t.Errorf("clients saw %d refusals by limits, and %v are counted: %v", h.limited.Load(), refused, err)
	}
	for i := range hotGuards {
		if g := &hotGuards[i]; g.name == "places" {
			if got, err := h.once(g, h.text(g, &g.probes[0], "")); err != nil || got != "200 well" {
				t.Errorf("the place is free again: %s, %v", got, err)
			}
		}
	}
	if n := h.kept.Load(); n != 1 {
		t.Errorf("what was kept was asked for %d times", n)
	}
	if n := h.asked.Load(); n > 2*3 { // each loop keeps its own of two credentials
		t.Errorf("the service was asked %d times", n)
	}
}
