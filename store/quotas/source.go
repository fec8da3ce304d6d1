package quotas

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// Mode is how nodes share a limit.
type Mode uint8

// Modes.
const (
	Leased Mode = iota // nodes take tokens in advance and spend them by themselves
	Exact              // each request is asked for
)

// Unreachable is what becomes of requests while Redis cannot be reached.
type Unreachable uint8

// What can become of them.
const (
	LocalShare Unreachable = iota // each node admits its part of the rule
	Open                          // all are admitted
	Closed                        // none is
)

// Spec is a limit that nodes share.
type Spec struct {
	Redis Settings
	// Logger is told when Redis cannot be used, and when it can again; nil means slog.Default(). It is the link's: of those who share
	// one, the first counts.
	Logger *slog.Logger
	Mode   Mode
	// Name tells the rule from others in Redis: nodes that say the same share the limit.
	Name        string
	Rule        quota.Rule // of an exact one, Burst is not used
	Unreachable Unreachable
	// Nodes is among how many a rule is divided at least when Redis cannot be reached; as many as were seen there last, if those
	// are more. 0 means 1.
	Nodes   int
	KeysMax int // 0 means KeysMaxDefault
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // redis.timeout
	Cause string
	Fix   string
}

// Memory is where links and tables are kept that were made before, so that all who name one Redis have one link to it, and all who name
// one rule one table of its keys. Each function returns what is kept under the key, or else what make makes; whoever
// keeps it starts and closes it. A function that is nil keeps nothing.
type Memory struct {
	Link  func(key string, make func() *Link) *Link
	Table func(key string, make func() *Table) *Table
}

// Source decides for one rule. It is frozen, but for the table behind it; any goroutine may ask.
type Source struct {
	table *Table
	terms *terms
	text  string
}

// retryUnreachable is when clients are told to come again whom nobody could judge: Redis is tried again at least as often.
const retryUnreachable = time.Second

// Compile makes a source of s, or says everything that is wrong with it. Nothing is connected to before the link is started.
func Compile(s Spec, memory Memory) (*Source, []Problem) {
	at := &terms{rule: s.Rule, unreachable: s.Unreachable, nodesMin: int64(max(s.Nodes, 1)), keysMax: s.KeysMax}
	if at.keysMax == 0 {
		at.keysMax = KeysMaxDefault
	}
	var problems []Problem
	if s.Mode == Exact {
		at.rule.Burst = at.rule.Count
		if s.Rule.Count > quota.LogCountMax {
			problems = append(problems, Problem{"rate",
				fmt.Sprintf("an exact limit keeps each request of the window in Redis, some %d bytes: %d in %v are too many, at most %d for a key",
					entryBytes, s.Rule.Count, s.Rule.Per, quota.LogCountMax),
				"use mode: leased, which keeps a few numbers, or a shorter window"})
		}
	}
	var err error
	if at.credits, err = at.rule.Terms(); err != nil {
		problems = append(problems, Problem{"burst", err.Error(), "write a smaller burst"})
	} else if _, err = at.share(1, s.Mode == Exact); err != nil {
		problems = append(problems, Problem{"rate", err.Error(), "write another rate"})
	}
	if s.Redis.Timeout == 0 {
		s.Redis.Timeout = TimeoutDefault
	}
	if s.Redis.Timeout < time.Millisecond || s.Redis.Timeout > TimeoutMax {
		problems = append(problems, Problem{"redis.timeout", fmt.Sprintf("%v is not between 1ms and %v", s.Redis.Timeout, TimeoutMax),
			"requests wait for it: write 100ms, or leave it out"})
	}
	if s.Nodes < 0 || s.Nodes > quota.NodesMax {
		problems = append(problems, Problem{"nodes", fmt.Sprintf("%d is not between 1 and %d", s.Nodes, quota.NodesMax), "write how many there are"})
	}
	if problems != nil {
		return nil, problems
	}
	key := s.Redis.Key()
	link := recall(memory.Link, key, func() *Link { return NewLink(s.Redis, s.Logger) })
	kind := [...]string{Leased: "leased", Exact: "exact"}[s.Mode]
	table := recall(memory.Table, "limit_"+kind+"/"+s.Name+"/"+key, func() *Table { return newTable(link, s.Name, s.Mode == Exact) })
	return &Source{table: table, terms: at, text: at.describe(s.Mode)}, nil
}

func recall[T any](from func(key string, make func() T) T, key string, make func() T) T {
	if from == nil {
		return make()
	}
	return from(key, make)
}

// entryBytes is what Redis 7.0 takes for one request of an exact limit, measured by MEMORY USAGE of a full key.
const entryBytes = 129

// share is a node's part.
func (at *terms) share(nodes int64, exact bool) (quota.Share, error) {
	if exact {
		return quota.NewWindowShare(at.rule, nodes)
	}
	return quota.NewShare(at.rule, nodes)
}

func (at *terms) describe(mode Mode) string {
	most := at.rule.Most(quota.Situation{Over: at.rule.Per})
	text := fmt.Sprintf("shared by all gateways through Redis, which together admit at most %.0f in any %v", most, at.rule.Per)
	if mode == Exact {
		text = fmt.Sprintf("shared by all gateways through Redis, each request asked for, at most %d in any %v", at.rule.Count, at.rule.Per)
	}
	return text + "; " + [...]string{
		LocalShare: "each its share while Redis cannot be reached",
		Open:       "no limit while Redis cannot be reached",
		Closed:     "none while Redis cannot be reached, once what was granted is spent",
	}[at.unreachable]
}

// String says in one clause how the limit is shared.
func (s *Source) String() string { return s.text }

// Table is what is remembered of the rule.
func (s *Source) Table() *Table { return s.table }

// Decide judges a request of a key that costs cost, by what is known here. By is quota.Nobody if the store has to be asked: then the
// request may be suspended, and Ask called. It does not block, and allocates for keys that are new. The key is not kept.
func (s *Source) Decide(key []byte, now mono.Time, cost int64) quota.Verdict {
	t, at := s.table, s.terms
	if t.terms.Load() != at {
		t.terms.Store(at)
	}
	low, high := t.hash(key)
	c := t.find(low, high)
	if c == nil {
		if c = t.enter(low, high, key, at.keysMax, now); c == nil {
			return t.without(&t.crowd, now, cost, quota.Crowding)
		}
	}
	c.seen.Add(cost)
	if cost > at.rule.Burst {
		return quota.Verdict{Verdict: limit.Verdict{Limit: at.rule.Burst}, By: quota.Store}
	}
	if !t.exact {
		if left, ok := c.spend(now, cost); ok {
			if left <= c.few.Load() && int64(now) >= c.again.Load() {
				t.link.enqueue(c)
			}
			return quota.Verdict{Verdict: c.numbers(at, now, true), By: quota.Store}
		}
	}
	if t.link.unreachable.Load() {
		return t.without(c, now, cost, quota.Policy)
	}
	if int64(now) < c.again.Load() {
		return quota.Verdict{Verdict: c.numbers(at, now, false), By: quota.Store}
	}
	return quota.Verdict{}
}

// numbers are the numbers of a verdict.
func (c *cell) numbers(at *terms, now mono.Time, allowed bool) limit.Verdict {
	v := limit.Verdict{Allowed: allowed, Limit: at.rule.Burst}
	if v.Remaining = min(max(c.there.Load(), 0)+max(c.held.Load(), 0), v.Limit); !allowed {
		v.Remaining = 0
		v.RetryAfter = max(mono.Time(c.free.Load()).Sub(now), at.interval())
	}
	v.Used = v.Limit - v.Remaining
	if v.Reset = time.Duration(v.Used) * at.interval(); c.table.exact {
		v.Reset = at.rule.Per
	}
	return v
}

// interval is the time between two requests at the rule's rate.
func (at *terms) interval() time.Duration { return at.rule.Per / time.Duration(at.rule.Count) }

// Ask has wake called once with the store's verdict, or with one by the rule's setting if the store does not answer in time. Decide has
// just said Nobody for the same request. wake may be called before Ask returns, or on another goroutine; nil: the request
// is counted, and nobody waits for the verdict.
func (s *Source) Ask(key []byte, now mono.Time, cost int64, wake func(quota.Verdict)) {
	t := s.table
	w := waiter{cost: cost, wake: wake}
	t.counts.waits.Add(1)
	if !t.link.admitWaiter() {
		w.tell(t.without(&t.crowd, now, cost, quota.Crowding))
		return
	}
	low, high := t.hash(key)
	c := t.find(low, high)
	for c == nil || !c.wait(w) {
		if c = t.enter(low, high, key, s.terms.keysMax, now); c == nil {
			t.link.waiting.Add(-1)
			w.tell(t.without(&t.crowd, now, cost, quota.Crowding))
			return
		}
	}
	t.link.enqueue(c)
	if t.link.unreachable.Load() { // since before or after the goroutine sent all home: whoever is left is sent now
		t.link.sendHome(c, nil, now)
	}
}

func (w *waiter) tell(v quota.Verdict) {
	if w.wake != nil {
		w.wake(v)
	}
}
