package extauth

import (
	"slices"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// flight is a question under way, and who waits for its answer. Loop-owned. It is the engine.Answers of its errand.
type flight struct {
	filter  *Filter
	desk    *desk
	tag     tag
	keep    bool // the verdict, in the cache; others may join
	shadow  bool // sent for a request that does not wait: it is given up for nobody
	began   mono.Time
	waiters []*visit
	late    int // requests of shadow mode that ended before the answer
	sent    gateway.Sent
	landed  bool

	// The answer.
	verdict *verdict // of a refusal whose body is coming
	kind    string   // its type
	body    []byte
	tooLong bool
	call    call // of an answer over gRPC
}

// depart sends the question of v's request.
func (f *Filter) depart(x *gateway.Exchange, d *desk, v *visit, t tag, keep bool) {
	fl := &flight{filter: f, desk: d, tag: t, keep: keep, shadow: !v.waits(), began: v.began}
	fl.join(v)
	if fl.shadow {
		d.aside++
	}
	if keep {
		if d.flights == nil {
			d.flights = map[tag]*flight{}
		}
		d.flights[t] = fl
	}
	f.memory.asked.Add(1)
	e := gateway.Errand{Cluster: f.spec.Cluster, Head: &d.head, Timeout: f.spec.Timeout, Retry: f.retry, Answers: fl}
	if f.spec.GRPC {
		e.Body = f.askByCall(x, d)
	} else {
		f.ask(x, d)
	}
	fl.sent = x.Send(e)
}

func (fl *flight) join(v *visit) {
	v.flight = fl
	fl.waiters = append(fl.waiters, v)
}

// leave takes out who has ended. A question that nobody waits for is given up, but for one of shadow mode, for which nobody waits.
func (fl *flight) leave(v *visit) {
	i := slices.Index(fl.waiters, v)
	if i < 0 {
		return
	}
	fl.waiters = slices.Delete(fl.waiters, i, i+1)
	if !v.waits() {
		fl.late++
	}
	if len(fl.waiters) == 0 && !fl.landed && !fl.shadow {
		fl.forget()
		fl.landed = true
		fl.sent.Cancel()
	}
}

func (fl *flight) forget() {
	if fl.keep && fl.desk.flights[fl.tag] == fl {
		delete(fl.desk.flights, fl.tag)
	}
}

// land gives the verdict to all who wait for it.
func (fl *flight) land(said *verdict) {
	if fl.landed {
		return
	}
	fl.landed = true
	fl.forget()
	f := fl.filter
	decided := said.says <= elsewhere
	if !decided {
		f.memory.unanswered.Add(1)
	}
	if fl.keep && decided && !said.once && said.size() <= entryBytesMax {
		// Good from when it was asked for: what changed meanwhile is not known longer than the document allows.
		said.until = fl.began.Add(f.spec.Cache.For)
		fl.desk.known.put(&fl.tag, said, f.spec.Cache.EntriesMax)
	}
	if fl.shadow {
		fl.desk.aside--
	}
	switch {
	case said.says == yes:
		f.memory.lateYes.Add(uint64(fl.late))
	case said.says <= elsewhere || !f.spec.Open:
		f.memory.lateNo.Add(uint64(fl.late))
	}
	waiters := fl.waiters
	fl.waiters = nil
	for _, v := range waiters {
		v.flight, v.verdict = nil, said
		if v.waits() {
			v.wake.Soon(v.filter.goOn)
		} else {
			v.filter.conclude(v)
		}
	}
}

// AnswerHead is for engine.Answers.
func (fl *flight) AnswerHead(h *message.Head) {
	if fl.filter.spec.GRPC {
		fl.call.head(h)
		return
	}
	v := fl.filter.readHead(h)
	if v.says != no && v.says != elsewhere || fl.filter.spec.RefusalBodyMax == 0 {
		fl.land(v) // a body would change nothing
		return
	}
	fl.verdict = v
	if kind, ok := h.NextField("content-type", 0); ok >= 0 {
		fl.kind = string(kind)
	}
	if _, coded := h.NextField("content-encoding", 0); coded >= 0 { // nobody asked for one: the client may not know it
		fl.tooLong = true
	}
}

// AnswerData is for engine.Answers.
func (fl *flight) AnswerData(src *buf.Chain, n int, p *buf.Pool) {
	most := fl.filter.spec.RefusalBodyMax
	if fl.filter.spec.GRPC {
		most = answerBytesMax
	}
	if fl.landed || fl.tooLong || len(fl.body)+n > most {
		fl.tooLong, fl.body = true, nil
		src.Skip(p, n)
		return
	}
	for n > 0 {
		part := src.Front()
		part = part[:min(n, len(part))]
		fl.body = append(fl.body, part...)
		src.Skip(p, len(part))
		n -= len(part)
	}
}

// AnswerEnd is for engine.Answers.
func (fl *flight) AnswerEnd(trailers *message.Fields) {
	switch {
	case fl.landed:
	case fl.filter.spec.GRPC:
		fl.land(fl.filter.readCall(&fl.call, fl.body, fl.tooLong, trailers))
	default:
		if !fl.tooLong {
			fl.verdict.takeBody(fl.body, fl.kind)
		}
		fl.land(fl.verdict)
	}
}

// AnswerFailed is for engine.Answers. A refusal that lost its body is one.
func (fl *flight) AnswerFailed(err error) {
	if fl.verdict != nil {
		fl.land(fl.verdict)
		return
	}
	v := &verdict{says: nothing}
	if f, ok := err.(*gateway.Failure); ok && f.Reason == "bad_response" {
		v.says = nonsense
	}
	fl.land(v)
}
