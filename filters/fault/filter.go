package fault

import (
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/fault"
)

// Filter is a compiled Spec. It is frozen, but for its state, and shared by all loops.
type Filter struct {
	guard  *gateway.Guard
	spec   Spec
	terms  *terms
	state  *state
	finish func(x *gateway.Exchange) gateway.Verdict // finished and held, bound once
	hold   func(x *gateway.Exchange) gateway.Verdict
}

// visit is what is done to one request. Loop-owned, and pooled.
type visit struct {
	delay   time.Duration
	holding bool
	slowing bool
	cut     cutting
}

// visitsKept is how many visits a loop keeps for the next requests.
const visitsKept = 256

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "fault", Request: f.Request, Response: f.Response, Done: f.Done}
}

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	s := f.state
	if s.terms.Load() != f.terms { // requests of the configuration before may put theirs back, for a moment
		s.terms.Store(f.terms)
	}
	c := s.on(x)
	c.seen.Store(c.seen.Load() + 1) // nobody else writes
	if f.spec.Share > 0 {
		c.share.See(f.spec.Share)
	}
	if s.ended.Load() != nil || !f.among(x) {
		return gateway.GoOn
	}
	wall := x.Wall()
	s.begin(wall)
	if s.over(f.terms, wall) || f.spec.Delay != nil && c.delayed >= delayedMax || f.spec.Slow > 0 && c.slowed >= slowedMax {
		return gateway.GoOn
	}
	if f.spec.Requests > 0 && s.spent.Load() >= f.spec.Requests || f.spec.Share > 0 && !c.share.Take() || !s.spend(f.spec.Requests) {
		return gateway.GoOn
	}
	return f.inject(x, c)
}

// among tells whether a request is in the cohort. The cheap questions come first.
func (f *Filter) among(x *gateway.Exchange) bool {
	w := &f.spec.When
	if w.Share > 0 && fault.Unit(x.Random()) >= w.Share {
		return false
	}
	for i := range w.Headers {
		m := &w.Headers[i]
		if v, there := x.Request.NextField(m.Name, 0); there < 0 || m.Value != "" && string(v) != m.Value {
			return false
		}
	}
	for i := range w.Claims {
		m := &w.Claims[i]
		if v, there := x.Claim(m.Name); !there || m.Value != "" && string(v) != m.Value {
			return false
		}
	}
	if len(w.Clients) == 0 {
		return true
	}
	a := x.ClientAddr.Unmap()
	for _, p := range w.Clients {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// inject begins with what is to be done.
func (f *Filter) inject(x *gateway.Exchange, c *cell) gateway.Verdict {
	var v *visit
	if n := len(c.free); n > 0 {
		v = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		v = new(visit)
	}
	if f.spec.Delay != nil {
		v.delay = f.spec.Delay.Draw(x.Random())
	}
	x.Keep(v)
	if f.guard.Mode == gateway.Shadow {
		return f.judge(x, v)
	}
	if f.spec.Slow > 0 {
		v.slowing = true
		c.slowed++
	}
	if v.delay == 0 {
		return f.finished(x)
	}
	v.holding = true
	c.delayed++
	if f.spec.Abort == nil && !f.spec.Reset {
		f.judge(x, v) // before it waits: who leaves meanwhile is recorded, too
		return x.WaitUntil(x.Now().Add(v.delay), f.hold)
	}
	return x.WaitUntil(x.Now().Add(v.delay), f.finish)
}

// held goes on with a request that was judged before.
func (f *Filter) held(x *gateway.Exchange) gateway.Verdict {
	f.release(x, x.Kept().(*visit))
	return gateway.GoOn
}

// finished judges a request that has waited, or did not have to.
func (f *Filter) finished(x *gateway.Exchange) gateway.Verdict {
	v := x.Kept().(*visit)
	f.release(x, v)
	verdict := f.judge(x, v)
	if f.spec.Reset {
		return x.Answer(&gateway.Respond{Status: 503, Reason: ReasonReset})
	}
	return verdict
}

func (f *Filter) release(x *gateway.Exchange, v *visit) {
	if v.holding {
		v.holding = false
		f.state.on(x).delayed--
	}
}

// judge records what is done.
func (f *Filter) judge(x *gateway.Exchange, v *visit) gateway.Verdict {
	j := x.Judgement(f.guard)
	c := f.state.on(x)
	c.who = x.ClientAddr.AppendTo(append(c.who[:0], "client="...))
	j.Key = c.who
	j.Number("spent", float64(f.state.spent.Load()), "")
	if f.spec.Requests > 0 {
		j.Number("budget", float64(f.spec.Requests), "")
	}
	if v.delay > 0 {
		j.Number("delay", float64(v.delay)/float64(time.Millisecond), "ms")
	}
	if f.spec.Slow > 0 {
		j.Number("rate", float64(f.spec.Slow), "B/s")
	}
	switch {
	case f.spec.Abort != nil:
		j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, f.spec.Abort.Status, ReasonAbort, "A fault was injected on purpose."
	case f.spec.Reset:
		j.Outcome, j.Reason, j.Text = gateway.Degraded, ReasonReset, "the connection is reset on purpose"
	case f.spec.Cut > 0:
		j.Outcome, j.Reason, j.Text = gateway.Degraded, ReasonCut, "the answer is cut off on purpose"
		j.Number("cut", float64(f.spec.Cut), "B")
	case f.spec.Slow > 0:
		j.Outcome, j.Reason, j.Text = gateway.Degraded, ReasonSlow, "the answer is slowed down on purpose"
	default:
		j.Outcome, j.Reason, j.Text = gateway.Delayed, ReasonDelay, "the request is held on purpose"
	}
	return x.Judge(j)
}

// field says in the answer what was done to its request.
var field = []byte("X-Yumen-Fault")

// Response is the hook.
func (f *Filter) Response(x *gateway.Exchange, h *message.Head) {
	v, _ := x.Kept().(*visit)
	if v == nil || f.guard.Mode == gateway.Shadow || v.holding { // who is held is answered for another reason
		return
	}
	var space [len("delay, slow, cut")]byte
	words := space[:0]
	add := func(word string) {
		if len(words) > 0 {
			words = append(words, ", "...)
		}
		words = append(words, word...)
	}
	if v.delay > 0 {
		add("delay")
	}
	reason := x.Outcome().Reason
	switch {
	case reason == ReasonAbort:
		add("abort")
		if _, call := h.NextField("grpc-status", 0); call >= 0 && f.spec.Abort.GRPC > 0 {
			setStatus(h, f.spec.Abort.GRPC)
		}
	case reason == ReasonReset:
		x.AddStage(&v.cut)
		v.cut = cutting{over: true}
		return
	case reason == "" && h.Status != 101:
		if f.spec.Slow > 0 {
			add("slow")
			x.SlowAnswer(f.spec.Slow)
		}
		if f.spec.Cut > 0 {
			add("cut")
			v.cut = cutting{left: f.spec.Cut}
			x.AddStage(&v.cut)
		}
	}
	if len(words) > 0 {
		h.SetField(field, words)
	}
}

func setStatus(h *message.Head, status int) {
	var digits [2]byte
	b := digits[:0]
	if status >= 10 {
		b = append(b, '1')
	}
	h.SetField([]byte("Grpc-Status"), append(b, byte('0'+status%10)))
}

// Done is the hook: those that no fault was injected into are counted.
func (f *Filter) Done(x *gateway.Exchange) {
	c := f.state.on(x)
	v, _ := x.Kept().(*visit)
	if v != nil {
		f.release(x, v)
		if v.slowing {
			c.slowed--
		}
		if !v.cut.attached() && len(c.free) < visitsKept {
			*v = visit{}
			c.free = append(c.free, v)
		}
		if f.guard.Mode == gateway.Enforce {
			return
		}
	}
	stop := f.spec.Stop
	o := x.Outcome()
	if stop == nil || o.ClientGone {
		return
	}
	c.total.Store(c.total.Load() + 1)
	if o.Status >= 500 || o.Failure != nil && o.Failure.Side != gateway.Client {
		c.errors.Store(c.errors.Load() + 1)
	}
	if stop.P99 > 0 && o.Took > stop.P99 {
		c.slow.Store(c.slow.Load() + 1)
	}
}

// tell yields the numbers that operators see.
func (f *Filter) tell(yield func(number string, value float64)) {
	yield("seen", float64(f.state.seen()))
	yield("spent", float64(f.state.spent.Load()))
	if f.spec.Requests > 0 {
		yield("budget", float64(f.spec.Requests))
	}
	for how := stopped; int(how) < len(endWords); how++ {
		yield(endWords[how], float64(f.state.ends[how].Load()))
	}
}

// detail is the rest.
func (f *Filter) detail() any {
	d := struct {
		Experiment string     `json:"experiment"`
		Began      *time.Time `json:"began,omitempty"`
		Ends       *time.Time `json:"ends,omitempty"`
		Stopped    string     `json:"stopped,omitempty"`
	}{Experiment: f.spec.Experiment}
	if at := f.state.began.Load(); at != 0 {
		began := time.Unix(0, at).UTC()
		d.Began = &began
		if f.spec.After > 0 {
			ends := began.Add(f.spec.After)
			d.Ends = &ends
		}
	}
	if e := f.spec.Expires; !e.IsZero() && (d.Ends == nil || e.Before(*d.Ends)) {
		d.Ends = &e
	}
	if why := f.state.ended.Load(); why != nil {
		d.Stopped = *why
	}
	return d
}
