package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// FallbackFilter is what a route does when its upstream has no answer.
type FallbackFilter struct {
	Pos
	On         FallbackOn
	Cluster    Text
	Respond    *Respond
	File       string // the body, of Respond or of a 503
	RetryAfter time.Duration
	Guard      GuardMode
}

func (v *FallbackFilter) guardMode() GuardMode { return v.Guard }

// FallbackOn is for what the chain is gone through.
type FallbackOn struct {
	Connect, Reset, Timeout, Unavailable, Overload, Breaker bool
	Statuses                                                []StatusRange
}

func (v *FallbackOn) words() []switchWord {
	return []switchWord{{"connect", &v.Connect}, {"reset", &v.Reset}, {"timeout", &v.Timeout}, {"unavailable", &v.Unavailable},
		{"overload", &v.Overload}, {"breaker", &v.Breaker}}
}

var fallbackFilterObject = sync.OnceValue(func() *object[FallbackFilter] {
	type T = FallbackFilter
	return &object[T]{
		name: "fallback", article: "a",
		about: "What a route does when its upstream has no answer: it asks another cluster, gives a fixed answer, or says 503 with Retry-After, in this order, as far as each is set. A filter cache behind it answers with what it has kept first. X-Degraded says which it was. Guards whose refusals it shall catch stand behind it in the list.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("on", fallbackOn(), func(v *T) *FallbackOn { return &v.On }, FallbackOn{Connect: true, Reset: true, Timeout: true, Unavailable: true, Breaker: true},
				`For what: connect (no connection), reset (it ended before the answer, or what came was none), timeout, unavailable (no endpoint is healthy), overload (queues are full, or a guard sends away for that), breaker (it is open), and statuses of answers from 400 on: 503, 502-504, 5xx. Statuses are none by default. Not overload by default: another cluster would be overloaded next.`),
			may("cluster", clusterName(), func(v *T) *Text { return &v.Cluster },
				`Cluster to ask instead: once, if the request may be sent twice or was not sent, and if there is time left. An answer with a listed status is dropped for it.`),
			may("respond", present(respondObject), func(v *T) **Respond { return &v.Respond },
				`The fixed answer.`),
			may("file", fileName(), func(v *T) *string { return &v.File },
				`File with the body of the fixed answer, up to 1 MiB, in place of the body under respond. It is followed: a changed file counts at once. Without respond the status is 503, and the type is told by the name: .html, .json, .txt, .xml, .svg.`),
			def("retry_after", orOff(duration(time.Second, 24*time.Hour)), func(v *T) *time.Duration { return &v.RetryAfter }, 5*time.Second,
				`What clients are told to wait that get 503, also by the fixed answer. Off: where there is nothing else, the failure is told as it is. 5s: few services are back sooner.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		short: onOnly[T](),
		check: checkFallback,
	}
})

func checkFallback(d *decoder, n *yaml.Node, v *FallbackFilter, g given[FallbackFilter]) {
	if !g.clean {
		return
	}
	switch {
	case len(v.On.Statuses) > 0 && v.Cluster.Value == "" && v.Respond == nil && v.File == "":
		d.fail(g.key("on"), "add cluster:, respond: or file:, or list no statuses", "there is nothing to put in the place of an answer")
	case v.Cluster.Value == "" && v.Respond == nil && v.File == "" && v.RetryAfter == 0:
		d.fail(n, "add cluster:, respond:, file: or retry_after:", "the filter has nothing to fall back on")
	case v.File != "" && v.Respond != nil && v.Respond.Body != "":
		d.fail(g.key("file"), "keep one of them", "the fixed answer has a body, and the file is one too")
	case v.File != "" && v.Respond != nil && (v.Respond.Status == 204 || v.Respond.Status == 205 || v.Respond.Status == 304):
		d.fail(g.key("file"), "remove it, or answer with 200", "an answer with status %d has no body", v.Respond.Status)
	}
}

// fallbackOn reads the list of causes.
func fallbackOn() kind[FallbackOn] {
	return causes[FallbackOn]{
		word: "cause", unknown: "is no cause to fall back",
		known: "known: connect, reset, timeout, unavailable, overload, breaker, a status (503), a range (502-504), a class (5xx)",
		empty: "there is nothing to fall back on for", emptyFix: "list a cause, or remove the filter",
		words:    (*FallbackOn).words,
		statuses: func(v *FallbackOn) *[]StatusRange { return &v.Statuses },
	}.kind()
}

// clusterNames are the clusters that the filter leads to.
func (v *FallbackFilter) clusterNames() []string { return []string{v.Cluster.Value} }
