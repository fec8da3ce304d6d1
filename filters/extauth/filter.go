package extauth

import (
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/identity"
	"github.com/yumen-io/yumen/policy/retry"
)

// Filter is a compiled Spec. It is frozen, but for what it remembers, and shared by all loops.
type Filter struct {
	guard   *gateway.Guard
	spec    Spec
	forward identity.Forward
	sends   []string // fields of the request, in lower case; those of always are the last
	takes   []string // fields of the answer, likewise
	retry   *retry.Policy
	goOn    func(x *gateway.Exchange) gateway.Verdict // answered, bound once
	memory  *memory
}

// visit is one request's, from the hook to its end. Those of one question may be of different configurations, one that enforces
// and one in shadow mode. Loop-owned, and pooled.
type visit struct {
	x       *gateway.Exchange
	filter  *Filter
	flight  *flight // nil: the answer is there
	wake    gateway.Wake
	began   mono.Time
	verdict *verdict
	cached  bool
}

func (d *desk) visit() *visit {
	if n := len(d.free); n > 0 {
		v := d.free[n-1]
		d.free = d.free[:n-1]
		return v
	}
	return new(visit)
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "ext_auth", Request: f.Request, Response: f.Response, Done: f.Done}
}

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	d := f.memory.desks.On(x)
	t, keep := tag{}, false
	if f.spec.Cache != nil {
		t, keep = f.tagOf(x, d)
	}
	v := d.visit()
	*v = visit{x: x, filter: f, began: x.Now()}
	x.Keep(v)
	if keep {
		if v.verdict = d.known.get(&t, v.began); v.verdict != nil {
			v.cached = true
			return f.conclude(v)
		}
	}
	if v.waits() {
		v.wake = x.Suspend() // before the question: it may be answered at once
	}
	fl := d.flights[t]
	if !keep || fl == nil {
		if !v.waits() && d.aside >= asideMax {
			f.memory.shadowedOut.Add(1)
			v.verdict = &verdict{says: nobodyAsked}
			return f.conclude(v)
		}
		f.depart(x, d, v, t, keep)
	} else {
		f.memory.joined.Add(1)
		fl.join(v)
	}
	if v.waits() {
		return gateway.Waiting
	}
	return gateway.GoOn
}

// waits tells whether the request does.
func (v *visit) waits() bool { return v.filter.guard.Mode != gateway.Shadow }

// answered goes on with a request whose answer has come.
func (f *Filter) answered(x *gateway.Exchange) gateway.Verdict {
	return f.conclude(x.Kept().(*visit))
}

// conclude judges by the verdict.
func (f *Filter) conclude(v *visit) gateway.Verdict {
	x, said := v.x, v.verdict
	enforced := f.guard.Mode == gateway.Enforce
	j := x.Judgement(f.guard)
	d := f.memory.desks.On(x)
	d.who = x.ClientAddr.AppendTo(append(d.who[:0], "client="...))
	j.Key = d.who
	f.count(j, v)
	switch said.says {
	case yes:
		if enforced {
			f.forward.Apply(x.Request, said.field)
			said.apply(x.Request)
			if len(said.claims) > 0 {
				x.SetClaims(said)
			}
		}
		return x.Judge(j)
	case no, elsewhere:
		j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, said.status, ReasonDenied, "The request is not allowed."
		if said.says == elsewhere {
			j.Reason, j.Text = ReasonRedirected, "The request needs a login first."
		}
		return x.Judge(j)
	case nobodyAsked:
		j.Outcome, j.Reason, j.Text = gateway.Degraded, ReasonNotAsked, "Too many requests are being asked for."
		return x.Judge(j)
	}
	j.Outcome, j.Status, j.RetryAfter = gateway.Refused, 503, time.Second
	j.Reason, j.Text = ReasonUnreachable, "The service that decides about requests cannot be asked."
	if said.says == nonsense {
		j.Reason, j.Text = ReasonBadAnswer, "The service that decides about requests has not decided."
	}
	if f.spec.Open {
		j.Outcome, j.Status, j.RetryAfter = gateway.Degraded, 0, 0 // the client is told nothing of it
		if enforced {
			f.forward.Apply(x.Request, unknown)
		}
	}
	return x.Judge(j)
}

func unknown(string) ([]byte, bool) { return nil, false }

// count fills in the numbers.
func (f *Filter) count(j *gateway.Judgement, v *visit) {
	j.Number("took", float64(v.x.Now().Sub(v.began))/float64(time.Millisecond), "ms")
	if v.verdict.status != 0 {
		j.Number("status", float64(v.verdict.status), "")
	}
	cached := 0.0
	if v.cached {
		cached = 1
	}
	j.Number("cached", cached, "")
}

// Response is the hook: what the service has for the client.
func (f *Filter) Response(x *gateway.Exchange, h *message.Head) {
	v, _ := x.Kept().(*visit)
	if v == nil || v.verdict == nil || f.guard.Mode == gateway.Shadow {
		return
	}
	said := v.verdict
	switch said.says {
	case yes:
		for i := range said.client {
			h.AddString(said.client[i].Name, said.client[i].Value)
		}
	case no, elsewhere:
		// A filter before may have answered in the place of the refusal, and a call is told in the words of gRPC.
		if reason := x.Outcome().Reason; reason != ReasonDenied && reason != ReasonRedirected || h.Status != said.status {
			return
		}
		for i := range said.client {
			h.RemoveField([]byte(said.client[i].Name))
		}
		for i := range said.client {
			h.AddString(said.client[i].Name, said.client[i].Value)
		}
		if said.body != nil && string(x.Method()) != "HEAD" {
			h.Length = int64(len(said.body))
			x.AddStage(&instead{body: said.body})
		}
	}
}

// Done is the hook: an exchange that ends before its answer has come waits for it no longer.
func (f *Filter) Done(x *gateway.Exchange) {
	v, _ := x.Kept().(*visit)
	if v == nil {
		return
	}
	if v.flight != nil {
		v.flight.leave(v)
	}
	*v = visit{}
	if d := f.memory.desks.On(x); len(d.free) < visitsKept {
		d.free = append(d.free, v)
	}
}
