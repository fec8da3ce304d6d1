package retry

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// get is a GET that failed once, everything else being in its favour; post the same for a POST.
func get(change func(*Facts)) Facts {
	f := Facts{
		Attempt: 1, Idempotent: true, RequestBytes: 100, Failure: Reset,
		DeadlineLeft: time.Minute, BudgetRoom: true, Rnd: 1 << 63,
	}
	if change != nil {
		change(&f)
	}
	return f
}

func post(change func(*Facts)) Facts {
	f := get(change)
	f.Idempotent = false
	return f
}

func TestDecide(t *testing.T) {
	const half = backoffDefault / 2 // what Rnd makes of the first wait
	plain := New(Config{})
	three := New(Config{Attempts: 3})
	statuses := New(Config{On: OnDefault | OnGatewayStatus, Statuses: []int{429}})
	connectOnly := New(Config{On: OnConnectFailure})
	for _, c := range []struct {
		name string
		p    *Policy
		f    Facts
		want Verdict
	}{
		{"GET, reset", plain, get(nil), Verdict{Again: true, After: half, Spend: true, Why: AfterReset}},
		{"GET, timeout", plain, get(func(f *Facts) { f.Failure = Timeout }), Verdict{Again: true, After: half, Spend: true, Why: AfterTimeout}},
		{"GET, garbage", plain, get(func(f *Facts) { f.Failure, f.ResponseBytes = BadResponse, 7 }), Verdict{Again: true, After: half, Spend: true, Why: AfterBadResponse}},
		{"GET, cut response that the client saw nothing of", plain, get(func(f *Facts) { f.ResponseBytes = 50 }), Verdict{Again: true, After: half, Spend: true, Why: AfterReset}},
		{"GET, idle connection dead", plain, get(func(f *Facts) { f.Reused = true }), Verdict{Again: true, Fresh: true, Spend: true, Why: AfterIdleDeath}},
		{"GET, kept connection, part of a response", plain, get(func(f *Facts) { f.Reused, f.ResponseBytes = true, 1 }), Verdict{Again: true, After: half, Spend: true, Why: AfterReset}},
		{"GET, no connection", plain, get(func(f *Facts) { f.Failure, f.RequestBytes = ConnectFailure, 0 }), Verdict{Again: true, Why: AfterConnectFailure}},
		{"GET, no connection, no budget", plain, get(func(f *Facts) { f.Failure, f.RequestBytes, f.BudgetRoom = ConnectFailure, 0, false }), Verdict{Again: true, Why: AfterConnectFailure}},
		{"GET, third attempt", three, get(func(f *Facts) { f.Attempt = 2 }), Verdict{Again: true, After: 2 * half, Spend: true, Why: AfterReset}},
		{"GET, second failure", plain, get(func(f *Facts) { f.Attempt = 2 }), Verdict{Why: NoAttemptsLeft}},
		{"GET, no budget", plain, get(func(f *Facts) { f.BudgetRoom = false }), Verdict{Why: NoBudget}},
		{"GET, no time", plain, get(func(f *Facts) { f.DeadlineLeft = 0 }), Verdict{Why: NoDeadline}},
		{"GET, time for the wait alone", plain, get(func(f *Facts) { f.DeadlineLeft = half }), Verdict{Why: NoDeadline}},
		{"GET, response begun", plain, get(func(f *Facts) { f.ResponseBytes, f.ClientBytes = 9, 1 }), Verdict{Why: NoResponseBegun}},
		{"GET, 503, not asked for", plain, get(func(f *Facts) { f.Failure, f.Status, f.ResponseBytes = BadStatus, 503, 30 }), Verdict{Why: NoCondition}},
		{"GET, 503", statuses, get(func(f *Facts) { f.Failure, f.Status, f.ResponseBytes = BadStatus, 503, 30 }), Verdict{Again: true, After: half, Spend: true, Why: AfterStatus}},
		{"GET, 429", statuses, get(func(f *Facts) { f.Failure, f.Status = BadStatus, 429 }), Verdict{Again: true, After: half, Spend: true, Why: AfterStatus}},
		{"GET, 500", statuses, get(func(f *Facts) { f.Failure, f.Status = BadStatus, 500 }), Verdict{Why: NoCondition}},
		{"GET, reset, not asked for", connectOnly, get(nil), Verdict{Why: NoCondition}},

		{"PUT, body kept", plain, get(func(f *Facts) { f.BodyBytes, f.Replayable = 10, true }), Verdict{Again: true, After: half, Spend: true, Why: AfterReset}},
		{"PUT, body gone", plain, get(func(f *Facts) { f.BodyBytes = 10 }), Verdict{Why: NoBodyGone}},
		{"PUT, no connection, body still with the client", plain, get(func(f *Facts) { f.Failure, f.RequestBytes = ConnectFailure, 0 }), Verdict{Again: true, Why: AfterConnectFailure}},

		{"POST, reset", plain, post(nil), Verdict{Why: NoNotIdempotent}},
		{"POST, idle connection dead, one byte written", plain, post(func(f *Facts) { f.Reused, f.RequestBytes = true, 1 }), Verdict{Why: NoNotIdempotent}},
		{"POST, idle connection dead, nothing written", plain, post(func(f *Facts) { f.Reused, f.RequestBytes = true, 0 }), Verdict{Again: true, Fresh: true, Why: AfterIdleDeath}},
		{"POST, no connection", plain, post(func(f *Facts) { f.Failure, f.RequestBytes = ConnectFailure, 0 }), Verdict{Again: true, Why: AfterConnectFailure}},
		{"POST, early data on a connection that failed", plain, post(func(f *Facts) { f.Failure = ConnectFailure }), Verdict{Why: NoNotIdempotent}},
		{"POST, refused", plain, post(func(f *Facts) { f.Failure = Refused }), Verdict{Again: true, Spend: true, Why: AfterRefused}},
		{"POST, refused, body gone", plain, post(func(f *Facts) { f.Failure, f.BodyBytes = Refused, 1 }), Verdict{Why: NoBodyGone}},
		{"POST, 503", statuses, post(func(f *Facts) { f.Failure, f.Status = BadStatus, 503 }), Verdict{Why: NoNotIdempotent}},
		{"POST, timeout", plain, post(func(f *Facts) { f.Failure = Timeout }), Verdict{Why: NoNotIdempotent}},
	} {
		if got := c.p.Decide(c.f); got != c.want {
			t.Errorf("%s\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// every walks all combinations of facts and policies that matter.
func every(visit func(p *Policy, f Facts)) {
	bools := []bool{false, true}
	few := []int64{0, 1}
	for _, cfg := range []Config{{}, {Attempts: 1}, {Attempts: 9, On: 0x3f, Statuses: []int{500}}, {On: OnReset}, {BackoffBase: -1}} {
		p := New(cfg)
		for failure := ConnectFailure; failure <= BadStatus; failure++ {
			for _, status := range []int{500, 503} {
				for _, attempt := range []int{1, 2, 9} {
					for _, idempotent := range bools {
						for _, request := range few {
							for _, body := range few {
								for _, replayable := range bools {
									for _, response := range few {
										for _, client := range few {
											for _, reused := range bools {
												for _, left := range []time.Duration{-1, 0, time.Millisecond, time.Hour} {
													for _, room := range bools {
														visit(p, Facts{attempt, idempotent, request, body, replayable, response, client, failure, status, reused, left, room, math.MaxUint64, 0})
													}
												}
											}
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

// RFC 9110 section 9.2.2, over all combinations, and the other things that hold whatever else is the case.
func TestDecideKeepsItsPromisesRFC9110Section9_2_2(t *testing.T) {
	again := 0
	every(func(p *Policy, f Facts) {
		v := p.Decide(f)
		if !v.Again {
			if v.After != 0 || v.Fresh || v.Spend || v.Why < NoResponseBegun {
				t.Fatalf("a refusal with particulars: %+v of %+v", v, f)
			}
			return
		}
		again++
		switch {
		case !f.Idempotent && f.RequestBytes > 0 && f.Failure != Refused:
			t.Fatalf("what may have been processed is sent again: %+v", f)
		case f.ClientBytes > 0:
			t.Fatalf("the client has part of a response: %+v", f)
		case f.BodyBytes > 0 && !f.Replayable:
			t.Fatalf("there is no body to send: %+v", f)
		case f.Attempt >= p.attempts:
			t.Fatalf("too many attempts: %+v", f)
		case v.After >= f.DeadlineLeft:
			t.Fatalf("waits past the deadline: %+v, %+v", v, f)
		case v.Spend && !f.BudgetRoom, f.RequestBytes > 0 && !v.Spend:
			t.Fatalf("outside the budget: %+v, %+v", v, f)
		case v.Why >= NoResponseBegun:
			t.Fatalf("again for a reason not to: %+v", v)
		}
	})
	if again == 0 {
		t.Fatal("nothing is ever retried")
	}
}

// A whole request through failing attempts: the bytes of a request that is not idempotent reach a socket once at most.
func TestNonIdempotentRequestsAreProcessedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New(Config{Attempts: rapid.IntRange(1, 10).Draw(t, "attempts"), On: 0x3f, BackoffBase: -1})
		processed := 0
		for attempt := 1; ; attempt++ {
			f := Facts{
				Attempt: attempt, DeadlineLeft: time.Hour, BudgetRoom: true,
				Failure:       Failure(rapid.IntRange(0, int(BadStatus)).Draw(t, "failure")),
				Status:        503,
				RequestBytes:  rapid.Int64Range(0, 2).Draw(t, "written"),
				ResponseBytes: rapid.Int64Range(0, 2).Draw(t, "answered"),
				Reused:        rapid.Bool().Draw(t, "reused"),
			}
			if f.RequestBytes > 0 && f.Failure != Refused {
				processed++ // for all we know
			}
			if !p.Decide(f).Again {
				break
			}
		}
		if processed > 1 {
			t.Fatalf("may have been processed %d times", processed)
		}
	})
}

func TestBackoffIsFullJitterUnderADoublingBound(t *testing.T) {
	p := New(Config{Attempts: 10, BackoffBase: 10 * time.Millisecond, BackoffMax: 45 * time.Millisecond})
	for _, c := range []struct {
		attempts int
		rnd      uint64
		want     time.Duration
	}{
		{1, 0, 0}, {1, math.MaxUint64, 10*time.Millisecond - 1}, {1, 1 << 63, 5 * time.Millisecond},
		{2, 1 << 63, 10 * time.Millisecond}, {3, 1 << 63, 20 * time.Millisecond},
		{4, 1 << 63, 22500 * time.Microsecond}, {9, math.MaxUint64, 45*time.Millisecond - 1},
	} {
		if got := p.backoff(c.attempts, c.rnd); got != c.want {
			t.Errorf("after %d attempts, chance %#x: %v, want %v", c.attempts, c.rnd, got, c.want)
		}
	}
}

func TestNewPutsConfigInBounds(t *testing.T) {
	for _, c := range []struct {
		in       Config
		attempts int
		base     time.Duration
		most     time.Duration
	}{
		{Config{}, 2, 25 * time.Millisecond, 250 * time.Millisecond},
		{Config{Attempts: 1}, 1, 25 * time.Millisecond, 250 * time.Millisecond},
		{Config{Attempts: -3, BackoffBase: -1}, 1, 0, 0},
		{Config{Attempts: 1000, BackoffBase: time.Second}, 10, time.Second, 10 * time.Second},
	} {
		if p := New(c.in); p.attempts != c.attempts || p.backoffBase != c.base || p.backoffMax != c.most || p.Retries() != (c.attempts > 1) {
			t.Errorf("New(%+v) = %+v", c.in, p)
		}
	}
	p := New(Config{Statuses: []int{-1, 0, 99, 200, 425, 599, 600, 1 << 20}})
	for _, c := range []struct {
		status int
		want   bool
	}{{-1, false}, {200, false}, {425, true}, {424, false}, {599, true}, {600, false}, {1 << 20, false}} {
		if got := p.RetriesStatus(c.status); got != c.want {
			t.Errorf("RetriesStatus(%d) = %v", c.status, got)
		}
	}
}

func TestTryTimeout(t *testing.T) {
	for _, c := range []struct{ perTry, left, want time.Duration }{
		{0, time.Second, time.Second}, {2, 5, 2}, {5, 2, 2},
	} {
		if got := New(Config{PerTry: c.perTry}).TryTimeout(c.left); got != c.want {
			t.Errorf("%v a try with %v left: %v, want %v", c.perTry, c.left, got, c.want)
		}
	}
}

func TestIdempotentMethodsRFC9110Section9_2_2(t *testing.T) {
	for _, c := range []struct {
		method string
		want   bool
	}{
		{"GET", true}, {"HEAD", true}, {"OPTIONS", true}, {"TRACE", true}, {"PUT", true}, {"DELETE", true},
		{"POST", false}, {"PATCH", false}, {"CONNECT", false}, {"get", false}, {"", false}, {"GETX", false},
	} {
		if got := Idempotent([]byte(c.method)); got != c.want || Idempotent(c.method) != c.want {
			t.Errorf("Idempotent(%q) = %v", c.method, got)
		}
	}
}
