package breaker

import (
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/health"
)

// all counts whatever can count.
var all = Spec{On: On{Connect: true, Reset: true, Timeout: true, Statuses: []int{500, 503}, GRPC: 1<<14 | 1<<13}, SlowThan: time.Second}

func compiled(t testing.TB, s Spec) *Filter {
	t.Helper()
	f, problems := Compile(s, gateway.NewGuard("breaker", "test", gateway.Enforce, nil), nil)
	if f == nil {
		t.Fatal(problems)
	}
	return f
}

func failureOf(status int, reason string, o health.Outcome) *gateway.Failure {
	return &gateway.Failure{Side: gateway.Upstream, Status: status, Reason: reason, Outcome: o}
}

func TestWhatAnEndingMeans(t *testing.T) {
	const (
		nothing = "nothing"
		good    = "good"
		failure = "failure"
		timeout = "failure, timeout"
	)
	failed := func(f *gateway.Failure) gateway.Outcome {
		return gateway.Outcome{Status: f.Status, Reason: f.Reason, Failure: f, Health: f.Outcome, FirstByte: -1, Attempts: 1, Took: time.Millisecond}
	}
	answer := func(status int, h health.Outcome) gateway.Outcome {
		return gateway.Outcome{Status: status, Health: h, FirstByte: time.Millisecond, Attempts: 1, Took: time.Hour}
	}
	call := func(status int, h health.Outcome) gateway.Outcome {
		o := answer(200, h)
		o.GRPC = status
		return o
	}
	for _, c := range []struct {
		name    string
		o       gateway.Outcome
		pending bool // the client had not sent all of its request
		want    string
	}{
		{"200", answer(200, health.OK), false, good},
		{"404", answer(404, health.OK), false, good},
		{"500, listed", answer(500, health.ServerError), false, failure},
		{"501, not listed", answer(501, health.ServerError), false, good},
		{"503, listed", answer(503, health.GatewayError), false, failure},
		{"a status beyond all lists", answer(999, health.OK), false, good},
		{"a call that ended with unavailable", call(14, health.GatewayError), false, failure},
		{"a call that ended with internal, listed", call(13, health.OK), false, failure},
		{"a call that found nothing, not listed", call(5, health.OK), false, good},
		{"a call that succeeded", call(0, health.OK), false, good},
		{"500, listed, in whose place somebody gave another", failed(failureOf(500, gateway.ReasonStatus, health.ServerError)), false, failure},
		{"501, not listed, in whose place somebody gave another", failed(failureOf(501, gateway.ReasonStatus, health.ServerError)), false, good},
		{"101", answer(101, health.OK), false, good},
		{"refused connection", failed(failureOf(502, "connect_failed", health.ConnectFailure)), false, failure},
		{"connecting took too long", failed(failureOf(504, "connect_timeout", health.ConnectFailure)), false, timeout},
		{"reset", failed(failureOf(502, "upstream_reset", health.Reset)), false, failure},
		{"no HTTP", failed(failureOf(502, "bad_response", health.BadResponse)), false, failure},
		{"no answer in time", failed(failureOf(504, "first_byte_timeout", health.Timeout)), false, timeout},
		{"no endpoint", failed(failureOf(503, "no_healthy_endpoint", health.OK)), false, failure},
		{"out of time with all of the request sent", failed(failureOf(504, "request_timeout", health.Aborted)), false, timeout},
		{"out of time while the client still sends", failed(failureOf(504, "request_timeout", health.Aborted)), true, nothing},
		{"a neighbour on the connection", failed(failureOf(502, "connection_lost", health.Aborted)), false, nothing},
		{"the queue is full", failed(&gateway.Failure{Side: gateway.Self, Status: 503, Reason: "queue_full", Outcome: health.Aborted}), false, nothing},
		{"the client sent too much", failed(&gateway.Failure{Side: gateway.Client, Status: 413, Reason: "body_too_large"}), false, nothing},
		{"the client's deadline is over at once", failed(&gateway.Failure{Side: gateway.Client, Status: 504, Reason: "deadline_exceeded"}), false, nothing},
		{"the client is gone", gateway.Outcome{Status: 499, Reason: "client_gone", ClientGone: true, Failure: failureOf(502, "x", health.Reset), Attempts: 1, FirstByte: -1}, false, nothing},
		{"another guard refused", gateway.Outcome{Status: 429, Reason: "rate_limited", FirstByte: -1, Health: health.Aborted}, false, nothing},
		{"the configuration answered", gateway.Outcome{Status: 500, Reason: "respond", FirstByte: -1, Health: health.Aborted}, false, nothing},
		{"an answer without an attempt", gateway.Outcome{Status: 503, FirstByte: -1}, false, nothing},
	} {
		e := compiled(t, all).settings.judge(&c.o, !c.pending)
		got := nothing
		switch {
		case e.counts && e.timedOut && e.failed:
			got = timeout
		case e.counts && e.failed:
			got = failure
		case e.counts:
			got = good
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestWhatIsNotListedIsNoFailure(t *testing.T) {
	s := compiled(t, Spec{On: On{Statuses: []int{599}}}).settings
	for _, o := range []gateway.Outcome{
		{Status: 502, Reason: "connect_failed", Failure: failureOf(502, "connect_failed", health.ConnectFailure), FirstByte: -1},
		{Status: 504, Reason: "first_byte_timeout", Failure: failureOf(504, "first_byte_timeout", health.Timeout), FirstByte: -1},
		{Status: 502, Reason: "upstream_reset", Failure: failureOf(502, "upstream_reset", health.Reset), FirstByte: -1},
		{Status: 500, Attempts: 1}, {Status: 200, Attempts: 1, GRPC: 14},
	} {
		if e := s.judge(&o, true); !e.counts || e.failed {
			t.Errorf("%+v: %+v", o, e)
		}
	}
	if e := s.judge(&gateway.Outcome{Status: 599, Attempts: 1}, true); !e.failed {
		t.Error("599 is listed")
	}
}

func TestSlowIsUntilTheAnswerBeginsAndNotUntilTheClientHasReadIt(t *testing.T) {
	s := compiled(t, all).settings
	for _, c := range []struct {
		name string
		o    gateway.Outcome
		want bool
	}{
		{"a quick answer that a slow client reads", gateway.Outcome{Status: 200, FirstByte: time.Millisecond, Took: time.Hour, Attempts: 1}, false},
		{"a late answer", gateway.Outcome{Status: 200, FirstByte: time.Second, Took: time.Second, Attempts: 1}, true},
		{"no answer", gateway.Outcome{Status: 504, Reason: "first_byte_timeout", Failure: failureOf(504, "first_byte_timeout", health.Timeout), FirstByte: -1, Took: time.Second}, true},
		{"the client's deadline, after long enough", gateway.Outcome{Status: 504, Reason: "deadline_exceeded",
			Failure: &gateway.Failure{Side: gateway.Client, Reason: "deadline_exceeded"}, FirstByte: -1, Took: 2 * time.Second}, true},
	} {
		if e := s.judge(&c.o, true); !e.counts || e.slow != c.want {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func TestSettingsThatMeanNothingAreRefused(t *testing.T) {
	for _, c := range []struct {
		s    Spec
		want string
	}{
		{Spec{}, "nothing counts as a failure"},
		{Spec{On: On{Statuses: []int{302}}}, "an answer with status 302 is no failure"},
	} {
		_, problems := Compile(c.s, gateway.NewGuard("breaker", "test", gateway.Enforce, nil), nil)
		if len(problems) != 1 || problems[0].Cause != c.want {
			t.Errorf("%+v: %v", c.s, problems)
		}
	}
}

func TestAFilterSaysWhatItDoes(t *testing.T) {
	for _, c := range []struct {
		s    Spec
		want string
	}{
		{all, "a breaker for each route: opens at 50 % failures in 10s, from 20 requests on, or 20 failures in a row; for 5s at first, up to 15s, then lets 5 probes through, 1 %, 5 %, 25 %"},
		{Spec{On: all.On, Hold: HeldOpen, Scope: ByCluster}, "a breaker for each cluster: held open, it refuses all"},
	} {
		if got := compiled(t, c.s).String(); got != c.want {
			t.Errorf("%s\nwant\n%s", got, c.want)
		}
	}
}
