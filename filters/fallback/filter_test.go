package fallback

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

func TestCausesOfFailures(t *testing.T) {
	f := func(failure gateway.Failure, want string) {
		t.Helper()
		if got := causeOf(&failure).String(); got != want {
			t.Errorf("%+v: %q, want %q", failure, got, want)
		}
	}
	up := func(reason string, kind retry.Failure) gateway.Failure {
		return gateway.Failure{Side: gateway.Upstream, Reason: reason, Kind: kind}
	}
	f(up("connect_failed", retry.ConnectFailure), "connect")
	f(up("connect_timeout", retry.ConnectFailure), "connect")
	f(up("upstream_reset", retry.Reset), "reset")
	f(up("bad_response", retry.BadResponse), "reset")
	f(up("upstream_refused", retry.Refused), "reset")
	f(up("first_byte_timeout", retry.Timeout), "timeout")
	f(up("request_timeout", 0), "timeout")
	f(up("no_healthy_endpoint", 0), "unavailable")
	f(gateway.Failure{Side: gateway.Self, Reason: "all_drained"}, "unavailable")
	f(gateway.Failure{Side: gateway.Self, Reason: "queue_full", Kind: retry.ConnectFailure}, "overload")
	f(gateway.Failure{Side: gateway.Self, Reason: "breaker_open", Status: 503}, "breaker")
	f(gateway.Failure{Side: gateway.Client, Reason: "deadline_exceeded", Status: 504}, "")
	f(gateway.Failure{Side: gateway.Client, Reason: "body_too_large", Status: 413}, "")
	f(gateway.Failure{Side: gateway.Client, Reason: "rate_limited", Status: 429}, "")
	f(gateway.Failure{Side: gateway.Self, Reason: "body_filter_failed", Status: 502}, "")
}

func TestEveryProblemIsTold(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		_, problems := Compile(s, nil)
		var list []string
		for _, p := range problems {
			if p.Fix == "" {
				t.Errorf("no fix: %+v", p)
			}
			list = append(list, p.Field+": "+p.Cause)
		}
		if got := strings.Join(list, "\n"); got != want {
			t.Errorf("%+v:\n%s\nwant\n%s", s, got, want)
		}
	}
	respond := &Respond{Status: 200}
	f(Spec{}, ": the filter has nothing to fall back on")
	f(Spec{RetryAfter: time.Second}, "")
	f(Spec{Respond: respond, Statuses: []int{500, 404, 599}}, "")
	f(Spec{Respond: respond, Statuses: []int{399}}, "on: an answer with status 399 is no failure")
	f(Spec{Cluster: &gateway.ClusterRef{Name: "b"}, Statuses: []int{503}}, "")
	f(Spec{RetryAfter: time.Second, Statuses: []int{503}}, "on: there is nothing to put in the place of an answer")
}

func TestText(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		filter, problems := Compile(s, nil)
		if filter == nil {
			t.Fatal(problems)
		}
		if got := filter.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	f(Spec{RetryAfter: 5 * time.Second}, "on connect, reset, timeout, unavailable, breaker: 503 with Retry-After 5s")
	f(Spec{On: Connect, Statuses: []int{502, 503}, Cluster: &gateway.ClusterRef{Name: "backup"}, Respond: &Respond{Status: 200}, RetryAfter: time.Minute},
		"on connect and 2 statuses: cluster backup, then a fixed answer 200, then 503 with Retry-After 1m0s")
}

func TestTheHeadOfAReplacedAnswer(t *testing.T) {
	filter, problems := Compile(Spec{Respond: &Respond{Status: 200, Body: []byte("sorry"), Fields: []gateway.Field{{Name: "X-A", Value: "b"}}}}, nil)
	if filter == nil {
		t.Fatal(problems)
	}
	h := &message.Head{Status: 503, Length: 1000}
	h.Reason = h.StoreString("Oh No")
	for _, f := range []string{"Date: now", "Via: 1.1 y", "Content-Type: text/html", "Content-Encoding: gzip", "ETag: x", "Set-Cookie: a=b", "Cache-Control: max-age=9",
		"Access-Control-Allow-Origin: *", "Vary: Origin", "Retry-After: 9", "Trailer: X-Sum", "X-Request-ID: 7"} {
		name, value, _ := strings.Cut(f, ": ")
		h.AddString(name, value)
	}
	r := filter.fixed()
	rewrite(h, &r)
	var list []string
	for _, f := range h.All() {
		if !f.Gone {
			list = append(list, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	want := "Date: now, Via: 1.1 y, Access-Control-Allow-Origin: *, Vary: Origin, X-Request-ID: 7, X-A: b, Content-Type: text/plain; charset=utf-8, " +
		"X-Yumen-Reason: fallback"
	if got := strings.Join(list, ", "); got != want || h.Status != 200 || h.Length != 5 || h.Reason.Len != 0 {
		t.Errorf("%d, %d bytes: %s", h.Status, h.Length, got)
	}
}

func TestAFileTakesThePlaceOfTheBody(t *testing.T) {
	var file atomic.Pointer[File]
	filter, _ := Compile(Spec{Respond: &Respond{Status: 503, File: &file}}, nil)
	for _, text := range []string{"one", "two"} { // put in anew
		f, err := ParseFile([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		file.Store(f)
		if r := filter.fixed(); string(r.Body) != text {
			t.Errorf("%q", r.Body)
		}
	}
	if _, err := ParseFile(make([]byte, FileBytesMax+1)); err == nil {
		t.Error("a file larger than its bound is taken")
	}
}

func TestTheOtherBodyIsSentOnce(t *testing.T) {
	p := buf.NewPool(0)
	for _, parts := range [][]string{nil, {"one"}, {"one", "two", "three"}} {
		s := &substitute{body: []byte("sorry")}
		var in, out buf.Chain
		for _, part := range parts {
			in.AppendString(p, part)
			if err := s.Data(&in, len(part), &out, p); err != nil || in.Len() > 0 {
				t.Fatal(err, in.Len())
			}
			if got := string(out.Front()); got != "sorry" { // with the first part: the rest may be long in coming
				t.Errorf("%q", got)
			}
		}
		if err := s.End(&out, p); err != nil || string(out.Front()) != "sorry" {
			t.Errorf("%q, %v", out.Front(), err)
		}
		out.Release(p)
	}
}
