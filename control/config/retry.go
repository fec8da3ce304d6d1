package config

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Retry is when a request that failed is tried again. No retry happens once a byte of the answer has been sent to the
// client, or of a body that cannot be sent twice, whatever this says.
type Retry struct {
	Attempts      int           // tries in all, the first included; 1 for no retry
	PerTry        time.Duration // bound of one try; 0 for none
	On            RetryOn
	Backoff       Backoff
	NonIdempotent bool
	Hedge         *Hedge // nil: none
}

// Hedge is a second try for a request whose first is slow to answer; the one that answers first counts.
type Hedge struct {
	Pos
	Percentile Percent       // of the cluster's times to first byte, after which it begins
	After      time.Duration // at the earliest
}

var hedgeObject = sync.OnceValue(func() *object[Hedge] {
	type T = Hedge
	return &object[T]{
		name: "hedge", article: "a",
		about: "A second try, at another endpoint, for a request whose first is slow to answer; the one that answers first counts, the other is given up. Only for requests that may be sent twice and have no body, one for each, and within the retry_budget of the cluster.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("percentile", orOff(percent()), func(v *T) *Percent { return &v.Percentile }, 95,
				`The share of the cluster's answers that begin before a second try does. 95: one request in twenty is sent twice at most. Off: only after counts.`),
			def("after", duration(0, time.Minute), func(v *T) *time.Duration { return &v.After }, 5*time.Millisecond,
				`No second try before this, also while too few answers were seen to know a percentile. A local answer that takes longer is slow.`),
		},
		short: &short[T]{
			about: "how long the first try is waited for, on or off",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				v.Percentile = 0
				duration(0, time.Minute).read(d, n, &v.After)
			},
			schema: duration(0, time.Minute).schema,
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.clean && v.Percentile == 0 && v.After == 0 {
				d.fail(n, "write hedge: 50ms or hedge: {percentile: 95%}", "every request would be sent twice")
			}
		},
	}
})

// RetryOn is which failures of a try are worth another.
type RetryOn struct {
	Connect  bool // no connection could be opened
	Reset    bool // the connection broke before the answer
	Timeout  bool // first_byte or per_try passed
	Statuses []StatusRange
	GRPC     []GRPCStatus // in the order of their numbers, each once
}

// Backoff is the pause before a retry: random up to Base, twice that the next time, up to Max.
type Backoff struct {
	Base, Max time.Duration
}

// attemptsMax bounds the load one request can become.
const attemptsMax = 10

var retryObject = sync.OnceValue(func() *object[Retry] {
	type T = Retry
	return &object[T]{
		name: "retry", article: "a",
		about: "When a request that failed is tried again, on another endpoint if there is one. Never once the client has seen a byte of the answer, and only within the retry_budget of the cluster.",
		keys: []key[T]{
			def("attempts", integer(1, attemptsMax), func(v *T) *int { return &v.Attempts }, 3,
				`Tries in all, the first included. Three: two bad endpoints at once are common while servers restart, three are not.`),
			def("per_try", orOff(timeout()), func(v *T) *time.Duration { return &v.PerTry }, 0,
				`The longest one try may take to its first byte. Off: only first_byte counts.`),
			def("on", retryOn(), func(v *T) *RetryOn { return &v.On }, RetryOn{Connect: true, Reset: true, Timeout: true},
				`What is worth another try: connect (no connection), reset (broken before the answer), timeout (first_byte or per_try passed), a status (503), a range (502-504) or a class (5xx), or the status of a gRPC call: `+grpcWordList()+`. An answer is an answer by default, even a bad one.`),
			always("backoff", section(backoffObject), func(v *T) *Backoff { return &v.Backoff },
				`The pause before a try.`),
			off("hedge", hedgeObject, func(v *T) **Hedge { return &v.Hedge },
				`A second try beside the first when that is slow to answer. Off: it is more load, for those who look at the slowest requests.`),
			def("non_idempotent", boolean(), func(v *T) *bool { return &v.NonIdempotent }, false,
				`Try POST, PATCH and the like again after they were sent. Off: the first try may have done its work without our hearing of it.`),
		},
		short: &short[T]{
			about: "a number of attempts, or off",
			takes: yaml.ScalarNode,
			read:  readShortRetry,
			schema: func(b *schemaBuilder) map[string]any {
				return orVariable(orOff(integer(1, attemptsMax)).schema(b))
			},
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.key("per_try") != nil && v.PerTry > 0 && v.Attempts > 1 && !v.On.Timeout {
				d.warn(g.key("per_try"), "add timeout to on", "a try ended by per_try is not tried again, since on does not list timeout")
			}
			if v.Backoff.Max < v.Backoff.Base {
				d.fail(n, "", "the backoff starts at %s, above its max of %s", formatDuration(v.Backoff.Base), formatDuration(v.Backoff.Max))
			}
		},
	}
})

var backoffObject = sync.OnceValue(func() *object[Backoff] {
	type T = Backoff
	return &object[T]{
		name: "backoff", article: "a",
		about: "The pause before a retry: random up to base, doubled each time, up to max.",
		keys: []key[T]{
			def("base", duration(0, time.Minute), func(v *T) *time.Duration { return &v.Base }, 25*time.Millisecond,
				`The first pause at its longest. Enough for a burst to spread, too short for a person to feel.`),
			def("max", duration(0, time.Minute), func(v *T) *time.Duration { return &v.Max }, 250*time.Millisecond,
				`The longest pause: ten times the first.`),
		},
	}
})

// readShortRetry reads off or a number of attempts.
func readShortRetry(d *decoder, n *yaml.Node, v *Retry) {
	s, ok := d.scalar(n, "a number of attempts, or off")
	if !ok {
		return
	}
	if is, known := parseSwitch(s); known && !is {
		v.Attempts = 1
		return
	}
	attempts, err := strconv.Atoi(s)
	if err != nil || attempts < 1 || attempts > attemptsMax {
		d.fail(n, "write retry: 3, retry: off or retry: {attempts: 3}", "%s is not a number of attempts from 1 to %d", quote(s), attemptsMax)
		return
	}
	v.Attempts = attempts
}

// retryOn reads the list of conditions. The words and the ranges share it, since users think of both as reasons.
func retryOn() kind[RetryOn] {
	words := func(v *RetryOn) []struct {
		name string
		is   *bool
	} {
		return []struct {
			name string
			is   *bool
		}{{"connect", &v.Connect}, {"reset", &v.Reset}, {"timeout", &v.Timeout}}
	}
	known := append([]string{"connect", "reset", "timeout", "502-504", "5xx"}, grpcWords()...)
	condition := kind[string]{
		word: "condition",
		read: func(d *decoder, n *yaml.Node, v *string) {
			s, ok := d.scalar(n, "a condition")
			if !ok {
				return
			}
			for _, w := range words(&RetryOn{}) {
				if w.name == s {
					*v = s
					return
				}
			}
			if _, ok := grpcStatusOf(s); ok {
				*v = s
				return
			}
			r, cause, _ := parseStatusRange(s)
			if cause != "" {
				fix := didYouMean(s, known)
				if fix == "" {
					fix = "known: connect, reset, timeout, a status (503), a range (502-504), a class (5xx), " + grpcWordList()
				}
				d.fail(n, fix, "%s is not a reason to try again", quote(s))
				return
			}
			*v = r.String()
		},
		write: func(v *string) *yaml.Node { return textNode(*v) },
		schema: func(b *schemaBuilder) map[string]any {
			words := []any{"connect", "reset", "timeout"}
			for _, w := range grpcWords() {
				words = append(words, w)
			}
			return anyOf(map[string]any{"enum": words}, statusRangeSchema(b))
		},
	}
	list := oneOrMore(condition)
	return kind[RetryOn]{
		word:   list.word,
		schema: list.schema,
		read: func(d *decoder, n *yaml.Node, v *RetryOn) {
			var said []string
			before := len(d.problems)
			list.read(d, n, &said)
			if len(d.problems) > before {
				return
			}
			*v = RetryOn{}
			for _, s := range said {
				if r, cause, _ := parseStatusRange(s); cause == "" {
					v.Statuses = append(v.Statuses, r)
				}
				if status, ok := grpcStatusOf(s); ok && !slices.Contains(v.GRPC, status) {
					v.GRPC = append(v.GRPC, status)
				}
				for _, w := range words(v) {
					*w.is = *w.is || w.name == s
				}
			}
			slices.SortFunc(v.GRPC, func(a, b GRPCStatus) int { return cmp.Compare(a.Code(), b.Code()) })
		},
		write: func(v *RetryOn) *yaml.Node {
			said := []string{}
			for _, w := range words(v) {
				if *w.is {
					said = append(said, w.name)
				}
			}
			for _, r := range v.Statuses {
				said = append(said, r.String())
			}
			for _, status := range v.GRPC {
				said = append(said, status.word())
			}
			return list.write(&said)
		},
	}
}

// Budget bounds the retries of a cluster to a share of its requests, so that a failing cluster is not asked several
// times as much as a sound one.
type Budget struct {
	Share Percent
	Floor Rate
}

var budgetObject = sync.OnceValue(func() *object[Budget] {
	type T = Budget
	return &object[T]{
		name: "retry_budget", article: "a",
		about: "The most retries a cluster gets, as a share of its requests.",
		keys: []key[T]{
			def("share", percent(), func(v *T) *Percent { return &v.Share }, 20,
				`Retries for each hundred requests. A cluster that fails altogether then sees a fifth more load, not three times as much.`),
			def("floor", rate(), func(v *T) *Rate { return &v.Floor }, Rate{10, time.Second},
				`Retries always allowed, since a share of few requests is nothing.`),
		},
	}
})
