//go:build linux

package guards

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// modeCase is a guard, and a request that it would not let be.
type modeCase struct {
	kind     string
	settings string // beside the mode; FILES and REDIS as in the matrix
	request  string // a method; "" is GET
	fields   string // "Name: value; Name: value"; X-Do tells the upstream: 500, keep, hold
	body     string
	first    int    // requests before the one that counts
	hold     bool   // one is under way meanwhile
	enforce  string // what the client gets: status, reason, how it is degraded
	outcome  string // as which it is counted; "" is refused
	unequal  bool   // in shadow mode the upstream sees what it would not without the guard: the guide says so
}

var modeCases = []modeCase{
	{kind: "jwt", settings: `issuer: https://idp.test/, audience: api, algorithms: ES256, headers: {X-User: sub}, keys: {file: "FILES/keys.json"}`, fields: "Authorization: Bearer rubbish; X-User: root", enforce: "401 jwt_malformed"},
	{kind: "api_key", settings: `file: "FILES/api-keys", headers: {X-User: sub}`, fields: "X-API-Key: wrong; X-User: root", enforce: "401 api_key_unknown"},
	{kind: "basic_auth", settings: `users: "FILES/users", headers: {X-User: sub}`, fields: "X-User: root", enforce: "401 credentials_missing"},
	{kind: "hmac_auth", settings: `file: "FILES/secrets", headers: {X-User: sub}`, fields: "X-User: root", enforce: "401 signature_missing"},
	{kind: "mtls", settings: `headers: {X-User: sub}`, fields: "X-User: root", enforce: "403 client_cert_missing"},
	{kind: "ext_auth", settings: `cluster: auth, to_upstream: x-user`, fields: "X-User: root", enforce: "403 auth_denied"},
	{kind: "ip", settings: `deny: 127.0.0.0/8`, enforce: "403 address_denied"},
	{kind: "cors", settings: `origins: "https://a.test"`, request: "OPTIONS", fields: "Origin: https://b.test; Access-Control-Request-Method: PUT", enforce: "403 cors_origin"},
	{kind: "limit", settings: `rate: 1/h, headers: on`, first: 1, enforce: "429 rate_limited"},
	{kind: "breaker", settings: `state: open`, enforce: "503 breaker_open"},
	{kind: "admission", settings: `limit: 1, queue: 0`, hold: true, enforce: "503 admission_queue_full"},
	{kind: "shed", settings: `memory_from: 0.1%, memory_to: 0.2%`, enforce: "503 overloaded"},
	{kind: "sizes", settings: `body_bytes: 10B`, request: "POST", body: "some fifteen b.", enforce: "413 body_too_large"},
	{kind: "cache", settings: `max_size: 8MiB`, fields: "X-Do: keep", first: 1, enforce: "200 cache_hit", outcome: "passed"},
	{kind: "decompress", settings: `max_body: 1MiB`, request: "POST", fields: "Content-Encoding: gzip", body: "this is no gzip", enforce: "400 encoding_malformed"},
	{kind: "fallback", settings: `on: 5xx, respond: {status: 200, body: sorry}`, fields: "X-Do: 500", enforce: "200 fallback static", outcome: "degraded"},
	{kind: "fault", settings: `abort: 503, after: 10m`, enforce: "503 fault_abort"},
	{kind: "colour", settings: `user_id: {claim: sub, accept: on}, invalid: refuse`, fields: "X-User-Id: not valid", enforce: "400 colour_invalid", unequal: true},
}

// modesElsewhere are guards whose modes are held by a test of their own, and what else has modes and guards nothing.
var modesElsewhere = map[string]string{"mirror": "TestCopiesOfRequests", "canary": "TestCanaryInShadow"}

// guardKinds are all kinds of filters that the reference gives a mode of guards.
func guardKinds(t *testing.T) (kinds []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/config.md")
	if err != nil {
		t.Fatal(err)
	}
	section := ""
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.ReplaceAll(strings.TrimSpace(name), " ", "_")
		}
		if strings.HasPrefix(line, "| `mode` | mode | `enforce` |") {
			kinds = append(kinds, section)
		}
	}
	return kinds
}

// modeUpstream tells all that it was told.
func modeUpstream(t *testing.T, held chan<- bool, release <-chan struct{}) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Upstream", "1")
		switch r.Header.Get("X-Do") {
		case "500":
			w.WriteHeader(http.StatusInternalServerError)
		case "keep":
			w.Header().Set("Cache-Control", "max-age=3600")
		case "hold":
			held <- true
			<-release
		}
		r.Header.Del("X-Request-Id")
		var names []string
		for name, values := range r.Header {
			names = append(names, name+": "+strings.Join(values, " | "))
		}
		slices.Sort(names)
		fmt.Fprintf(w, "%s %s\n%s", r.Method, strings.Join(names, "\n"), body)
	})
}

// whole is all of an answer that could differ: status, fields and body.
func whole(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for name, values := range resp.Header {
		if name != "Date" && name != "X-Request-Id" {
			fields = append(fields, name+": "+strings.Join(values, " | "))
		}
	}
	slices.Sort(fields)
	return fmt.Sprintf("%d\n%s\n\n%s", resp.StatusCode, strings.Join(fields, "\n"), body)
}

var spaces = regexp.MustCompile(` +`)

// Every guard there is, on four routes: enforced, in shadow mode, off, and without it. In shadow mode client and upstream see nothing of it, and what it would
// have done is counted, recorded and shown in advance; off is as if it were not written.
func TestModesOfEveryGuard(t *testing.T) {
	for _, kind := range guardKinds(t) {
		if !slices.ContainsFunc(modeCases, func(c modeCase) bool { return c.kind == kind }) && modesElsewhere[kind] == "" {
			t.Errorf("the guard %s has modes, and no situation here", kind)
		}
	}
	papers, addr := newPapers(t), gateway.FreeAddr(t)
	held, release := make(chan bool, 10), make(chan struct{})
	auth := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %q\nlimits: {loops: 1}\nclusters: {app: {endpoints: [%q], eject: off}, auth: %q}\nroutes:\n", addr, modeUpstream(t, held, release), auth)
	for _, c := range modeCases {
		for _, mode := range []string{"enforce", "shadow", "off"} {
			settings := strings.ReplaceAll(c.settings, "FILES", papers.files)
			fmt.Fprintf(&b, "- {name: %s-%s, path: /%s/%s, cluster: app, filters: [%s: {%s, mode: %s}]}\n", c.kind, mode, c.kind, mode, c.kind, settings, mode)
		}
	}
	b.WriteString("- {path: /*, cluster: app}\n")
	p := gateway.Start(t, b.String(), gateway.Options{ExtraEnv: []string{"GOMEMLIMIT=500MiB"}})
	client := plainClient(t)
	var waiting []chan error
	for _, c := range modeCases {
		t.Run(c.kind, func(t *testing.T) {
			if c.request == "" {
				c.request = "GET"
			}
			send := func(mode string) *http.Response {
				t.Helper()
				if c.hold {
					done := make(chan error, 1)
					waiting = append(waiting, done)
					go func() {
						req, err := http.NewRequest("GET", "http://"+addr+"/"+c.kind+"/"+mode, nil)
						if err == nil {
							req.Header.Set("X-Do", "hold")
							var resp *http.Response
							if resp, err = client.Do(req); err == nil {
								resp.Body.Close()
							}
						}
						done <- err
					}()
					<-held
				}
				var resp *http.Response
				for range c.first + 1 {
					var body io.Reader
					if c.body != "" {
						body = strings.NewReader(c.body)
					}
					if resp != nil {
						plain(t, resp)
					}
					resp = ask(t, client, addr, c.request+" /"+c.kind+"/"+mode, c.fields, body)
				}
				return resp
			}
			outcome := c.outcome
			if outcome == "" {
				outcome = "refused"
			}
			recorded := func(id, mode, outcome string) {
				if outcome == "passed" || c.kind == "ext_auth" && mode == "shadow" {
					return // of what passes, a sample is recorded; and that request may be over when the service answers
				}
				_, text, err := p.AdminGet("/api/decisions?request_id=" + id)
				if err != nil || !strings.Contains(string(text), `"`+mode+`"`) || !strings.Contains(string(text), `"`+outcome+`"`) {
					t.Errorf("%s: what it did is not recorded: %s, %v", mode, text, err)
				}
			}
			want := whole(t, send("bare"))

			resp := send("enforce")
			got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Yumen-Reason"), " ", resp.Header.Get("X-Degraded"))
			if strings.Contains(resp.Header.Get("Cache-Status"), "hit") {
				got += " cache_hit"
			}
			if got = strings.TrimSpace(spaces.ReplaceAllString(got, " ")); got != c.enforce {
				t.Errorf("enforced: %s, want %s", got, c.enforce)
			}

			recorded(resp.Header.Get("X-Request-Id"), "enforce", outcome)

			resp = send("shadow")
			id := resp.Header.Get("X-Request-Id")
			if got := whole(t, resp); got != want && !c.unequal {
				t.Errorf("in shadow mode:\n%s\nwithout the guard:\n%s", got, want)
			}
			name := fmt.Sprintf("guard=\"%s-shadow/%s\"", c.kind, c.kind)
			gateway.Eventually(t, patience, "what the shadow would have done is counted", func() error {
				n, err := p.Metric("yumen_guard_decisions_total", name, `mode="shadow"`, fmt.Sprintf("outcome=%q", outcome))
				if c.kind == "ext_auth" && err == nil { // its request may be over when the service answers
					var late float64
					late, err = p.Metric("yumen_guard_number", name, `number="shadow_late_refused"`)
					n += late
				}
				if err == nil && n < 1 {
					err = fmt.Errorf("%v", n)
				}
				return err
			})
			recorded(id, "shadow", outcome)

			if got := whole(t, send("off")); got != want {
				t.Errorf("off:\n%s\nwithout the guard:\n%s", got, want)
			}
			if n, err := p.Metric("yumen_guard_decisions_total", fmt.Sprintf("guard=\"%s-off/%s\"", c.kind, c.kind)); err == nil {
				t.Errorf("off, it is counted: %v", n)
			}
			for _, mode := range []string{"enforce", "shadow", "off"} {
				_, text, err := p.AdminGet("/api/explain?method=" + c.request + "&url=" + url.QueryEscape("http://"+addr+"/"+c.kind+"/"+mode))
				var told struct {
					Filters []struct{ Kind, Mode, Text string }
				}
				if err == nil {
					err = json.Unmarshal(text, &told)
				}
				if err != nil || len(told.Filters) != 1 || told.Filters[0].Kind != c.kind {
					t.Fatalf("%s: explain says %s, %v", mode, text, err)
				}
				said := told.Filters[0]
				if mode == "off" && !strings.HasPrefix(said.Text, "off: ") || mode != "off" && (said.Mode != mode || said.Text == "") {
					t.Errorf("%s: explain says %+v", mode, said)
				}
			}
		})
	}
	close(release)
	for _, done := range waiting {
		if err := <-done; err != nil {
			t.Error(errors.Join(errors.New("a request that was held"), err))
		}
	}
}
