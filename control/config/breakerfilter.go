package config

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// BreakerFilter stops requests to what fails.
type BreakerFilter struct {
	Pos
	Scope       BreakerScope
	State       BreakerState
	On          BreakerOn
	Window      time.Duration
	Volume      int
	ErrorRatio  Percent // 0: off
	Consecutive int     // 0: off
	SlowThan    time.Duration
	SlowRatio   Percent
	OpenFor     time.Duration
	OpenMax     time.Duration
	Probes      int
	Ramp        []Percent
	RampStep    time.Duration
	Adaptive    *BreakerAdaptive // nil: off
	Guard       GuardMode
}

func (v *BreakerFilter) guardMode() GuardMode { return v.Guard }

// BreakerScope is what has a breaker of its own.
type BreakerScope string

// The scopes.
const (
	BreakerOfRoute   BreakerScope = "route"
	BreakerOfCluster BreakerScope = "cluster"
)

// BreakerState is an operator's word about the state.
type BreakerState string

// The words.
const (
	BreakerAuto   BreakerState = "auto"
	BreakerOpen   BreakerState = "open"
	BreakerClosed BreakerState = "closed"
)

// BreakerAdaptive is the rule that learns how a service looks when it is well.
type BreakerAdaptive struct {
	Score      float64
	Evidence   float64
	Volume     int
	Learn      time.Duration
	RefusedMax Percent
	CoolDown   time.Duration
	Relearn    time.Duration
}

// breakerShortest is the shortest time that ten ticks a second can tell apart.
const breakerShortest = 100 * time.Millisecond

var breakerFilterObject = sync.OnceValue(func() *object[BreakerFilter] {
	type T = BreakerFilter
	return &object[T]{
		name: "breaker", article: "a",
		about: "Stops requests to what fails, and lets them back step by step. Who is refused is answered 503 with Retry-After. breaker: on has the defaults.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("scope", choice("scope", BreakerOfRoute, BreakerOfCluster), func(v *T) *BreakerScope { return &v.Scope }, BreakerOfRoute,
				`What has a breaker of its own: each route that uses the filter, or each cluster of such routes. Of each route, since one broken path of a service is no reason to refuse the others.`),
			def("state", choice("state", BreakerAuto, BreakerOpen, BreakerClosed), func(v *T) *BreakerState { return &v.State }, BreakerAuto,
				`auto, or an order: open refuses all, closed refuses none and counts nothing. Either order ends with a closed breaker that has forgotten what it counted.`),
			def("on", breakerOn(), func(v *T) *BreakerOn { return &v.On }, BreakerOn{Connect: true, Reset: true, Timeout: true, GRPC: [16]bool{14: true}, Statuses: []StatusRange{{500, 500}, {502, 504}}},
				`What counts as a failure: connect (no connection, or no endpoint to have one with), reset (broken before its end, or no valid HTTP), timeout, a status (503), a range (502-504) or a class (5xx), or the status that a gRPC call ended with: grpc_unavailable, grpc_internal, grpc_deadline_exceeded, grpc_resource_exhausted, grpc_aborted. Of these only unavailable by default: the others are often the request's fault. Not 501 and 505 by default, which tell of the request. What a client brings about never counts.`),
			def("window", duration(time.Second, 10*time.Minute), func(v *T) *time.Duration { return &v.Window }, 10*time.Second,
				`What the ratios are taken over. It slides by tenths.`),
			def("volume", integer(1, 1_000_000), func(v *T) *int { return &v.Volume }, 20,
				`Requests that must have ended within the window before a ratio counts: of three requests, two failures are chance.`),
			def("error_ratio", orOff(percent()), func(v *T) *Percent { return &v.ErrorRatio }, 50,
				`Failures that open. Half: a service that fails less often still does more good than a refusal.`),
			def("consecutive", orOff(integer(1, 1_000_000)), func(v *T) *int { return &v.Consecutive }, 20,
				`Failures in a row that open at once, over all loops. Twenty in a row do not happen to a service that answers at all.`),
			def("slow_than", orOff(duration(time.Millisecond, time.Hour)), func(v *T) *time.Duration { return &v.SlowThan }, 0,
				`Calls are slow whose answer begins no sooner. Off: what is slow, only the service knows.`),
			def("slow_ratio", percent(), func(v *T) *Percent { return &v.SlowRatio }, 50,
				`Slow calls that open, where slow_than says what they are.`),
			def("open_for", duration(breakerShortest, time.Hour), func(v *T) *time.Duration { return &v.OpenFor }, 5*time.Second,
				`How long it is open before the first probes: what a process takes to start again.`),
			def("open_max", duration(breakerShortest, 24*time.Hour), func(v *T) *time.Duration { return &v.OpenMax }, 15*time.Second,
				`Each return that fails doubles open_for, up to this: a failed return costs a few requests, one that waits costs all that could have been answered.`),
			def("probes", integer(1, 10_000), func(v *T) *int { return &v.Probes }, 5,
				`Requests that are let through to find out, at first and again on each step of the ramp. One may be unlucky, five are not.`),
			def("ramp", oneOrMore(percent()), func(v *T) *[]Percent { return &v.Ramp }, []Percent{1, 5, 25},
				`Shares of the requests that pass, step by step, after the probes went well: what has just come up has cold caches, and its clients have waited.`),
			def("ramp_step", duration(breakerShortest, time.Hour), func(v *T) *time.Duration { return &v.RampStep }, time.Second,
				`How long a step takes at least.`),
			breakerAdaptiveKey(),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		short: &short[T]{
			about: "on",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, _ *T) {
				var is bool
				before := d.errors
				boolean().read(d, n, &is)
				if !is && d.errors == before {
					d.fail(n, "remove the filter from the list, or write breaker: {mode: off}", "a filter that is off does nothing")
				}
			},
			schema: boolean().schema,
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			if v.OpenMax < v.OpenFor {
				at := g.key("open_max")
				if at == nil {
					at = n
				}
				d.fail(at, "", "it is open for %s at first, above its open_max of %s", formatDuration(v.OpenFor), formatDuration(v.OpenMax))
			}
			if !slices.IsSorted(v.Ramp) {
				d.fail(g.key("ramp"), "", "the shares of a ramp go up")
			}
			if g.key("slow_ratio") != nil && v.SlowThan == 0 {
				d.warn(g.key("slow_ratio"), "add slow_than: 1s", "slow_ratio means nothing where slow_than does not say what is slow")
			}
			if v.ErrorRatio == 0 && v.Consecutive == 0 && v.SlowThan == 0 && v.Adaptive == nil && v.State == BreakerAuto {
				d.fail(n, "leave one of error_ratio, consecutive, slow_than, adaptive", "nothing opens the breaker")
			}
		},
	}
})

// breakerAdaptiveKey is the learning rule, on by default: bench/breakers/REPORT.md has why.
func breakerAdaptiveKey() key[BreakerFilter] {
	return on("adaptive", breakerAdaptiveObject, func(v *BreakerFilter) **BreakerAdaptive { return &v.Adaptive },
		`Learn how the service looks when it is well, and open when it does not, beside the other conditions and never instead of them. On: over recorded kinds of incidents it sees in seconds what fixed ratios see late or never, at no more false alarms.`)
}

var breakerAdaptiveObject = sync.OnceValue(func() *object[BreakerAdaptive] {
	type T = BreakerAdaptive
	return &object[T]{
		name: "breaker_adaptive", article: "a",
		about: "Scores each second of a service by its p95 latency, failures and timeouts against those of its healthy seconds.",
		keys: []key[T]{
			def("score", decimal(0.3, 0.95), func(v *T) *float64 { return &v.Score }, 0.55,
				`Score from which a second speaks against the service. Healthy seconds score 0.35 to 0.5; one with a single feature far off, 0.7 to 0.76; one with all three, above 0.85.`),
			def("evidence", decimal(0.01, 10), func(v *T) *float64 { return &v.Evidence }, 0.45,
				`Evidence that opens: what the seconds score above score, added up. Two to three bad seconds, or a longer time of doubtful ones.`),
			def("volume", integer(5, 1_000_000), func(v *T) *int { return &v.Volume }, 20,
				`Requests that a second must have to be scored; one of fewer is joined with the next, up to ten.`),
			def("learn", duration(10*time.Second, 10*time.Minute), func(v *T) *time.Duration { return &v.Learn }, 30*time.Second,
				`Healthy seconds it takes before a score counts.`),
			def("refused_max", percent(), func(v *T) *Percent { return &v.RefusedMax }, 90,
				`What may be refused at most while only the score has opened: if it is wrong, a tenth of the requests still say so.`),
			def("cool_down", duration(0, time.Hour), func(v *T) *time.Duration { return &v.CoolDown }, 10*time.Second,
				`How long after closing the score is silent: what has just recovered looks like nothing it has learnt.`),
			def("relearn", duration(time.Second, 24*time.Hour), func(v *T) *time.Duration { return &v.Relearn }, 5*time.Minute,
				`How long the score alone may keep it from closing. Then the service has changed for good, and is learnt anew.`),
		},
	}
})

// BreakerOn is what counts as a failure.
type BreakerOn struct {
	Connect, Reset, Timeout bool
	GRPC                    [16]bool // by the status that a call ended with
	Statuses                []StatusRange
}

// words are the conditions that have one.
func (v *BreakerOn) words() []switchWord {
	list := []switchWord{{"connect", &v.Connect}, {"reset", &v.Reset}, {"timeout", &v.Timeout}}
	for _, s := range grpcStatuses {
		if s != GRPCCancelled { // which is no failure of the upstream
			list = append(list, switchWord{s.word(), &v.GRPC[s.Code()]})
		}
	}
	return list
}

// breakerOn reads the list of conditions.
func breakerOn() kind[BreakerOn] {
	return causes[BreakerOn]{
		word: "condition", unknown: "is no failure that a breaker knows",
		known:    "known: connect, reset, timeout, a status (503), a range (502-504), a class (5xx), the status of a gRPC call such as grpc_unavailable",
		words:    (*BreakerOn).words,
		statuses: func(v *BreakerOn) *[]StatusRange { return &v.Statuses },
	}.kind()
}

// decimal is a number with a fraction, from low to high.
func decimal(low, high float64) kind[float64] {
	format := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	k := parsed("number", "0.55", `[0-9]+(\.[0-9]+)?`, func(s string) (v float64, cause, fix string) {
		v, err := strconv.ParseFloat(s, 64)
		switch {
		case !isNumber(s) || err != nil:
			return 0, quote(s) + " is not a number", "write it as 0.55"
		case v < low || v > high:
			return 0, fmt.Sprintf("%s is not between %s and %s", s, format(low), format(high)), ""
		}
		return v, "", ""
	}, format)
	k.schema = func(b *schemaBuilder) map[string]any {
		return orVariable(anyOf(map[string]any{"type": "number", "minimum": low, "maximum": high}, patternSchema(`[0-9]+(\.[0-9]+)?`)))
	}
	return k
}
