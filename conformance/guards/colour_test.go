//go:build linux

package guards

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

func TestRequestsAreMarked(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list []string
		for _, name := range []string{"X-Trace-Id", "X-Abtest-Group", "X-User-Id", "X-Device-Type", "Traceparent", "Tracestate"} {
			list = append(list, strings.Join(r.Header.Values(name), "+"))
		}
		fmt.Fprint(w, strings.Join(list, "|"))
	}))
	t.Cleanup(server.Close)
	next := version(t, "next")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
trust: {forwarded_from: 127.0.0.0/8}
clusters: {app: [%q], next: [%q]}
filters:
  edge:
    colour:
      trace_id: on
      user_id: on
      device_type: on
      abtest_group: {groups: [{name: a}, {name: b, weight: 50%%}], accept: on}
      invalid: refuse
  testers:
    split:
      variants: [{name: stable, cluster: app}, {name: canary, cluster: next, weight: 0%%}]
      rules: [{when: {header: {x-device-type: bot}}, variant: canary}]
routes:
  - {path: /*, cluster: app, filters: [edge]}
  - {path: /limited, cluster: app, filters: [edge, limit: {rate: 1/h, key: {header: x-device-type}}]}
  - {path: /split, cluster: app, filters: [edge, testers]}
  - {path: /shadow, cluster: app, filters: [colour: {device_type: {accept: on}, invalid: refuse, mode: shadow}]}
`, addr, server.Listener.Addr(), next), gateway.Options{})
	c := plainClient(t)
	f := func(target, fields, want string) {
		t.Helper()
		resp := ask(t, c, addr, "GET "+target, fields, nil)
		got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Yumen-Reason"))
		if resp.StatusCode == 200 {
			got = plain(t, resp)
		}
		if !regexp.MustCompile("^(?:" + want + ")$").MatchString(got) {
			t.Errorf("%s, %s: %s, want %s", target, fields, got, want)
		}
	}
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	const parent = "00-" + id + "-00f067aa0ba902b7-01"
	f("/", "User-Agent: x", `[0-9a-f]{32}\|[ab]\|\|unknown\|\|`)
	f("/", "User-Agent: x; X-Trace-Id: mine; X-User-Id: root; X-Device-Type: desktop", `[0-9a-f]{32}\|[ab]\|\|unknown\|\|`)
	f("/", "User-Agent: curl/8; Traceparent: "+parent+"; Tracestate: k=v", id+`\|[ab]\|\|bot\|`+parent+`\|k=v`)
	f("/", "User-Agent: x; Traceparent: nonsense; Tracestate: k=v", `[0-9a-f]{32}\|[ab]\|\|unknown\|\|`)
	f("/", "User-Agent: x; X-Abtest-Group: b", `[0-9a-f]{32}\|b\|\|unknown\|\|`)
	f("/", "User-Agent: x; X-Abtest-Group: c", "400 colour_invalid")
	f("/shadow", "User-Agent: x; X-Device-Type: toaster", `\|\|\|unknown\|\|`)
	f("/limited", "User-Agent: curl/8", `.*\|bot\|\|`)
	f("/limited", "User-Agent: curl/9; X-Device-Type: tablet", "429 rate_limited") // by what the edge says
	f("/split", "User-Agent: curl/8", "next ")
	f("/split", "User-Agent: Mozilla/5.0 (X11; Linux)", `.*\|desktop\|\|`)

	groups := map[string]string{}
	for i := range 60 {
		client := fmt.Sprint("X-Forwarded-For: 192.0.2.", i)
		for range 2 {
			got := strings.Split(plain(t, ask(t, c, addr, "GET /", client, nil)), "|")[1]
			if was := groups[client]; was != "" && was != got {
				t.Errorf("%s: %s, then %s", client, was, got)
			}
			groups[client] = got
		}
	}
	n := 0
	for _, g := range groups {
		if g == "b" {
			n++
		}
	}
	if n < 12 || n > 48 {
		t.Errorf("%d of 60 clients are in a half", n)
	}
	if n, err := p.Metric("yumen_guard_decisions_total", `guard="edge"`, `outcome="refused"`); err != nil || n != 1 {
		t.Errorf("%v refused: %v", n, err)
	}
	if n, err := p.Metric("yumen_guard_number", `guard="edge"`, `number="device_bot"`); err != nil || n < 4 {
		t.Errorf("%v bots: %v", n, err)
	}
	if n, err := p.Metric("yumen_guard_decisions_total", `guard="/shadow/colour"`, `mode="shadow"`, `outcome="refused"`); err != nil || n != 1 {
		t.Errorf("%v would have been refused: %v", n, err)
	}
}
