package limit

import (
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// Source decides for one rule in the place of the counters of this node: it is who knows what others have let through. A rule
// without one asks its own counters. The key, "tenant=a", is the loop's scratch: whoever wants to keep it copies it.
type Source interface {
	// Decide judges a request of a key that costs cost, by what is known on this node; if that is not enough, the verdict is
	// quota.Nobody's. It is called on any loop, and must not block, or allocate for a key it knows.
	Decide(key []byte, now mono.Time, cost int64) quota.Verdict
	// Ask has wake called once, on any goroutine and perhaps before it returns, with the verdict of who knows more, or the one by the
	// rule's settings if they do not answer in time. Decide has just said Nobody. nil: the request is counted, and nobody waits.
	Ask(key []byte, now mono.Time, cost int64, wake func(quota.Verdict))
	// Tell yields numbers for metrics, under constant names, from any goroutine.
	Tell(yield func(number string, value float64))
	// String says how the limit is shared.
	String() string
}

// MakeSource makes the source of a rule of the guard of that name, or says what is wrong with its settings. Nothing is connected to
// before the configuration is in force.
type MakeSource func(guard string, memory *gateway.Recollection) (Source, []Problem)

// Hash stands for a key. Two hashes with seeds of this process's own make 128 bits of it, so that a table need not keep keys: that
// two of a billion keys share one has a chance of 10^-21, and without the seeds nobody can look for two that do.
type Hash struct{ Low, High uint64 }

// pause is what is kept of a request's checks while it waits for a source: the findings so far that its end will need.
type pause struct {
	tightest, slowest finding
	keys              []byte
}

// keep copies the findings, whose keys are the loop's scratch.
func (p *pause) keep(tightest, slowest finding) {
	p.keys = append(append(p.keys[:0], tightest.key...), slowest.key...)
	p.tightest, p.slowest = tightest, slowest
	n := len(tightest.key)
	p.tightest.key, p.slowest.key = p.keys[:n:n], p.keys[n:]
	if cap(p.keys) > keysKept {
		p.keys = nil // this request's alone
	}
}

// ask lets the request wait for the source of a check, and go on with its verdict.
func (f *Filter) ask(x *gateway.Exchange, t *ticket, i int, key []byte, tightest, slowest *finding) gateway.Verdict {
	c := &f.checks[i]
	t.pause.keep(*tightest, *slowest)
	k := x.Suspend()
	c.source.Ask(key, x.Now(), 1, func(v quota.Verdict) {
		k.Post(func(x *gateway.Exchange) gateway.Verdict { return f.judge(x, t, i, v) })
	})
	return gateway.Waiting
}

// compileSource gives a check its source.
func (c *check) compileSource(r *Rule, guard, field string, memory *gateway.Recollection, problems []Problem) []Problem {
	if r.Rate.Algorithm == limit.LeakyBucket {
		return append(problems, Problem{field + "algorithm", "requests that wait for their turn do so on one gateway: a leaky bucket cannot be shared", "use algorithm: token_bucket"})
	}
	source, wrong := r.Shared(guard, memory)
	for _, p := range wrong {
		p.Field = field + p.Field
		problems = append(problems, p)
	}
	c.source = source
	return problems
}

// tellSources yields the numbers of all sources, those of one name added up.
func (f *Filter) tellSources(yield func(number string, value float64)) {
	var names []string
	sums := map[string]float64{}
	for i := range f.checks {
		if c := &f.checks[i]; c.source != nil {
			c.source.Tell(func(number string, value float64) {
				if _, there := sums[number]; !there {
					names = append(names, number)
				}
				sums[number] += value
			})
		}
	}
	for _, name := range names {
		yield(name, sums[name])
	}
}
