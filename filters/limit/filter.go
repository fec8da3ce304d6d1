package limit

import (
	"fmt"
	"strings"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// Spec is what a document says.
type Spec struct {
	Rules  []Rule // asked in this order
	Status int    // of refusals; 0 means 429
	// Fields has every answer say how much is left: RateLimit and RateLimit-Policy.
	Fields bool
}

// Rule is a rate, or how many at once, or both, for requests of one key.
type Rule struct {
	Name string           // tells the filter's rules apart, and is said in the fields of answers
	Key  gateway.KeyParts // none: all requests together
	// KeyUnsaid: the document does not say Key, which is the default then. String points to it.
	KeyUnsaid bool
	// Missing is what becomes of a request that lacks a part of the key.
	Missing Missing
	Rate    *limit.Config // nil: any
	AtOnce  int64         // 0: any
	// KeysMax is how many keys have a count of their own; 0 means KeysMaxDefault.
	KeysMax int
	Shared  MakeSource // of the verdicts by the rate, if nodes share it; nil: counters of this node
}

// Missing is what becomes of a request that lacks a part of a rule's key.
type Missing uint8

// What can become of it.
const (
	Share  Missing = iota // all of them share a count, in which the part is empty
	Pass                  // the rule does not count it
	Refuse                // it is answered 400
)

// RulesMax is how many rules a filter has at most. Each is asked for each request.
const RulesMax = 8

// checksMax: a rule is two checks at most.
const checksMax = 2 * RulesMax

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings: rules[1].burst
	Cause string
	Fix   string
}

// The words of refusals and of what is degraded.
const (
	ReasonRate       = "rate_limited"
	ReasonAtOnce     = "concurrency_limited"
	ReasonKeyMissing = "limit_key_missing"
	// ReasonKeysFull: the table had no slot for the key, which was judged by the count that such keys share.
	ReasonKeysFull = "limit_keys_full"
	// ReasonUnreachable: nodes share the limit through a store that cannot be reached, and the rule says to admit nobody then.
	ReasonUnreachable = "limit_store_unreachable"
)

// Reasons are the words that the filter answers with.
func Reasons() []string {
	return []string{ReasonAtOnce, ReasonKeyMissing, ReasonKeysFull, ReasonRate, ReasonUnreachable}
}

// Filter is a compiled Spec. It is frozen, but for the counters, and shared by all loops.
type Filter struct {
	guard  *gateway.Guard
	checks []check
	status int
	policy []byte // the value of RateLimit-Policy; nil: no fields
	keeps  bool   // something for later hooks
	text   string
	loops  gateway.PerLoop[scratch]
}

// check is one question about a request: of a rate, or of how many are under way.
type check struct {
	key      gateway.KeyParts
	sameKey  bool // as the check before
	missing  Missing
	terms    terms
	counters *Counters
	source   Source
	atOnce   bool
	number   float64 // as the document says it: 100 of 100/s
	unit     string
	burst    float64 // 0: none
	refusal  string
	item     string // `"name";`: how fields begin
}

// Compile makes a filter of s, or says everything that is wrong with it. Counts of rules that memory has go on.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	f := &Filter{guard: guard, status: s.Status}
	if f.status == 0 {
		f.status = 429
	}
	var problems []Problem
	if len(s.Rules) == 0 || len(s.Rules) > RulesMax {
		problems = append(problems, Problem{"rules", fmt.Sprintf("a limit has 1 to %d rules, found %d", RulesMax, len(s.Rules)), "write limit: {rate: 100/s}"})
	}
	for i := range s.Rules {
		problems = f.compileRule(&s.Rules[i], fieldOf(len(s.Rules), i), memory, problems)
	}
	if problems != nil {
		return nil, problems
	}
	for i := range f.checks {
		f.keeps = f.keeps || s.Fields || f.checks[i].atOnce || f.checks[i].source != nil
	}
	if s.Fields && guard.Mode == gateway.Enforce {
		f.policy = f.appendPolicy(nil)
	}
	f.text = describe(s.Rules)
	for i := range f.checks {
		if c := &f.checks[i]; c.source != nil {
			f.text += "; " + c.source.String()
		}
	}
	guard.Tell = f.tell
	return f, nil
}

// tell yields what the tables of all rules hold, for metrics and the admin API.
func (f *Filter) tell(yield func(number string, value float64)) {
	var all View
	for i := range f.checks {
		v := f.checks[i].counters.View()
		all.Keys += v.Keys
		all.Evicted += v.Evicted
		all.Forgotten += v.Forgotten
		all.Overflowed += v.Overflowed
	}
	yield("keys", float64(all.Keys))
	yield("keys_evicted", float64(all.Evicted))
	yield("keys_forgotten", float64(all.Forgotten))
	yield(ReasonKeysFull, float64(all.Overflowed))
	f.tellSources(yield)
}

// fieldOf is how the settings of a rule are found: a single one has no list.
func fieldOf(rules, i int) string {
	if rules == 1 {
		return ""
	}
	return fmt.Sprintf("rules[%d].", i)
}

func (f *Filter) compileRule(r *Rule, field string, memory *gateway.Recollection, problems []Problem) []Problem {
	if r.Rate == nil && r.AtOnce == 0 {
		return append(problems, Problem{strings.TrimSuffix(field, "."), "the rule limits nothing", "add rate: 100/s, or concurrency: 50"})
	}
	keysMax := r.KeysMax
	if keysMax == 0 {
		keysMax = KeysMaxDefault
	}
	c := check{key: r.Key, missing: r.Missing, terms: terms{setsMax: setsFor(keysMax)}}
	add := func(cfg limit.Config, name, remembered string) {
		l, err := limit.New(cfg)
		if err != nil {
			e := err.(*limit.Error) // by the contract of New
			if c.atOnce {
				e.Setting = "concurrency"
			}
			problems = append(problems, Problem{field + e.Setting, e.Cause, e.Fix})
			return
		}
		c.terms.limit, c.item = l, `"`+name+`";`
		c.counters = gateway.Recall(memory, "limit/"+f.guard.Name+"/"+r.Name+"/"+remembered+"/"+keyText(r.Key), newCounters)
		if cfg.Algorithm == limit.TokenBucket || cfg.Algorithm == limit.LeakyBucket {
			c.burst = float64(l.Quota())
		}
		f.checks = append(f.checks, c)
		c.sameKey = true
	}
	// A place first: it is given back when the rate then refuses, while a token would be lost.
	if r.AtOnce != 0 {
		c.atOnce, c.number, c.refusal = true, float64(r.AtOnce), "Too many requests are under way: "+atOnceText(r)+"."
		name := r.Name
		if r.Rate != nil {
			name += "_concurrency"
		}
		add(limit.Config{Algorithm: limit.Concurrency, Count: r.AtOnce}, name, "concurrency")
		c.atOnce = false
	}
	if r.Rate != nil {
		if r.Shared != nil {
			problems = c.compileSource(r, f.guard.Name, field, memory, problems)
		}
		c.number, c.unit, c.refusal = float64(r.Rate.Count), unitText(r.Rate.Per), "Too many requests: "+rateText(r)+"."
		// What a word means depends on the algorithm and, of windows, on their length; see package policy/limit.
		remembered := r.Rate.Algorithm.String()
		if r.Rate.Algorithm == limit.FixedWindow || r.Rate.Algorithm == limit.SlidingWindow {
			remembered += c.unit
		}
		add(*r.Rate, r.Name, remembered)
	}
	return problems
}

// scratch is a loop's.
type scratch struct {
	keys  []byte // of the request at hand, one behind the other
	field []byte
	free  []*ticket
}

const (
	// keysKept is how much memory for keys a loop keeps: a client may have sent a head full of them.
	keysKept = 4 << 10
	// ticketsKept is how many tickets a loop keeps for the next requests.
	ticketsKept = 1024
)

// ticket is what the filter keeps for one exchange: the places it holds, and what its answer will say.
type ticket struct {
	places [checksMax]place
	held   int
	said   [checksMax]said
	count  int
	pause  pause
}

// place is one that is held among those under way. It knows its counters, whatever configuration is in force when it is given
// back.
type place struct {
	counters *Counters
	limit    *limit.Limit
	hash     Hash
	placed   bool
}

// said is what the fields say of one check.
type said struct {
	check     int
	remaining int64
	reset     time.Duration
}

func (s *scratch) ticket() *ticket {
	if n := len(s.free); n > 0 {
		t := s.free[n-1]
		s.free = s.free[:n-1]
		return t
	}
	return new(ticket)
}

func (t *ticket) giveBack() {
	for i := range t.places[:t.held] {
		p := &t.places[i]
		p.counters.release(p.limit, p.hash, p.placed, 1)
		*p = place{}
	}
	t.held = 0
}

// finding is what a check found, and for which key.
type finding struct {
	check  *check
	key    []byte
	v      limit.Verdict
	placed bool
	by     quota.By // of a rule that nodes share
}

// Request is the hook: one check after the other, until one refuses. What those before it have counted stays counted; the places
// among those under way are given back.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	at := f.loops.On(x)
	if cap(at.keys) > keysKept {
		at.keys = nil
	}
	if !f.keeps && len(f.checks) == 1 {
		return f.judgeOne(x, at)
	}
	var t *ticket
	if f.keeps {
		t = at.ticket()
		x.Keep(t)
	}
	return f.judge(x, t, 0, quota.Verdict{})
}

// judgeOne is judge for what most filters have: one check, of a rate of this node's own, and no fields. There is no tightest to be
// found and nothing to keep.
func (f *Filter) judgeOne(x *gateway.Exchange, at *scratch) gateway.Verdict {
	c := &f.checks[0]
	key, complete := c.key.Append(at.keys[:0], x)
	if len(c.key) == 0 {
		key = append(key, "all"...)
	}
	at.keys = key
	if !complete && c.missing != Share {
		if c.missing == Pass {
			return gateway.GoOn
		}
		return f.refuseKey(x, nil, key)
	}
	found := finding{check: c, key: key}
	found.v, found.placed = c.counters.decide(c.terms, c.counters.Hash(key), x.Now(), 1)
	switch {
	case !found.v.Allowed:
		return f.refuse(x, nil, &found)
	case found.v.Delay > 0:
		return f.delay(x, &found)
	}
	return f.pass(x, &found)
}

// judge makes the checks from the first on. One that has waited for its source comes here again, with the verdict.
func (f *Filter) judge(x *gateway.Exchange, t *ticket, first int, asked quota.Verdict) gateway.Verdict {
	at := f.loops.On(x)
	at.keys = at.keys[:0]
	var found, tightest, slowest finding
	if asked.By != quota.Nobody {
		tightest, slowest = t.pause.tightest, t.pause.slowest
	}
	from, complete := 0, true
	now := x.Now()
	for i := first; i < len(f.checks); i++ {
		c := &f.checks[i]
		if !c.sameKey || i == first {
			from = len(at.keys)
			at.keys, complete = c.key.Append(at.keys, x)
			if len(c.key) == 0 {
				at.keys = append(at.keys, "all"...)
			}
		}
		if !complete && c.missing != Share {
			if c.missing == Pass {
				continue
			}
			return f.refuseKey(x, t, at.keys[from:])
		}
		found = finding{check: c, key: at.keys[from:], placed: true}
		if c.source != nil {
			v := asked
			if v.By == quota.Nobody || i != first {
				v = c.source.Decide(found.key, now, 1)
			}
			if v.By == quota.Nobody && f.guard.Mode == gateway.Enforce {
				return f.ask(x, t, i, found.key, &tightest, &slowest)
			}
			if v.By == quota.Nobody { // nothing waits in shadow mode: it is counted, and who would be refused is found by the next
				c.source.Ask(found.key, now, 1, nil)
				continue
			}
			found.v, found.by, found.placed = v.Verdict, v.By, v.By != quota.Crowding
		} else {
			h := c.counters.Hash(found.key)
			found.v, found.placed = c.counters.decide(c.terms, h, now, 1)
			if c.atOnce && found.v.Allowed {
				t.places[t.held] = place{c.counters, c.terms.limit, h, found.placed}
				t.held++
			}
		}
		if f.policy != nil {
			t.said[t.count] = said{i, found.v.Remaining, found.v.Reset}
			t.count++
		}
		if !found.v.Allowed {
			return f.refuse(x, t, &found)
		}
		if found.v.Delay > slowest.v.Delay {
			slowest = found
		}
		if tightest.check == nil || !found.placed || found.v.Remaining*tightest.v.Limit < tightest.v.Remaining*found.v.Limit {
			tightest = found
		}
	}
	if slowest.check != nil {
		return f.delay(x, &slowest)
	}
	return f.pass(x, &tightest)
}

// pass tells of the check that is nearest to refusing.
func (f *Filter) pass(x *gateway.Exchange, found *finding) gateway.Verdict {
	if found.check == nil { // no rule counts it
		return gateway.GoOn
	}
	j := x.Judgement(f.guard)
	if !found.placed {
		j.Outcome, j.Reason = gateway.Degraded, ReasonKeysFull
	}
	found.tell(j)
	return x.Judge(j)
}

// delay lets the request wait. Its turn stays its own: if its client leaves meanwhile, nobody takes its place.
func (f *Filter) delay(x *gateway.Exchange, found *finding) gateway.Verdict {
	j := x.Judgement(f.guard)
	j.Outcome, j.Reason = gateway.Delayed, ReasonRate
	found.tell(j)
	j.Number("delay", float64(found.v.Delay)/float64(time.Millisecond), "ms")
	if v := x.Judge(j); v != gateway.GoOn || f.guard.Mode == gateway.Shadow {
		return v
	}
	return x.WaitUntil(x.Now().Add(found.v.Delay), goOn)
}

func goOn(*gateway.Exchange) gateway.Verdict { return gateway.GoOn }

func (f *Filter) refuse(x *gateway.Exchange, t *ticket, found *finding) gateway.Verdict {
	if t != nil {
		t.giveBack()
	}
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, f.status, ReasonRate, found.check.refusal
	if found.check.atOnce {
		j.Reason = ReasonAtOnce
	}
	if !found.placed {
		j.Reason = ReasonKeysFull
	}
	if found.by == quota.Policy {
		j.Status, j.Reason, j.Text = 503, ReasonUnreachable, "How often requests may come cannot be found out now."
	}
	j.RetryAfter = found.v.RetryAfter
	found.tell(j)
	return x.Judge(j)
}

func (f *Filter) refuseKey(x *gateway.Exchange, t *ticket, key []byte) gateway.Verdict {
	if t != nil {
		t.giveBack()
	}
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Key = gateway.Refused, 400, ReasonKeyMissing, key
	j.Text = "The request lacks what its limit is counted by."
	return x.Judge(j)
}

// tell fills in the numbers.
func (o *finding) tell(j *gateway.Judgement) {
	c := o.check
	j.Key = o.key
	j.Number("limit", c.number, c.unit)
	j.Number("used", float64(o.v.Used), "")
	j.Number("remaining", float64(o.v.Remaining), "")
	if c.burst > 0 {
		j.Number("burst", c.burst, "")
	}
	if !c.atOnce {
		j.Number("reset", o.v.Reset.Seconds(), "s")
	}
	if o.by == quota.Own {
		j.Number("local_share", float64(o.v.Limit), "")
	}
}

// Done is the hook: places are given back, however the exchange ended.
func (f *Filter) Done(x *gateway.Exchange) {
	t, _ := x.Kept().(*ticket)
	if t == nil {
		return
	}
	t.giveBack()
	t.count = 0
	if at := f.loops.On(x); len(at.free) < ticketsKept {
		at.free = append(at.free, t)
	}
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	h := gateway.Hooks{Name: "limit", Request: f.Request}
	if f.keeps {
		h.Done = f.Done
	}
	if f.policy != nil {
		h.Response = f.Response
	}
	return h
}

// String says what the filter does.
func (f *Filter) String() string { return f.text }
