package mirror

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// flight is one copy: collected while the request passes, sent when that is complete, and answered to nobody. It may outlive the
// exchange it is a copy of. Loop-owned, and pooled by its loop.
//
// It is held by whoever may still call it: the stage of the request's body until that is released, the errand until it has
// ended. When nobody holds it, its place is free.
type flight struct {
	f    *Filter
	home *loopState
	hold int

	head    message.Head // of the copy
	body    []byte
	request requestStage
	placed  bool // it counts as under way
	gone    bool // there will be no copy
	copy    side

	// Of one whose answers are compared.
	compared *comparison
	answer   answerStage
	third    side
}

// open takes a place, and the head as it is now. The caller holds the flight.
func (f *Filter) open(x *gateway.Exchange, l *loopState) *flight {
	var t *flight
	if n := len(l.free); n > 0 {
		t = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		t = new(flight)
	}
	t.f, t.home, t.hold, t.placed, t.gone = f, l, 1, true, false
	t.request.t, t.copy.t, t.third.t = t, t, t
	l.inFlight++
	f.state.inFlight.Add(1)
	x.Request.CopyRequest(&t.head)
	f.change(&t.head)
	return t
}

// send begins the errand. The exchange that the copy is of need not be there when it ends.
func (t *flight) send(x *gateway.Exchange) {
	t.hold++ // the errand's
	t.f.state.add(sent)
	t.copy.begin(x, t.f.spec.Cluster)
}

// drop ends a flight that has not begun.
func (t *flight) drop(why count) {
	if t.gone {
		return
	}
	t.gone = true
	t.f.state.add(why)
	t.body = t.body[:0]
	t.leave()
}

// leave gives the place back.
func (t *flight) leave() {
	if t.placed {
		t.placed = false
		t.home.inFlight--
		t.f.state.inFlight.Add(-1)
	}
}

// release undoes one hold.
func (t *flight) release() {
	if t.hold--; t.hold > 0 {
		return
	}
	t.leave()
	if t.compared != nil {
		t.conclude()
		t.compared = nil
	}
	l := t.home
	t.f, t.home, t.body = nil, nil, t.body[:0]
	t.copy.reset()
	t.third.reset()
	if len(l.free) < flightsKept {
		l.free = append(l.free, t)
	}
}

// requestStage collects the request's body as it passes.
type requestStage struct {
	t     *flight
	x     *gateway.Exchange // until Release
	ended bool
}

// watch makes the stage for an exchange.
func (t *flight) watch(x *gateway.Exchange) *requestStage {
	t.hold++
	t.request.x, t.request.ended = x, false
	return &t.request
}

// Data is for gateway.Stage.
func (s *requestStage) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	t := s.t
	if !t.gone && int64(len(t.body)+n) > t.f.spec.BodyBytesMax {
		t.drop(bodyTooLarge)
	}
	if t.gone {
		out.Take(p, in, n)
		return nil
	}
	t.body = passOn(t.body, in, n, out, p)
	return nil
}

// passOn appends the next n bytes of in to b and to out.
func passOn(b []byte, in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) []byte {
	for n > 0 {
		front := in.Front()
		front = front[:min(len(front), n)]
		b = append(b, front...)
		n -= len(front)
		out.Take(p, in, len(front))
	}
	return b
}

// Flush is for gateway.Stage.
func (s *requestStage) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End is for gateway.Stage: the request is complete, and can be copied.
func (s *requestStage) End(*buf.Chain, *buf.Pool) error {
	s.ended = true
	if !s.t.gone {
		s.t.send(s.x)
	}
	return nil
}

// Release is for gateway.Stage.
func (s *requestStage) Release(*buf.Pool, bool) {
	s.x = nil
	if !s.ended {
		s.t.drop(requestIncomplete)
	}
	s.t.release()
}

// side is one copy that was sent, and its answer.
type side struct {
	t      *flight
	into   *answer // nil: it is thrown away
	began  mono.Time
	errand gateway.Sent
	came   int64 // of the answer's body
	status int
	long   bool // it is on the list of those that are left
	ended  bool
}

// begin sends the flight's head and body to a cluster. The answer may come within the call.
func (s *side) begin(x *gateway.Exchange, to gateway.ClusterRef) {
	t := s.t
	t.hold++ // for this call
	s.began = mono.Now()
	s.errand = x.Send(gateway.Errand{Cluster: to, Head: &t.head, Body: t.body, Timeout: t.f.spec.Timeout, Answers: s})
	t.release()
}

func (s *side) reset() { *s = side{} }

// AnswerHead is for engine.Answers.
func (s *side) AnswerHead(h *message.Head) {
	s.status = h.Status
	if a := s.into; a != nil {
		a.read(h, &s.t.f.spec.Compare.Config)
		a.took = mono.Now().Sub(s.began)
	}
	if h.Length > answerBytesMax {
		s.tooLong()
	}
}

// AnswerData is for engine.Answers.
func (s *side) AnswerData(src *buf.Chain, n int, p *buf.Pool) {
	if a := s.into; a != nil && !a.large && a.room(n, s.t.f.spec.Compare.BodyBytesMax) {
		a.Body = append(a.Body, src.Pull(p, n)[:n]...)
	}
	src.Skip(p, n)
	if s.came += int64(n); s.came > answerBytesMax {
		s.tooLong()
	}
}

// tooLong has the errand ended soon. It cannot be ended within a call of its own.
func (s *side) tooLong() {
	if !s.long {
		s.long = true
		if s.into != nil {
			s.into.large = true
		}
		s.t.home.overlong = append(s.t.home.overlong, s)
	}
}

// leaveOverlong ends errands whose answers are too long, when the loop comes by the next time: with a request, or else when their
// time is over.
func (l *loopState) leaveOverlong() {
	for i, s := range l.overlong {
		l.overlong[i] = nil
		s.errand.Cancel()
		s.over(answered)
	}
	l.overlong = l.overlong[:0]
}

// AnswerEnd is for engine.Answers.
func (s *side) AnswerEnd(*message.Fields) {
	if s.into != nil {
		s.into.whole = true
	}
	s.end(answered)
}

// AnswerFailed is for engine.Answers.
func (s *side) AnswerFailed(error) { s.end(failed) }

// end is called by the errand.
func (s *side) end(how count) {
	if s.long {
		l := s.t.home
		for i, o := range l.overlong {
			if o == s {
				l.overlong = append(l.overlong[:i], l.overlong[i+1:]...)
				break
			}
		}
	}
	s.over(how)
}

// over counts how the copy ended, and gives up the errand's hold.
func (s *side) over(how count) {
	t := s.t
	s.ended = true
	if s == &t.copy {
		t.f.state.add(how)
		if s.status >= 500 {
			t.f.state.add(answeredErrors)
		}
	}
	t.release()
}
