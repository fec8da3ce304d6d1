package breaker

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/gateway"
	core "github.com/yumen-io/yumen/policy/breaker"
	"github.com/yumen-io/yumen/policy/health"
)

// Scope is what has a breaker of its own.
type Scope uint8

// Scopes.
const (
	ByRoute   Scope = iota // each route that uses the filter
	ByCluster              // each cluster of such routes: what one route learns holds for the others
)

// Hold is an operator's word about the state.
type Hold uint8

// Holds.
const (
	Auto       Hold = iota // none: the breaker decides
	HeldOpen               // refuse all
	HeldClosed             // refuse none, and count nothing
)

var holdWords = [...]string{Auto: "", HeldOpen: "open", HeldClosed: "closed"}

// On is what counts as a failure. The zero value is none.
type On struct {
	Connect  bool // no connection came about, or no endpoint was there to have one with
	Reset    bool // the connection broke before the answer was complete, or the answer was no acceptable one
	Timeout  bool // the upstream did not answer in time
	Statuses []int
	// GRPC are statuses of calls, a bit for each of 1 to 15.
	GRPC uint32
}

// Spec is what a document says.
type Spec struct {
	Scope Scope
	Hold  Hold
	On    On
	// SlowThan is what a call takes at least to be slow, until the answer begins; 0: none is.
	SlowThan time.Duration
	// Breaker decides; Breaker.SlowRatio is of no use without SlowThan.
	Breaker core.Config
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// ReasonOpen is the word of refusals.
const ReasonOpen = "breaker_open"

// Reasons are the words that the filter answers with.
func Reasons() []string { return []string{ReasonOpen} }

// settings are a Spec as states follow it. Frozen.
type settings struct {
	number   uint64 // of the compilation: the highest is the newest
	hold     Hold
	on       On
	statuses [8]uint64 // bits: the statuses from 400 on; fixed, so that a request follows no pointer
	slowThan time.Duration
	run      uint32 // failures in a row that open; 0: never
	openFor  time.Duration
	breaker  core.Config
}

// Filter is a compiled Spec. It is frozen, but for the table of states, and shared by all loops.
type Filter struct {
	guard    *gateway.Guard
	scope    Scope
	settings *settings
	memory   *memory
	text     string
	// states of the routes, by their index; filled in as requests come.
	states atomic.Pointer[[]*state]
}

// Compile makes a filter of s, or says everything that is wrong with it. Its breakers are those of the filter of this name before it. It
// gives the guard its numbers and details.
func Compile(s Spec, guard *gateway.Guard, r *gateway.Recollection) (*Filter, []Problem) {
	var problems []Problem
	if !s.On.Connect && !s.On.Reset && !s.On.Timeout && s.On.GRPC == 0 && len(s.On.Statuses) == 0 && s.SlowThan <= 0 {
		problems = append(problems, Problem{"on", "nothing counts as a failure", "write on: [connect, reset, timeout, 500, 502-504]"})
	}
	set := &settings{hold: s.Hold, on: s.On, slowThan: s.SlowThan, breaker: s.Breaker}
	for _, status := range s.On.Statuses {
		if status < 400 || status > 599 {
			problems = append(problems, Problem{"on", fmt.Sprintf("an answer with status %d is no failure", status), "list statuses from 400 to 599"})
			continue
		}
		set.statuses[(status-400)/64] |= 1 << ((status - 400) % 64)
	}
	if problems != nil {
		return nil, problems
	}
	if s.SlowThan <= 0 {
		set.breaker.SlowRatio = 0
	}
	set.run, set.openFor = set.breaker.RunMax(), set.breaker.OpenFirst()
	m := gateway.Recall(r, "breaker/"+guard.Name, func() *memory { return newMemory(guard.Name) })
	set.number = m.compiled.Add(1)
	guard.Tell, guard.Detail = m.tell, m.detail
	f := &Filter{guard: guard, scope: s.Scope, settings: set, memory: m, text: describe(&s)}
	f.states.Store(new([]*state))
	return f, nil
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "breaker", Request: f.Request, Done: f.Done}
}

// Request lets a request through, or refuses it.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	p := f.published(x)
	if p.threshold > allShares || p.threshold > 0 && x.Random()>>32 < p.threshold {
		x.Keep(p)
		return f.pass(x, p)
	}
	if p.takeProbe() {
		x.Keep(&p.probe)
		return f.pass(x, p)
	}
	return f.refuse(x, p)
}

func (f *Filter) pass(x *gateway.Exchange, p *published) gateway.Verdict {
	j := x.Judgement(f.guard)
	j.Key = p.of.key
	return x.Judge(j)
}

func (f *Filter) refuse(x *gateway.Exchange, p *published) gateway.Verdict {
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Key = gateway.Refused, 503, ReasonOpen, p.of.key
	now := x.Now()
	v := &p.view
	switch {
	case p.settings.hold == HeldOpen:
		j.Text = "An operator has stopped requests to this service."
		j.RetryAfter = p.settings.openFor
	case v.State == core.HalfOpen:
		j.Text = "This service is recovering, and takes few requests for now."
		j.RetryAfter = time.Second
	default:
		j.Text = "This service failed too often, and gets no requests for now."
		j.RetryAfter = p.settings.openFor
		if v.Until > 0 {
			j.RetryAfter = max(v.Until.Sub(now), time.Second)
		}
	}
	t := &v.Last
	known := t.Numbers.Total > 0 // not after an order, nor until the tick after a run of failures: nothing was counted up yet
	if known {
		j.Number("error_ratio", t.Numbers.ErrorRatio*100, "%")
		j.Number("volume", float64(t.Numbers.Total), "")
	}
	j.Number("in_a_row", float64(t.Numbers.Run), "")
	if known {
		j.Number("p95", t.Numbers.P95.Seconds()*1000, "ms")
		j.Number("score", t.Score, "")
	}
	j.Number("passing", v.Share*100, "%")
	if p.openedAt > 0 {
		j.Number("open_for", now.Sub(p.openedAt).Seconds(), "s")
	}
	return x.Judge(j)
}

// Done counts how a request ended that was let through.
func (f *Filter) Done(x *gateway.Exchange) {
	var p *published
	var probing *probe
	switch kept := x.Kept().(type) {
	case *published:
		p = kept
	case *probe:
		p, probing = kept.of, kept
	default:
		return // refused, perhaps in shadow: how it ended is not how a request that was let through ends
	}
	o := x.Outcome()
	e := p.settings.judge(&o, x.BodyEnded())
	if !e.counts {
		if probing != nil {
			p.returnProbe()
		}
		return
	}
	p.of.count(x.LoopIndex(), p, &e)
}

// ending is how a request ended, as it counts.
type ending struct {
	counts, failed, timedOut, slow bool
	latency                        time.Duration
}

// judge says what an outcome means. bodyEnded: the client had sent all of its request, so that it was not what was waited for.
func (s *settings) judge(o *gateway.Outcome, bodyEnded bool) (e ending) {
	e.latency = o.Took
	if o.FirstByte >= 0 {
		e.latency = o.FirstByte
	}
	e.slow = s.slowThan > 0 && e.latency >= s.slowThan
	f := o.Failure
	switch {
	case o.ClientGone:
		return ending{}
	case o.Reason != "" && f == nil:
		return ending{} // the configuration answered, or a filter
	case f == nil && o.Attempts == 0:
		return ending{}
	case f == nil, f.Answered(): // a filter has put something in the answer's place: it was one all the same
		e.counts, e.failed = true, s.badAnswer(o)
	case f.Reason == "deadline_exceeded":
		// How long a call may take is its client's word: the failure is not held against anybody. That so much time was not enough may be.
		e.counts = e.slow && bodyEnded
	case f.Side != gateway.Upstream:
		return ending{}
	case f.Reason == "request_timeout":
		e.counts, e.failed, e.timedOut = bodyEnded, s.on.Timeout, true
	case f.Reason == "no_endpoint", f.Reason == "no_healthy_endpoint":
		e.counts, e.failed = true, s.on.Connect
	default:
		e.counts, e.failed, e.timedOut = s.failed(f)
	}
	return e
}

// badAnswer tells whether an answer of the upstream is a failure.
func (s *settings) badAnswer(o *gateway.Outcome) bool {
	if o.Status < 400 {
		return o.GRPC > 0 && s.on.GRPC>>o.GRPC&1 != 0 // a call that failed has the status 200
	}
	i := o.Status - 400
	return i < 200 && s.statuses[i/64]>>(i%64)&1 != 0
}

// failed sorts the failures of attempts.
func (s *settings) failed(f *gateway.Failure) (counts, failed, timedOut bool) {
	switch f.Outcome {
	case health.ConnectFailure:
		return true, s.on.Connect, f.Status == 504
	case health.Timeout:
		return true, s.on.Timeout, true
	case health.Reset, health.BadResponse:
		return true, s.on.Reset, false
	case health.GatewayError, health.ServerError: // given up because of its status, after all tries
		return true, true, false
	}
	return false, false, false
}

// String says what the filter does, with its numbers.
func (f *Filter) String() string { return f.text }

func describe(s *Spec) string {
	of := "route"
	if s.Scope == ByCluster {
		of = "cluster"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "a breaker for each %s: ", of)
	switch s.Hold {
	case HeldOpen:
		b.WriteString("held open, it refuses all")
		return b.String()
	case HeldClosed:
		b.WriteString("held closed, it refuses none")
		return b.String()
	}
	b.WriteString(s.Breaker.String())
	if s.SlowThan > 0 && s.Breaker.SlowRatio > 0 {
		fmt.Fprintf(&b, "; slow is %s or more", s.SlowThan)
	}
	return b.String()
}
