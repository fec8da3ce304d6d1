//go:build linux

package guards

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// A refusal, and whatever else is not as asked for, is recorded with the numbers it follows from, and when the client may come again.
func TestRecordsHaveTheNumbers(t *testing.T) {
	files := t.TempDir()
	key := newECKey(t, "a")
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(files, "keys.json"), string(keys))
	at := func(name string, seconds time.Duration) string {
		return "Bearer " + mint(t, key, claims{name: time.Now().Add(seconds).Unix()})
	}
	stranger := "Bearer " + mint(t, key, claims{"iss": "https://evil.test/\x1b[2J", "aud": []string{"shop", "web"}})
	elsewhere := "Bearer " + mint(t, key, claims{"aud": []string{"shop", "web"}})
	write(t, filepath.Join(files, "bad.txt"), "# of today\n10.0.0.0/8\n127.0.0.0/8\n")
	bad := newPatient(t)
	bad.fail("500")
	cases := []struct {
		name, filters, cluster string
		times                  int // requests; the last of them counts
		authorization          string
		want                   string // reason and numbers, behind a colon those with that value
		again                  bool   // it has retry_after_ms
	}{
		{name: "expired", filters: jwtOf(`{file: "FILES/keys.json"}`), times: 2, authorization: at("exp", -time.Hour), want: "jwt_expired expired_for clock_skew:30"},
		{name: "early", filters: jwtOf(`{file: "FILES/keys.json"}`), times: 2, authorization: at("nbf", time.Hour), want: "jwt_not_yet_valid valid_in clock_skew:30"},
		{name: "long", filters: jwtOf(`{file: "FILES/keys.json"}`), times: 1, authorization: "Bearer " + strings.Repeat("x", 9000), want: "jwt_too_large token:9000 limit:8192"},
		{name: "issuer", filters: jwtOf(`{file: "FILES/keys.json"}`), times: 2, authorization: stranger, want: "jwt_issuer iss:https://evil.test/\x1b[2J accepted:https://idp.test/"},
		{name: "audience", filters: jwtOf(`{file: "FILES/keys.json"}`), times: 2, authorization: elsewhere, want: "jwt_audience aud:shop,web accepted:api"},
		{name: "listed", filters: `ip: {deny_files: "FILES/bad.txt", deny: 127.1.0.0/16}`, times: 1, want: "address_denied prefix:8 line:3 network:127.0.0.0/8 list:" + files + "/bad.txt"},
		{name: "denied", filters: "ip: {deny: [10.0.0.0/8, 127.0.0.0/8]}", times: 1, want: "address_denied prefix:8 network:127.0.0.0/8 list:deny[1]"},
		{name: "others", filters: "ip: {allow: [10.0.0.0/8, 11.0.0.0/8]}", times: 1, want: "address_not_allowed networks:2 others:deny"},
		{name: "bucket", filters: "limit: {rate: 2/h, burst: 2}", times: 3, want: "rate_limited limit:2 used:2 remaining:0 burst:2 reset", again: true},
		{name: "window", filters: "limit: {rate: 1/h, algorithm: fixed_window}", times: 2, want: "rate_limited limit:1 used:1 remaining:0 reset", again: true},
		{name: "broken", filters: "breaker: {consecutive: 2, open_for: 1h, open_max: 1h}", cluster: "bad", times: 3, want: "breaker_open in_a_row:2 passing:0", again: true},
		{name: "sorry", filters: "fallback: {on: connect, retry_after: 5s}", cluster: "dead", times: 1, want: "connect_failed failure_status:502 step", again: true},
		{name: "static", filters: "fallback: {on: connect, respond: {status: 200}}", cluster: "dead", times: 1, want: "connect_failed failure_status:502 step"},
		{name: "ask", filters: "ext_auth: {cluster: dead, when_unreachable: open}", times: 1, want: "auth_unreachable took cached:0"},
	}
	addr := gateway.FreeAddr(t)
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %q\ndefaults: {retry: off}\nclusters:\n  app: [%q]\n  bad: {endpoints: [%q], eject: off}\n  dead: {endpoints: [%q], eject: off}\nroutes:\n",
		addr, newPatient(t).addr, bad.addr, gateway.FreeAddr(t))
	for _, c := range cases {
		cluster := "app"
		if c.cluster != "" {
			cluster = c.cluster
		}
		fmt.Fprintf(&b, "- {path: /%s, cluster: %s, filters: [%s]}\n", c.name, cluster, strings.ReplaceAll(c.filters, "FILES", files))
	}
	p := gateway.Start(t, b.String(), gateway.Options{})
	for _, c := range cases {
		for range c.times {
			r, err := http.NewRequest("GET", "http://"+addr+"/"+c.name, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		_, text, err := p.AdminGet("/api/decisions?max=1&route=/" + c.name)
		if err != nil {
			t.Fatal(err)
		}
		var list []struct {
			Reason  string
			Outcome string
			Status  int
			Again   int64 `json:"retry_after_ms"`
			Numbers []struct {
				Name  string
				Value float64
			}
			Words []struct{ Name, Value string }
		}
		if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 {
			t.Fatalf("%s: %v %s", c.name, err, text)
		}
		d := list[0]
		got := []string{d.Reason}
		for _, n := range d.Numbers {
			got = append(got, fmt.Sprintf("%s:%v", n.Name, n.Value))
		}
		for _, w := range d.Words {
			got = append(got, w.Name+":"+w.Value)
		}
		for _, want := range strings.Fields(c.want) {
			found := false
			for _, is := range got {
				name, _, _ := strings.Cut(is, ":")
				found = found || is == want || name == want
			}
			if !found {
				t.Errorf("%s: %s is not in %s", c.name, want, got)
			}
		}
		if d.Again > 0 != c.again || d.Outcome == "degraded" && d.Status != 0 {
			t.Errorf("%s: %s with %d, again after %d ms", c.name, d.Outcome, d.Status, d.Again)
		}
	}
	// For people what a client wrote is escaped.
	out, err := exec.Command(os.Getenv(gateway.BinaryEnv), "why", "--admin", p.Admin(), "--route", "/issuer").CombinedOutput()
	if want := `iss "https://evil.test/\x1b[2J", accepted "https://idp.test/"`; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("yumen why says %q, %v, want %s", out, err, want)
	}
}
