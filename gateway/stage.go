package gateway

import (
	"errors"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// Stage sees a body on its way and may change it. Calls come on the loop, in the order below; none behind Release.
type Stage interface {
	// Data takes the next n bytes of in, all of them, and appends to out what goes on.
	Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error
	// Flush appends to out what is held back: nothing has come for a while, and nothing may come for long. Data may follow.
	Flush(out *buf.Chain, p *buf.Pool) error
	// End appends the end: the body is complete.
	End(out *buf.Chain, p *buf.Pool) error
	// Release ends the stage. complete tells that End was called and the whole message went on as it should.
	Release(p *buf.Pool, complete bool)
}

// stages are those of one body, in the order in which it passes them.
type stages struct {
	list  []Stage
	out   buf.Chain // what came out of the last
	ended bool
	quiet bool // a turn has passed since the last data
	dirty bool // there was data since the last flush
}

func (s *stages) any() bool { return len(s.list) > 0 }

// owes tells that something may be held back.
func (s *stages) owes() bool { return s.dirty && !s.ended }

// data sends n bytes of src through all stages.
func (s *stages) data(src *buf.Chain, n int, p *buf.Pool) error {
	s.dirty, s.quiet = true, false
	if len(s.list) == 1 {
		behind := src.Len() - n
		err := s.list[0].Data(src, n, &s.out, p)
		if err != nil {
			src.Skip(p, src.Len()-behind) // what it left must not be taken for what comes next on the connection
		}
		return err
	}
	var from buf.Chain
	from.Take(p, src, n)
	return s.through(0, &from, p, nil)
}

// through sends all of from through the stages from i on; after does more to each once it has its data.
func (s *stages) through(i int, from *buf.Chain, p *buf.Pool, after func(t Stage, out *buf.Chain) error) error {
	for ; i < len(s.list); i++ {
		to := buf.Chain{}
		var err error
		if n := from.Len(); n > 0 {
			err = s.list[i].Data(from, n, &to, p)
		}
		if err == nil && after != nil {
			err = after(s.list[i], &to)
		}
		from.Release(p)
		*from = to
		if err != nil {
			from.Release(p)
			return err
		}
	}
	from.MoveTo(&s.out)
	return nil
}

func (s *stages) flush(p *buf.Pool) error {
	s.dirty = false
	var from buf.Chain
	return s.through(0, &from, p, func(t Stage, out *buf.Chain) error { return t.Flush(out, p) })
}

func (s *stages) end(p *buf.Pool) error {
	s.ended = true
	var from buf.Chain
	return s.through(0, &from, p, func(t Stage, out *buf.Chain) error { return t.End(out, p) })
}

// release ends the stages and makes s ready for another body.
func (s *stages) release(p *buf.Pool, complete bool) {
	for i, t := range s.list {
		t.Release(p, complete && s.ended)
		s.list[i] = nil
	}
	s.out.Release(p)
	*s = stages{list: s.list[:0]}
}

// AddStage puts a stage behind those that the answer's body passes already. It is for response hooks, which also say in the
// head how long the body will be.
func (x *Exchange) AddStage(s Stage) { x.answerStages.list = append(x.answerStages.list, s) }

// AddRequestStage does the same for the request's body, in request hooks. What has come of the body passes at once; with an
// error the request must be answered.
func (x *Exchange) AddRequestStage(s Stage) error {
	p := x.w.engine.Bufs
	x.requestStages.list = append(x.requestStages.list, s)
	last := len(x.requestStages.list) - 1
	var from buf.Chain
	x.held.MoveTo(&from)
	var end func(t Stage, out *buf.Chain) error
	if x.bodyEnded {
		x.requestStages.ended = true
		end = func(t Stage, out *buf.Chain) error { return t.End(out, p) }
	}
	err := x.requestStages.through(last, &from, p, end)
	x.requestStages.out.MoveTo(&x.held)
	if !x.bodyEnded && x.held.Len() < heldMax && x.client != nil { // the stage may wait for more than a filter before it did
		x.client.Resume()
	}
	return err
}

// BodyEnded tells whether all of the request's body has come.
func (x *Exchange) BodyEnded() bool { return x.bodyEnded }

// stageRequest sends a part of the request's body through its stages, into what is held. It returns false if the request was
// answered.
func (x *Exchange) stageRequest(src *buf.Chain, n int, end bool) bool {
	p := x.w.engine.Bufs
	var err error
	if n > 0 {
		err = x.requestStages.data(src, n, p)
	}
	if err == nil && end && !x.requestStages.ended {
		err = x.requestStages.end(p)
	}
	x.requestStages.out.MoveTo(&x.held)
	if err != nil {
		x.failStage(err)
		return false
	}
	if !x.requestStages.ended {
		x.workLater() // to flush, if nothing follows
	}
	return true
}

// failStage answers a request whose body a stage refuses.
func (x *Exchange) failStage(err error) {
	x.bodyBroken = true
	x.attempt.cancel(clientGone)
	var f *Failure
	var r *message.Refusal
	switch {
	case errors.As(err, &f):
		x.client.Last()
		x.fail(f)
	case errors.As(err, &r):
		x.refuse(r)
	default:
		x.refuse(&message.Refusal{Status: 400, Reason: "bad_body", Text: err.Error()})
	}
}

// releaseStages ends the stages of both bodies.
func (x *Exchange) releaseStages() {
	if x.answerStages.any() {
		x.answerStages.release(x.w.engine.Bufs, x.whole)
	}
	if x.requestStages.any() {
		x.requestStages.release(x.w.engine.Bufs, x.whole)
	}
}

// stageFault is an error of a stage of the answer.
type stageFault struct{ error }

// faultOf says what it means that an answer cannot go on.
func faultOf(err error) *Failure {
	if _, ok := err.(stageFault); ok {
		return badStage
	}
	return badResponse
}

// stageAnswer sends a part of the answer's body through its stages, and on to the client.
func (x *Exchange) stageAnswer(src *buf.Chain, n int) error {
	if err := x.answerStages.data(src, n, x.w.engine.Bufs); err != nil {
		return stageFault{err}
	}
	x.workLater() // to flush, if nothing follows
	return x.sendStaged()
}

func (x *Exchange) sendStaged() error {
	n := x.answerStages.out.Len()
	if n == 0 {
		return nil
	}
	return x.deliver(&x.answerStages.out, n)
}

// flushStages lets out what stages hold back once a whole turn has passed without data: a body that comes as fast as it can
// is not cut into as many pieces as it has turns.
func (x *Exchange) flushStages() {
	request, answer := x.requestStages.owes() && x.rest == nil, x.answerStages.owes() && x.answered
	if x.client == nil || !request && !answer {
		return
	}
	if request && !x.requestStages.quiet || answer && !x.answerStages.quiet {
		x.working = true
		x.w.engine.Loop.FlushLater(x)
	}
	if answer && x.answerStages.quiet {
		err := x.answerStages.flush(x.w.engine.Bufs)
		if err == nil {
			err = x.sendStaged()
		}
		if err != nil {
			x.attempt.cancel(badStage)
			x.cut(badStage)
			return
		}
	}
	if request && x.requestStages.quiet {
		err := x.requestStages.flush(x.w.engine.Bufs)
		x.requestStages.out.MoveTo(&x.held)
		if err != nil {
			x.failStage(err)
			return
		}
		x.passStaged()
	}
}

// Flush is called by the loop at the end of a turn: what comes from now on comes in the next.
func (x *Exchange) Flush() {
	x.requestStages.quiet, x.answerStages.quiet = true, true
	x.w.engine.Loop.WorkLater(x)
}

// sendEnd ends the answer. over tells that the client has all of it; else some is held, and the exchange ends when that has left.
func (x *Exchange) sendEnd(trailers *message.Fields) (over bool, err error) {
	if x.answerStages.any() && !x.answerStages.ended {
		if err := x.answerStages.end(x.w.engine.Bufs); err != nil {
			return false, stageFault{err}
		}
		if err := x.sendStaged(); err != nil {
			return false, err
		}
	}
	if x.slowed() && x.valve.held.Len() > 0 {
		x.valve.endLater(trailers)
		return false, nil
	}
	err = x.client.SendEnd(trailers)
	x.whole = err == nil
	return x.whole, err
}

// sendHeadAlone sends the head of an answer without a body, to which stages may add one. over is that of sendEnd.
func (x *Exchange) sendHeadAlone(h *message.Head) (over bool, err error) {
	if x.answerStages.any() {
		if err := x.answerStages.end(x.w.engine.Bufs); err != nil {
			return false, stageFault{err}
		}
		if x.answerStages.out.Len() > 0 {
			if err := x.client.SendHead(h, false); err != nil {
				return false, err
			}
			if err := x.sendStaged(); err != nil {
				return false, err
			}
			return x.sendEnd(nil)
		}
	}
	err = x.client.SendHead(h, true)
	x.whole = err == nil
	return x.whole, err
}

// WantBody is for filters that need the request's body before the request goes on: a client may wait with it until it is asked for
// (Expect, RFC 9110 10.1.1), which is else the upstream's to do.
func (x *Exchange) WantBody() { x.invite() }
