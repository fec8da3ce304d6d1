package gateway_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
)

// judging refuses paths that begin with /no, delays /slow in word only, and passes the rest.
func judging(g *gateway.Guard) gateway.Hooks {
	return gateway.Hooks{Name: g.Kind, Request: func(x *gateway.Exchange) gateway.Verdict {
		j := x.Judgement(g)
		j.Key = append([]byte("path="), x.Request.PathBytes()...)
		j.Number("limit", 100, "/s")
		j.Number("seen", 131, "/s")
		switch path := string(x.Request.PathBytes()); {
		case strings.HasPrefix(path, "/no"):
			j.Outcome, j.Status, j.Reason, j.Text, j.RetryAfter = gateway.Refused, 429, "too_many", "too many of them", 1200*time.Millisecond
			j.Fields = []gateway.Field{{Name: "RateLimit", Value: `"a";r=0`}}
		case path == "/slow":
			j.Outcome, j.Reason = gateway.Delayed, "shaped"
		}
		return x.Judge(j)
	}}
}

func TestARefusalIsAnsweredCountedAndRecorded(t *testing.T) {
	g := gateway.NewGuard("limit", "per-path", gateway.Enforce, nil)
	r := start(t, filtered(t, judging(g)))
	r.gateway.SetDecisions(3, 0)
	resp, err := http.Get("http://" + r.addr + "/no/1")
	check(t, err)
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	resp.Body.Close()
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "2" || resp.Header.Get("RateLimit") == "" ||
		resp.Header.Get("X-Yumen-Reason") != "too_many" || !strings.HasPrefix(string(text), "too many of them\n") {
		t.Errorf("%s %v %s", resp.Status, resp.Header, text)
	}
	r.wants(t, "GET", "/slow", "", "200  GET /slow")
	r.wants(t, "GET", "/yes", "", "200  GET /yes")

	id := resp.Header.Get("X-Request-Id")
	list := r.gateway.Decisions(gateway.DecisionQuery{RequestID: id, Max: 10})
	if len(list) != 1 {
		t.Fatalf("%d records of request %s", len(list), id)
	}
	d := list[0]
	if got := strings.TrimSpace(fmt.Sprintln(d.Guard, d.Kind, d.Mode, d.Outcome, d.Status, d.Reason, d.Key, d.Revision, d.Route, d.Method, d.Path, d.RetryAfter, d.Numbers)); got !=
		"per-path limit enforce refused 429 too_many path=/no/1 1 all GET /no/1 1.2s [{limit 100 /s} {seen 131 /s}]" {
		t.Errorf("the record says %s", got)
	}
	if all := r.gateway.Decisions(gateway.DecisionQuery{Max: 10}); len(all) != 2 || all[0].Outcome != gateway.Delayed {
		t.Errorf("records, newest first: %v", all)
	}
	for range 5 {
		r.wants(t, "GET", "/no/2", "", "429 too_many")
	}
	if all := r.gateway.Decisions(gateway.DecisionQuery{Max: 10}); len(all) != 3 || all[2].Path != "/no/2" {
		t.Errorf("a ring of three keeps the last three, found %v", all)
	}
	if all := r.gateway.Decisions(gateway.DecisionQuery{Refused: true, Key: "path=/no/2", Guard: "per-path", Route: "all", Max: 2}); len(all) != 2 {
		t.Errorf("%d records of the two asked for", len(all))
	}
	if p, d, n := g.Count(gateway.Passed), g.Count(gateway.Delayed), g.Count(gateway.Refused); p != 1 || d != 1 || n != 6 {
		t.Errorf("counted %d passed, %d delayed, %d refused", p, d, n)
	}
}

func TestAGuardInTheShadowDoesNothing(t *testing.T) {
	g := gateway.NewGuard("limit", "per-path", gateway.Shadow, nil)
	var lines string
	s := filtered(t, judging(g))
	lines = logged(t, s, func(r *running) {
		r.wants(t, "GET", "/no", "", "200  GET /no")
		r.wants(t, "GET", "/yes", "", "200  GET /yes")
		http.DefaultClient.CloseIdleConnections()
		list := r.gateway.Decisions(gateway.DecisionQuery{Max: 10})
		if len(list) != 1 || list[0].Mode != gateway.Shadow || list[0].Outcome != gateway.Refused || list[0].Status != 429 {
			t.Errorf("records: %v", list)
		}
	})
	if n := strings.Count(lines, `"shadow":"per-path"`); n != 1 || strings.Contains(lines, `"guard"`) {
		t.Errorf("the access log says %s", lines)
	}
}

func TestPassesAreRecordedOfASample(t *testing.T) {
	g := gateway.NewGuard("limit", "per-path", gateway.Enforce, nil)
	r := start(t, filtered(t, judging(g)))
	r.gateway.SetDecisions(100, 4)
	for range 20 {
		r.wants(t, "GET", "/yes", "", "200")
	}
	if n := len(r.gateway.Decisions(gateway.DecisionQuery{Max: 100})); n != 5 {
		t.Errorf("%d passes of 20 recorded, want one in four", n)
	}
}

// A filter before the guard has a better answer than its refusal; one behind it is not asked.
func TestAFailureIsTakenOver(t *testing.T) {
	g := gateway.NewGuard("limit", "per-path", gateway.Enforce, nil)
	taker := func(name string) gateway.Hooks {
		return gateway.Hooks{Name: name, Failed: func(x *gateway.Exchange, f *gateway.Failure) gateway.Verdict {
			if string(x.Request.PathBytes()) == "/no/way" {
				return gateway.GoOn
			}
			return x.Answer(&gateway.Respond{Status: 203, Reason: name, Body: []byte("instead of " + f.Reason)})
		}}
	}
	s := filtered(t, taker("outer"), judging(g), taker("inner"))
	s.routes[0].retry.Attempts = 1
	r := start(t, s)
	r.wants(t, "GET", "/no", "", "203 outer instead of too_many")
	r.wants(t, "GET", "/no/way", "", "429 too_many")
	r.wants(t, "GET", "/yes", "", "200  GET /yes")
	dead := s
	dead.endpoints = []string{refusing(t)}
	r = start(t, dead)
	r.wants(t, "GET", "/yes", "", "203 inner instead of connect_failed")
	r.wants(t, "POST", "/yes", "body", "203 inner instead of connect_failed")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// Nothing that a guard has worked out makes a record that cannot be shown, or an answer that makes no sense.
func TestNumbersThatAreNone(t *testing.T) {
	g := gateway.NewGuard("limit", "per-path", gateway.Enforce, nil)
	r := start(t, filtered(t, gateway.Hooks{Name: "limit", Request: func(x *gateway.Exchange) gateway.Verdict {
		j := x.Judgement(g)
		j.Outcome, j.Status, j.Reason, j.RetryAfter = gateway.Refused, 503, "too_many", math.MaxInt64
		j.Number("ratio", math.NaN(), "")
		j.Number("limit", math.Inf(1), "/s")
		j.Number("seen", 1, "")
		return x.Judge(j)
	}}))
	resp, err := http.Get("http://" + r.addr)
	check(t, err)
	resp.Body.Close()
	if got := resp.Header["Retry-After"]; fmt.Sprint(got) != "[9223372037]" {
		t.Errorf("Retry-After is %s", got)
	}
	list := r.gateway.Decisions(gateway.DecisionQuery{Max: 10})
	if len(list) != 1 || fmt.Sprint(list[0].Numbers) != "[{seen 1 }]" {
		t.Errorf("recorded %v", list)
	}
	r.gateway.SetDecisions(0, 0)
	if list := r.gateway.Decisions(gateway.DecisionQuery{Max: 10}); len(list) != 0 {
		t.Errorf("%d records are left of none", len(list))
	}
}

// Words are kept whole up to a bound, and cut between letters. There is room for two.
func TestWordsOfARecordAreBounded(t *testing.T) {
	full := strings.Repeat("x", 96)
	for _, c := range []struct {
		said []string
		want string
	}{
		{nil, "[]"},
		{[]string{""}, "[{a }]"},
		{[]string{"one", "two"}, "[{a one} {b two}]"},
		{[]string{"one", "two", "three"}, "[{a one} {b two}]"},
		{[]string{full, full}, "[{a " + full + "} {b " + full + "}]"},
		{[]string{full + "x", "two"}, "[{a " + full[:93] + "...} {b two}]"},
		{[]string{full[:91] + "\u4e16" + full}, "[{a " + full[:91] + "...}]"},
		{[]string{strings.Repeat("\x80", 200)}, "[{a " + strings.Repeat("\x80", 89) + "...}]"},
	} {
		g := gateway.NewGuard("words", "test", gateway.Enforce, nil)
		r := start(t, filtered(t, gateway.Hooks{Name: "words", Request: func(x *gateway.Exchange) gateway.Verdict {
			j := x.Judgement(g)
			j.Outcome, j.Status, j.Reason = gateway.Refused, 403, "test"
			for i, value := range c.said {
				j.Word([]string{"a", "b", "c"}[i], []byte(value))
			}
			return x.Judge(j)
		}}))
		for range 2 { // the memory is used again
			r.wants(t, "GET", "/", "", "403 test")
		}
		for _, d := range r.gateway.Decisions(gateway.DecisionQuery{Max: 10}) {
			if got := fmt.Sprint(d.Words); got != c.want {
				t.Errorf("%q: got %q, want %q", c.said, got, c.want)
			}
		}
	}
}
