package config

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// FaultFilter injects faults on purpose.
type FaultFilter struct {
	Pos
	Experiment string
	When       FaultWhen
	Delay      *FaultDelay
	Abort      FaultAbort
	Reset      bool
	Cut        int64 // bytes; 0: off
	Slow       int64 // bytes a second; 0: off
	Budget     FaultBudget
	Expires    time.Time
	After      time.Duration
	StopWhen   *FaultStop
	Guard      GuardMode
}

func (v *FaultFilter) guardMode() GuardMode { return v.Guard }

// FaultWhen is the cohort.
type FaultWhen struct {
	Pos
	Headers []Field
	Claims  []Field
	Clients []netip.Prefix
	Share   Percent // 0: all
}

// FaultDistribution is how delays are spread.
type FaultDistribution string

// The distributions.
const (
	FaultFixed       FaultDistribution = "fixed"
	FaultUniform     FaultDistribution = "uniform"
	FaultExponential FaultDistribution = "exponential"
)

// FaultDelay is how long requests are held.
type FaultDelay struct {
	Pos
	Distribution   FaultDistribution
	Time, Min, Max time.Duration
}

// FaultAbort is a status of HTTP or of gRPC; zero: none.
type FaultAbort struct {
	Status int
	GRPC   GRPCStatus
}

// FaultBudget bounds what may be affected. Zeros bound nothing.
type FaultBudget struct {
	Pos
	Requests int
	Share    Percent
}

// FaultStop is when the experiment ends early.
type FaultStop struct {
	Pos
	ErrorRatio Percent
	P99        time.Duration
	Over       time.Duration
}

const (
	// faultDelayMax and faultOverMax are those of policy/fault.
	faultDelayMax = time.Minute
	faultOverMax  = 5 * time.Minute
	// faultRateMax is the gateway's.
	faultRateMax = 1 << 30
	// faultAfterMax: what goes on for longer is no experiment.
	faultAfterMax = 30 * 24 * time.Hour
)

var faultFilterObject = sync.OnceValue(func() *object[FaultFilter] {
	type T = FaultFilter
	return &object[T]{
		name: "fault", article: "a",
		about: "Injects faults into the requests of a cohort, to learn what services and clients make of them. It needs an end: after, expires or a budget of requests. X-Yumen-Fault in an answer says what was injected.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("experiment", text("name", checkName), func(v *T) *string { return &v.Experiment }, `Under which is remembered what was spent, when it began and that it was stopped, over changes of all other settings. A new name begins anew. By default the filter's own.`),
			always("when", section(faultWhenObject), func(v *T) *FaultWhen { return &v.When }, `Who is affected: those for whom all that is written here holds. Without it every request.`),
			may("delay", present(faultDelayObject), func(v *T) **FaultDelay { return &v.Delay }, `Hold requests before they go on: delay: 200ms, or more about it.`),
			may("abort", faultAbort(), func(v *T) *FaultAbort { return &v.Abort }, `Answer instead of the upstream: a status from 400 to 599, or of calls grpc_unavailable and the like (other requests get 503 then). Behind the delay, if there is one.`),
			def("reset", boolean(), func(v *T) *bool { return &v.Reset }, false, `Break the client's connection, of HTTP/2 the stream, without an answer. Behind the delay, if there is one.`),
			def("cut", orOff(size(1, 1<<40)), func(v *T) *int64 { return &v.Cut }, 0, `Break an answer of the upstream off behind so many bytes of its body. Shorter ones are left whole.`),
			def("slow", orOff(byteRate(1, faultRateMax)), func(v *T) *int64 { return &v.Slow }, 0, `Let the body of an answer of the upstream leave at so many bytes a second at most: 1kB/s. The head comes at once. Of slow answers a loop has 1000 at once; those beyond are left alone.`),
			always("budget", section(faultBudgetObject), func(v *T) *FaultBudget { return &v.Budget }, `How much may be affected.`),
			may("expires", moment(), func(v *T) *time.Time { return &v.Expires }, `When it ends, by the clock: 2026-12-01T10:00:00Z.`),
			may("after", duration(time.Second, faultAfterMax), func(v *T) *time.Duration { return &v.After }, `How long after its beginning it ends. It begins when the gateway has first read it, or has been started with it.`),
			may("stop_when", present(faultStopObject), func(v *T) **FaultStop { return &v.StopWhen }, `When it ends early, for good: when the requests that it leaves alone suffer.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: checkFault,
	}
})

func checkFault(d *decoder, n *yaml.Node, v *FaultFilter, g given[FaultFilter]) {
	if !g.clean {
		return
	}
	abort := v.Abort != FaultAbort{}
	if v.Delay == nil && !abort && !v.Reset && v.Cut == 0 && v.Slow == 0 {
		d.fail(n, "add delay: 200ms, abort: 503, reset: on, cut: 1kB or slow: 1kB/s", "the filter injects nothing")
	}
	if v.Expires.IsZero() && v.After == 0 && v.Budget.Requests == 0 {
		d.fail(n, "add after: 10m, expires: or budget: {requests: 1000}", "nothing ends the experiment")
	}
	if abort && v.Reset {
		d.fail(g.key("reset"), "remove abort or reset", "a request cannot be both answered and reset")
	}
	if v.Cut != 0 && (abort || v.Reset) {
		d.fail(g.key("cut"), "remove it, or abort and reset", "there is no body of an upstream to cut off")
	}
	if v.Slow != 0 && (abort || v.Reset) {
		d.fail(g.key("slow"), "remove it, or abort and reset", "there is no body of an upstream to slow down")
	}
}

var faultWhenObject = sync.OnceValue(func() *object[FaultWhen] {
	type T = FaultWhen
	return &object[T]{
		name: "fault_when", article: "a",
		about: "The requests of an experiment. Each condition that is there must hold.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("headers", fields(), func(v *T) *[]Field { return &v.Headers }, `Fields with just this value; an empty one is any. The first of a name counts.`),
			may("claims", faultClaims(), func(v *T) *[]Field { return &v.Claims }, `The same of claims, which a guard before this one has verified.`),
			may("clients", oneOrMore(prefix()), func(v *T) *[]netip.Prefix { return &v.Clients }, `Networks of clients, of which one must have the client's address.`),
			may("share", percent(), func(v *T) *Percent { return &v.Share }, `Which part of those for whom the rest holds, by chance for each request. All by default.`),
		},
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) {
			if g.clean && g.key("share") != nil && v.Share == 0 {
				d.fail(g.value("share"), "use mode: off", "nobody is in a share of 0%%")
			}
		},
	}
})

var faultDelayObject = sync.OnceValue(func() *object[FaultDelay] {
	type T = FaultDelay
	length := func() kind[time.Duration] { return duration(time.Millisecond, faultDelayMax) }
	return &object[T]{
		name: "fault_delay", article: "a",
		about: "How long requests are held. A loop holds 1000 at once; those beyond are left alone.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("distribution", choice("distribution", FaultFixed, FaultUniform, FaultExponential), func(v *T) *FaultDistribution { return &v.Distribution }, FaultFixed, `fixed (time), uniform (from min to max) or exponential (time on average, as waiting in a queue is).`),
			may("time", length(), func(v *T) *time.Duration { return &v.Time }, `How long; of an exponential one, on average.`),
			may("min", length(), func(v *T) *time.Duration { return &v.Min }, `Of a uniform one. 0s by default.`),
			may("max", length(), func(v *T) *time.Duration { return &v.Max }, `Of a uniform one, and of an exponential one: by default ten times its time.`),
		},
		short: &short[T]{
			about: "a time",
			takes: yaml.ScalarNode,
			read:  func(d *decoder, n *yaml.Node, v *T) { length().read(d, n, &v.Time) },
			schema: func(b *schemaBuilder) map[string]any {
				return length().schema(b)
			},
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			uniform := v.Distribution == FaultUniform
			switch {
			case uniform && v.Max <= v.Min:
				d.fail(n, "write {distribution: uniform, min: 50ms, max: 300ms}", "a uniform delay has a max that is greater than its min")
			case uniform && v.Time != 0:
				d.fail(g.key("time"), "remove it", "a uniform delay has no time of its own")
			case !uniform && v.Time == 0 && n.Kind == yaml.MappingNode:
				d.fail(n, "add time: 200ms", "the delay has no time")
			case !uniform && v.Min != 0, v.Distribution == FaultFixed && v.Max != 0:
				d.fail(n, "remove min and max, or write distribution: uniform", "%s delay has no such bounds", withArticle(string(v.Distribution)))
			case v.Max != 0 && v.Max < v.Time:
				d.fail(g.key("max"), "", "the longest delay is shorter than the average")
			}
		},
	}
})

var faultBudgetObject = sync.OnceValue(func() *object[FaultBudget] {
	type T = FaultBudget
	return &object[T]{
		name: "fault_budget", article: "a",
		about: "How much may be affected. What was spent stays spent when the configuration changes.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("requests", integer(1, 1_000_000_000), func(v *T) *int { return &v.Requests }, `How many requests in all, exactly, over all loops of this process.`),
			may("share", percent(), func(v *T) *Percent { return &v.Share }, `Which part of all requests that come to the filter, those outside the cohort too: of any n in a row on a loop, n times the share and what a hundred requests earn.`),
		},
		short: &short[T]{
			about: "a number of requests",
			takes: yaml.ScalarNode,
			read:  func(d *decoder, n *yaml.Node, v *T) { integer(1, 1_000_000_000).read(d, n, &v.Requests) },
			schema: func(b *schemaBuilder) map[string]any {
				return integer(1, 1_000_000_000).schema(b)
			},
		},
	}
})

var faultStopObject = sync.OnceValue(func() *object[FaultStop] {
	type T = FaultStop
	return &object[T]{
		name: "fault_stop", article: "a",
		about: "When an experiment ends early. What counts are the requests that come to the filter and are left alone, fifty at least.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("error_ratio", percent(), func(v *T) *Percent { return &v.ErrorRatio }, `More than this part of them is answered with 5xx, or fails.`),
			may("p99", duration(time.Millisecond, 10*time.Minute), func(v *T) *time.Duration { return &v.P99 }, `More than one in a hundred takes longer than this.`),
			def("over", duration(time.Second, faultOverMax), func(v *T) *time.Duration { return &v.Over }, 30*time.Second, `Of the requests of how long a time. 30s: soon enough, and not at every hiccup.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.clean && v.ErrorRatio == 0 && v.P99 == 0 {
				d.fail(n, "write stop_when: {error_ratio: 5%}", "there is nothing to stop for")
			}
		},
	}
})

// faultAbort is a status, or the word of a status of gRPC.
func faultAbort() kind[FaultAbort] {
	return kind[FaultAbort]{
		word: "status",
		read: func(d *decoder, n *yaml.Node, v *FaultAbort) {
			s, ok := d.scalar(n, "a status such as 503 or grpc_unavailable")
			if !ok {
				return
			}
			if status, known := grpcStatusOf(s); known {
				*v = FaultAbort{GRPC: status}
				return
			}
			status, known := parseStatus(s)
			switch {
			case known && status >= 400:
				*v = FaultAbort{Status: status}
			case known:
				d.fail(n, "write a status from 400 to 599", "an answer with status %d is no failure", status)
			default:
				d.fail(n, "write 503, or one of "+grpcWordList(), "%s is no status", quote(s))
			}
		},
		write: func(v *FaultAbort) *yaml.Node {
			if v.GRPC != "" {
				return textNode(v.GRPC.word())
			}
			return valueNode(strconv.Itoa(v.Status))
		},
		schema: func(*schemaBuilder) map[string]any {
			enum := []any{}
			for _, w := range grpcWords() {
				enum = append(enum, w)
			}
			return anyOf(map[string]any{"type": "integer", "minimum": 400, "maximum": 599}, map[string]any{"enum": enum})
		},
	}
}

// faultClaims is a map of names of claims to values.
func faultClaims() kind[[]Field] {
	value := text("value")
	k := part(value, func(v *Field) *string { return &v.Value })
	return mapOf(k, func(v *Field) *string { return &v.Name }, func(v *Field) *Pos { return &v.Pos },
		func(d *decoder, n *yaml.Node, name string) bool { return d.passes(n, name, []check{notEmpty}) }, asWritten)
}

// moment is a time of day (RFC 3339).
func moment() kind[time.Time] {
	return parsed("moment", "2026-12-01T10:00:00Z", `[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})`,
		func(s string) (time.Time, string, string) {
			t, err := time.Parse(time.RFC3339, strings.ToUpper(s))
			if err != nil {
				return time.Time{}, quote(s) + " is not a moment", "write date, time and zone: 2026-12-01T10:00:00Z, or 2026-12-01T10:00:00+01:00"
			}
			return t.UTC(), "", ""
		}, func(t time.Time) string { return t.Format(time.RFC3339) })
}
