package cache

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// Request is the hook on the way in: it answers with what is kept, or lets the request go on, or wait for another's answer.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	h := x.Request
	if h.Upgrade.Len > 0 || isCall(h) {
		return gateway.GoOn
	}
	v := f.take(x)
	x.Keep(v)
	method := h.MethodBytes()
	v.head = string(method) == "HEAD"
	if !v.head && string(method) != "GET" {
		return f.other(x, v, method)
	}
	v.control = policy.ReadRequest(&h.Fields)
	switch {
	case h.Length != 0, !x.BodyEnded(): // what a body says is not in the key
		return f.pass(v, "request_body")
	case steers(&h.Fields):
		return f.pass(v, "unkeyed_field")
	case v.control.Is(policy.NoStore) && !f.spec.Rules.IgnoreRequest:
		return f.pass(v, "request")
	case policy.ForUpstream(&h.Fields):
		return f.pass(v, "condition")
	}
	if f.spec.Rules.IgnoreRequest {
		v.control = v.control.LeftOut()
	}
	v.url = f.appendURL(v.url[:0], x)
	v.prefix = f.appendPrefix(v.prefix[:0], x)
	if len(v.url)+len(v.prefix) > keyBytesMax {
		return f.pass(v, "long_key")
	}
	v.hash = f.store.hash(v.url)
	_, claimed := x.Claim("sub")
	v.identified = claimed || h.Has(message.Authorization)
	return f.look(x, v, true)
}

// isCall tells of a gRPC call, whose answers no cache understands.
func isCall(h *message.Head) bool {
	if h.IsMethod("GET") || h.IsMethod("HEAD") {
		return false
	}
	v, ok := h.Get(message.ContentType)
	return ok && len(v) >= len(grpcType) && message.EqualFold(v[:len(grpcType)], grpcType)
}

var grpcType = []byte("application/grpc")

// pass lets a request by.
func (f *Filter) pass(v *visit, why string) gateway.Verdict {
	v.state, v.said.Forward, v.said.Detail = passing, "bypass", why
	v.home.counts.bypassed.Add(1)
	return gateway.GoOn
}

// other lets a request by whose method is not one of those that are answered, and remembers what it may change.
func (f *Filter) other(x *gateway.Exchange, v *visit, method []byte) gateway.Verdict {
	v.state, v.said.Forward = passing, "method"
	v.home.counts.bypassed.Add(1)
	if !policy.IsSafe(method) {
		v.state = changing
		v.url = f.appendURL(v.url[:0], x)
	}
	return gateway.GoOn
}

// look looks up what is kept, and decides. mayWait allows to wait for another's answer if nothing is.
func (f *Filter) look(x *gateway.Exchange, v *visit, mayWait bool) gateway.Verdict {
	h, now := x.Request, x.Now()
	e, known := f.store.lookup(v.hash, v.url, v.prefix, &h.Fields, &v.home.bytes)
	v.began, v.said.Forward = now, "uri-miss"
	if known {
		v.said.Forward = "vary-miss"
	}
	if e == nil {
		return f.miss(x, v, mayWait)
	}
	age := e.ageAt(now)
	v.use = policy.Decide(&e.fresh, age, &v.control)
	v.condition = policy.Evaluate(&h.Fields, &e.fields, e.came, x.Wall().Unix())
	v.entry = e
	v.part, v.span = policy.All, policy.Span{}
	if !v.head && e.status == 200 {
		v.span, v.part = policy.ReadRange(&h.Fields, &e.fields, int64(len(e.body)), x.Wall().Unix())
	}
	e.touch()
	if v.use == policy.Fresh || v.use == policy.StaleAllowed {
		return f.use(x, v, age)
	}
	v.said.Forward = "stale"
	if e.fresh.Lifetime > age {
		v.said.Forward = "request" // it is fresh, and the request does not want it so
	}
	switch {
	case v.use == policy.Revalidate && f.shadows():
		f.pretend(x, v, age)
		return f.ask(x, v)
	case v.use == policy.Revalidate && f.direct(x):
		f.renew(x, v)
		return f.use(x, v, age)
	case v.use == policy.Revalidate:
		if fl := f.store.lead(v.hash, f.flightKey(v, e)); fl != nil {
			v.flight = fl
			return f.ask(x, v)
		}
		return f.use(x, v, age)
	case v.late && v.standsIn(age):
		v.said.Detail = ReasonCollapse
		f.degrade(x, v, age, ReasonCollapse, 0)
		return f.hit(x, v, age)
	}
	return f.miss(x, v, mayWait)
}

// use answers with the entry, or only says that it would have.
func (f *Filter) use(x *gateway.Exchange, v *visit, age duration) gateway.Verdict {
	f.pretend(x, v, age)
	if f.shadows() {
		v.state = passing
		return gateway.GoOn
	}
	return f.hit(x, v, age)
}

// pretend counts an answer from what is kept, and tells of it as the guard.
func (f *Filter) pretend(x *gateway.Exchange, v *visit, age duration) {
	v.home.counts.hits.Add(1)
	reason := ReasonHit
	if v.entry.fresh.Lifetime <= age {
		v.home.counts.stale.Add(1)
		reason = ReasonStale
	}
	j := x.Judgement(f.guard)
	j.Reason, j.Text, j.Key = reason, "what is kept is the answer", v.url
	f.numbers(j, v, age)
	x.Judge(j)
}

// flightKey is what requests have in common that wait for one answer: the URL, the prefix, and what the resource was last seen to
// vary by.
func (f *Filter) flightKey(v *visit, e *entry) []byte {
	b := append(append(v.home.bytes[:0], v.url...), 0)
	if e != nil {
		b = append(b, e.selector...)
	} else {
		b = append(b, v.prefix...)
	}
	v.home.bytes = b
	return b
}

// miss goes on to the upstream: as a leader, or by itself; or it waits for who leads.
func (f *Filter) miss(x *gateway.Exchange, v *visit, mayWait bool) gateway.Verdict {
	if f.shadows() { // its requests are as they come, and nobody waits
		return f.ask(x, v)
	}
	bypassing := f.store.bypassing(v.hash, v.began)
	asksTier := !bypassing && f.asksTier(v)
	if v.control.Is(policy.OnlyIfCached) {
		if asksTier && f.askTier(x, v) {
			return gateway.Waiting
		}
		return f.refuse(x, v)
	}
	h := x.Request
	v.plain = false
	if _, ranged := h.NextField("range", 0); ranged < 0 {
		// A condition is left out, and held against the answer here, unless that is likely not to be kept: what the upstream does not
		// have to send is then worth more.
		v.plain = !policy.Conditional(&h.Fields) || !v.identified && !bypassing
	}
	if v.entry != nil && policy.HasValidator(&v.entry.fields) {
		v.plain = true // a condition of our own takes the place of the client's
	}
	if f.spec.Collapse.Off || !mayWait || v.head || v.identified || !v.plain || bypassing {
		if asksTier && f.askTier(x, v) {
			return gateway.Waiting
		}
		return f.ask(x, v)
	}
	fl, waits := f.store.join(v.hash, f.flightKey(v, v.entry), f.spec.Collapse.Waiting, func() waiter {
		return waiter{x.Suspend(), v.waitUntil(x), &f.later}
	})
	if waits {
		v.home.counts.collapsed.Add(1)
		return gateway.Waiting
	}
	v.flight = fl
	if asksTier && f.askTier(x, v) {
		return gateway.Waiting
	}
	return f.ask(x, v)
}

// resume goes on with a request that waited. It waits again only if its leader's client left: one who leads anew after each
// answer that is of no use to the next would have all of them ask one after the other.
func (f *Filter) resume(x *gateway.Exchange, how landing) gateway.Verdict {
	v := x.Kept().(*visit)
	v.entry, v.said.Shared, v.late = nil, how == arrived, how == late
	return f.look(x, v, how == abandoned && v.until > x.Now())
}

// ask lets the request go on to the upstream, and makes it one about the kept response if that has something to ask with, or one for
// the whole response if that may be kept.
func (f *Filter) ask(x *gateway.Exchange, v *visit) gateway.Verdict {
	v.state, v.said.Shared = missing, false
	v.home.counts.misses.Add(1)
	v.since = f.store.generation(v.hash)
	h := x.Request
	h.CopyTo(&v.asked)
	j := x.Judgement(f.guard)
	j.Reason, j.Text, j.Key = ReasonMiss, "the upstream was asked", v.url
	x.Judge(j)
	switch {
	case v.head, f.shadows():
	case v.entry != nil && policy.AskAbout(&h.Fields, &v.entry.fields):
		v.asking, v.stripped = true, true
	case v.plain && policy.Conditional(&h.Fields):
		policy.DropConditions(&h.Fields)
		v.stripped = true
	}
	return gateway.GoOn
}

// refuse answers that nothing is kept (RFC 9111 5.2.1.7).
func (f *Filter) refuse(x *gateway.Exchange, v *visit) gateway.Verdict {
	v.state, v.entry, v.said.Forward = refusing, nil, ""
	v.said.Detail = ReasonOnlyIfCached
	r := &v.home.respond
	*r = gateway.Respond{Status: 504, Body: onlyIfCached, Reason: ReasonOnlyIfCached}
	return x.Answer(r)
}

var onlyIfCached = []byte("Nothing is kept for this request, and it asks for nothing else.\n")

// Failed is the hook for requests that went wrong: a response that is stale may stand in.
func (f *Filter) Failed(x *gateway.Exchange, why *gateway.Failure) gateway.Verdict {
	v, _ := x.Kept().(*visit)
	if v == nil || v.state != missing || v.entry == nil || !policy.IsError(why.Status) || why.Side == gateway.Client {
		return gateway.GoOn
	}
	age := v.entry.ageAt(x.Now())
	if !v.standsIn(age) {
		return gateway.GoOn
	}
	v.said.Detail = why.Reason
	f.degrade(x, v, age, why.Reason, why.Status)
	if f.shadows() {
		return gateway.GoOn
	}
	return f.hit(x, v, age)
}

// degrade tells as the guard that a stale answer stands in, for a reason: a failure's, the upstream's status, or that the answer
// that others wait for takes too long. status is what the client would have got; 0: nobody knows.
func (f *Filter) degrade(x *gateway.Exchange, v *visit, age duration, reason string, status int) {
	v.home.counts.hits.Add(1)
	v.home.counts.stale.Add(1)
	j := x.Judgement(f.guard)
	j.Outcome, j.Reason, j.Text, j.Key = gateway.Degraded, reason, "what is kept and stale stands in", v.url
	f.numbers(j, v, age)
	if status != 0 {
		j.Number("status", float64(status), "")
	}
	x.Judge(j)
}

// numbers are those of an entry that is an answer.
func (f *Filter) numbers(j *gateway.Judgement, v *visit, age duration) {
	ttl := v.entry.fresh.Lifetime
	j.Number("age", age.Seconds(), "s")
	j.Number("ttl", ttl.Seconds(), "s")
	if age >= ttl {
		j.Number("stale_for", (age - ttl).Seconds(), "s")
	}
}

// standsIn tells whether the entry may be the answer in the place of an error.
func (v *visit) standsIn(age duration) bool {
	return v.use == policy.Revalidate || policy.StandsIn(&v.entry.fresh, age, &v.control)
}

// Done is the hook at the end: a leader who did not land has lost its way, and a visit that nobody else holds goes back.
func (f *Filter) Done(x *gateway.Exchange) {
	v, _ := x.Kept().(*visit)
	if v == nil {
		return
	}
	if v.flight != nil && v.mode != filling {
		how := lost
		if x.Outcome().ClientGone {
			how = abandoned
		}
		f.land(v, how)
	}
	v.gone = x.Outcome().ClientGone
	if v.mode == idle {
		v.release()
	}
}

// shadows tells whether the filter only watches: it looks up, counts and keeps, and nobody notices.
func (f *Filter) shadows() bool { return f.guard.Mode == gateway.Shadow }

// land ends the flight that the visit leads, if it leads one.
func (f *Filter) land(v *visit, how landing) {
	if fl := v.flight; fl != nil {
		v.flight = nil
		f.store.land(fl, how)
	}
}

// Response is the hook on the way out: it makes an answer of a kept response, or keeps what comes from the upstream.
func (f *Filter) Response(x *gateway.Exchange, h *message.Head) {
	v, _ := x.Kept().(*visit)
	if v == nil {
		return
	}
	switch v.state {
	case serving:
		v.write(x, h)
	case changing:
		f.changed(x, v, h)
	case missing:
		if x.Outcome().Reason != "" { // an answer of the gateway's own
			f.land(v, lost)
			break
		}
		f.received(x, v, h)
	}
	if f.shadows() {
		return
	}
	if v.state != serving {
		removeTags(h)
	}
	if !f.spec.Quiet {
		b := v.said.Append(v.home.bytes[:0], cacheName)
		h.Add(statusField, b)
		v.home.bytes = b
	}
}

// changed takes out what an unsafe request made doubtful (RFC 9111 4.4).
func (f *Filter) changed(x *gateway.Exchange, v *visit, h *message.Head) {
	if x.Outcome().Reason != "" || !policy.Invalidates(h.Status) {
		return
	}
	n := f.store.change(v.url)
	scheme := x.Render(schemeOf)
	end := len(scheme) + len("://")
	authority := v.url[end:]
	if i := bytes.IndexByte(authority, '/'); i >= 0 {
		authority = authority[:i]
	}
	end += len(authority)
	base := v.url[end:]
	if i := bytes.IndexByte(base, '?'); i >= 0 {
		base = base[:i]
	}
	v.home.bytes = policy.EachTarget(h, string(scheme), authority, base, v.home.bytes, func(path []byte) {
		url := append(append(v.prefix[:0], v.url[:end]...), path...)
		v.prefix = url
		n += f.store.change(url)
	})
	v.home.counts.invalidated.Add(uint64(n))
}

const cacheName = "yumen"

var (
	statusField = []byte("Cache-Status")
	ageField    = []byte("Age")
	reasonField = []byte("X-Yumen-Reason")
	// degradedField says that an answer is not as fresh as it should be; filters/fallback knows further words for it.
	degradedField, degradedStale = []byte("X-Degraded"), []byte("stale")
)
