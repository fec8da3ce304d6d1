package gateway

import (
	"strconv"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// Translator makes of one exchange's request one of another kind, and of its answer one that the client understands: it sees
// bodies, which hooks do not. A filter's request hook sets it; there is one at most. All calls come on the loop, in the order
// below, and none behind Release.
//
// A *Respond that a call returns is an answer in place of what was under way: given to the client as it is, as long as
// nothing else was, else a cut.
type Translator interface {
	// Whole tells that the upstream is asked only when the whole request has come and was found good.
	Whole() bool
	// RequestBody takes the next n bytes of the client's body from in, all of them, and appends to out what the upstream gets.
	// end says that they are the last.
	RequestBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool, end bool) *Respond
	// ResponseHead changes the answer's head into what the client gets. hold keeps it back until there is something behind it.
	ResponseHead(h *message.Head) (hold bool, r *Respond)
	// ResponseBody takes the next n bytes of the upstream's body from in, all of them, and appends to out what the client gets.
	ResponseBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) *Respond
	// ResponseEnd ends the answer. The trailers, which may be nil, are those of the upstream; for an answer without a body its
	// head. It may append to out, and returns the trailers that the client gets.
	ResponseEnd(trailers *message.Fields, out *buf.Chain, p *buf.Pool) (*message.Fields, *Respond)
	// Explain says in the client's words what went wrong, as long as nothing of an answer has left.
	Explain(e Explanation) *Respond
	// Break says it when something has: it appends to out what ends the answer. false: the client has no words for that, and
	// its answer is cut.
	Break(e Explanation, out *buf.Chain, p *buf.Pool) bool
	// Release gives back what the translator holds.
	Release(p *buf.Pool)
}

// Explanation is why the gateway answers in the place of an upstream, or breaks off its answer: in HTTP's words and in gRPC's.
type Explanation struct {
	Status int
	Code   retry.GRPCStatus
	Reason string // the one word that header, log and metric have too
	Text   string // a sentence
	// Of a guard's refusal: when it is worth while to ask again, 0 if that is not known, and further fields. The gateway adds
	// them to the head of the answer; who has another place for them puts them there too.
	RetryAfter time.Duration
	Fields     []Field
}

// Pushback appends the time to wait as gRPC says it, in the field grpc-retry-pushback-ms: in milliseconds, rounded up.
func (e *Explanation) Pushback(b []byte) []byte {
	return strconv.AppendInt(b, ceil(e.RetryAfter, time.Millisecond), 10)
}

// Seconds appends the time to wait as HTTP says it, in the field Retry-After (RFC 9110 10.2.3): in seconds, rounded up.
func (e *Explanation) Seconds(b []byte) []byte {
	return strconv.AppendInt(b, ceil(e.RetryAfter, time.Second), 10)
}

func ceil(d, unit time.Duration) int64 {
	n := int64(d / unit)
	if d%unit > 0 {
		n++
	}
	return n
}

// addTo adds to an answer's head what a guard has to say beyond its status.
func (e *Explanation) addTo(h *message.Head) {
	if e.RetryAfter > 0 {
		h.RemoveField([]byte("Retry-After"))
		var space [20]byte
		h.Add([]byte("Retry-After"), e.Seconds(space[:0]))
	}
	for i := range e.Fields {
		h.AddString(e.Fields[i].Name, e.Fields[i].Value)
	}
}

// Translate sets the exchange's translator. It is for request hooks.
func (x *Exchange) Translate(t Translator) { x.translator = t }

// Answer answers the request, for a request hook that finds that nothing can be translated.
func (x *Exchange) Answer(r *Respond) Verdict {
	x.replyInstead(r)
	return Answered
}

// translateRequest translates the next part of the request. It returns false if it was answered.
func (x *Exchange) translateRequest(src *buf.Chain, n int, end bool) bool {
	if r := x.translator.RequestBody(src, n, &x.held, x.w.engine.Bufs, end); r != nil {
		x.attempt.cancel(clientGone)
		x.replyInstead(r)
		return false
	}
	return true
}

// invite asks for a body that its client sends only when it is asked to: the upstream, which would ask for it else, does not
// know of the request before it is whole.
func (x *Exchange) invite() {
	if !x.Request.Has(message.Expect) {
		return
	}
	x.Request.Remove(message.Expect)
	if !x.bodyEnded {
		h := &x.w.answer
		h.Reset()
		h.Status = 100
		x.client.SendInterim(h)
	}
}

// wholeCame goes on to the upstream with a request that is complete.
func (x *Exchange) wholeCame() {
	x.Request.Length = int64(x.held.Len())
	x.proxy()
}

// replyInstead answers with what a translator found out.
func (x *Exchange) replyInstead(r *Respond) {
	if x.answered {
		x.cut(&Failure{Side: Upstream, Status: r.Status, Reason: reasonTranslation, Text: "the answer could not be translated"})
		return
	}
	if x.reason = r.Reason; x.reason == "" {
		x.reason = reasonTranslation
	}
	var h *message.Head
	if r.Stored {
		h = &x.w.answer
		h.Reset()
		h.Status = r.Status
	} else {
		h = x.w.newAnswer(r.Status, x.reason, x.requestID)
	}
	for _, f := range r.Fields {
		h.AddString(f.Name, f.Value)
	}
	if r.Stored {
		x.tellRequestID(h)
	}
	x.send(h, r.Body)
}

// explain answers a client that does not understand plain HTTP: in the translator's words, in those of gRPC, or in those of a bridge
// that the request has not come to yet. It returns false if the client does.
func (x *Exchange) explain(e Explanation) bool {
	var r *Respond
	switch {
	case x.translator != nil:
		r = x.translator.Explain(e)
	case x.grpc:
		x.sayGRPC(&e)
		return true
	default:
		r = x.explainAhead(&e)
	}
	if r == nil {
		return false
	}
	h := x.w.newAnswer(r.Status, e.Reason, x.requestID)
	for _, f := range r.Fields {
		h.AddString(f.Name, f.Value)
	}
	e.addTo(h)
	x.send(h, r.Body)
	return true
}

// explainAhead asks the bridges of the route; nil if the client is none of theirs.
func (x *Exchange) explainAhead(e *Explanation) *Respond {
	if x.Route == nil {
		return nil
	}
	for i := range x.Route.Filters {
		if do := x.Route.Filters[i].Explain; do != nil {
			if r := do(x, *e); r != nil {
				return r
			}
		}
	}
	return nil
}

// breakOff ends an answer that began and cannot be completed so that its client is told. It returns false if there is no way.
func (x *Exchange) breakOff(s *engine.Stream, f *Failure) bool {
	switch t := x.translator; {
	case x.errand: // whoever sent it is told in so many words
	case t != nil:
		if !t.Break(Explanation{Status: f.Status, Code: callStatus(f.Status, f.Reason), Reason: f.Reason, Text: f.Text}, &x.translated, x.w.engine.Bufs) {
			return false
		}
		if f == badStage {
			return false
		}
		x.client = s
		err := x.sendData(&x.translated, x.translated.Len())
		if err == nil {
			_, err = x.sendEnd(nil)
		}
		x.client, x.whole = nil, false
		return err == nil
	case x.grpc:
		return x.endWithStatus(s, f) == nil
	}
	return false
}

// headTranslated passes a head on, unless its translator keeps it until there is more. It returns false if the exchange is
// over.
func (a *Attempt) headTranslated(h *message.Head) bool {
	x := a.x
	hold, r := x.translator.ResponseHead(h)
	if r != nil {
		a.instead(r)
		return false
	}
	a.holds = hold
	return hold || a.releaseHead()
}

// releaseHead sends the head that was kept. It returns false if the exchange is over.
func (a *Attempt) releaseHead() bool {
	a.holds = false
	if _, err := a.x.sendHead(a.response, false); err != nil {
		a.spoiled(err)
		return false
	}
	return true
}

// instead answers in the place of the upstream.
func (a *Attempt) instead(r *Respond) {
	if !a.sendTranslated() { // what was good goes first
		return
	}
	a.giveUp(health.BadResponse)
	a.x.replyInstead(r)
}

// dataTranslated passes a part of the answer on. It returns false if the exchange is over.
func (a *Attempt) dataTranslated(src *buf.Chain, n int) bool {
	x := a.x
	if r := x.translator.ResponseBody(src, n, &x.translated, x.w.engine.Bufs); r != nil {
		a.instead(r)
		return false
	}
	return a.sendTranslated()
}

func (a *Attempt) sendTranslated() bool {
	x := a.x
	if x.translated.Len() == 0 {
		return true
	}
	if a.holds && !a.releaseHead() {
		return false
	}
	if err := x.sendData(&x.translated, x.translated.Len()); err != nil {
		a.spoiled(err)
		return false
	}
	return true
}

// endTranslated ends the answer. trailers may be its head's fields, if it has no body.
func (a *Attempt) endTranslated(trailers *message.Fields) {
	x := a.x
	own, r := x.translator.ResponseEnd(trailers, &x.translated, x.w.engine.Bufs)
	if r != nil {
		a.instead(r)
		return
	}
	if a.holds { // all of it is known
		a.response.Length = int64(x.translated.Len())
		if own != nil {
			a.response.Length = message.UnknownLength
		}
	}
	if !a.sendTranslated() || a.holds && !a.releaseHead() {
		return
	}
	a.sendEnd(own)
}
