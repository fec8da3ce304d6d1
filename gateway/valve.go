package gateway

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
)

// valve lets the body of an answer go on at so many bytes a second. It is the last that a body passes, behind all stages, so that
// none of them has to wait in the middle of its work: they end when the upstream does, and what came out of them is held here.
//
// When it holds valveBytesMax, whoever the body comes from is asked to wait, as for a client that does not read: its silence then
// means nothing. An upstream that has nothing to say while the valve has room for it is as late as any other. Loop-owned, and kept
// by its exchange for the next.
type valve struct {
	// Set at birth of the pooled object.
	x     *Exchange
	timer loop.Timer

	flow        outflow // not in use: all goes on at once
	held        buf.Chain
	ends        bool // the answer is complete behind what is held
	trailers    message.Fields
	hasTrailers bool
	failure     *Failure // it breaks off there; nil: it does not
}

const (
	// valveBytesMax is how much is held before its source is asked to wait: what a slow answer costs, and one read above it. Little,
	// since it makes up for no jitter: what the client may have at once is not held.
	valveBytesMax = 16 << 10
	// ValveRateMax bounds the rate: what is faster is no slow answer.
	ValveRateMax = 1 << 30
)

// SlowAnswer has the answer's body leave at so many bytes a second at most, from 1 to ValveRateMax. It is for response hooks; of
// several the slowest counts. Neither heads nor what comes of a WebSocket are slowed. The limit on the whole exchange goes on, and
// an answer that breaks off does so behind what came of it.
func (x *Exchange) SlowAnswer(bytesPerSecond int64) {
	if x.valve == nil {
		x.valve = &valve{x: x}
		x.valve.timer.Init(x.valve)
	}
	v := x.valve
	rate := max(1, min(bytesPerSecond, ValveRateMax))
	if v.flow.rate == 0 {
		v.flow = outflow{rate: rate, due: x.w.now()}
	}
	v.flow.rate = min(v.flow.rate, rate)
}

// slowed tells that the answer passes a valve.
func (x *Exchange) slowed() bool { return x.valve != nil && x.valve.flow.rate > 0 }

// deliver sends a part of the answer's body to the client, or holds it for that.
func (x *Exchange) deliver(src *buf.Chain, n int) error {
	if x.slowed() {
		x.valve.held.Take(x.w.engine.Bufs, src, n)
		return x.valve.open()
	}
	x.bodyOut += int64(n)
	return x.client.SendData(src, n)
}

// full tells that the answer's source must wait. It is told when it need not any more.
func (x *Exchange) full() bool {
	return x.slowed() && x.valve.held.Len() >= valveBytesMax || x.client.Full()
}

// deaf tells that what comes of the request from now on is of no use to anybody: its answer is complete, and only has to leave.
func (x *Exchange) deaf() bool { return x.rest != nil || x.slowed() && x.valve.ends }

// cutBehind cuts the answer behind what is held of it.
func (x *Exchange) cutBehind(f *Failure) {
	if v := x.valve; x.slowed() && v.failure == nil && v.held.Len() > 0 {
		v.failure = f
		return
	}
	x.cut(f)
}

// open lets go on what may, and sees to it that it is called again for the rest: at its time, or when the client has room again.
func (v *valve) open() error {
	x := v.x
	p := x.w.engine.Bufs
	n := min(v.flow.allowed(x.w.now()), v.held.Len())
	if n > 0 && !x.client.Full() {
		v.flow.spend(n)
		x.bodyOut += int64(n)
		if err := x.client.SendData(&v.held, n); err != nil {
			v.held.Release(p)
			return err
		}
	}
	if left := v.held.Len(); left > 0 && !x.client.Full() {
		x.w.engine.Loop.Arm(&v.timer, v.flow.next(left))
	}
	return nil
}

// Expire is called by the loop: more may go on.
func (v *valve) Expire(*loop.Timer) { v.goOn() }

// goOn is called when more may go on, or the client takes more.
func (v *valve) goOn() {
	x := v.x
	if v.failure != nil && v.held.Len() == 0 {
		x.cut(v.failure)
		return
	}
	err := v.open()
	switch {
	case err != nil && x.rest != nil:
		x.cut(badStage)
	case err != nil:
		x.attempt.spoiled(err)
	case v.failure != nil:
		if v.held.Len() == 0 { // what was just sent leaves at the end of this turn, and the cut must not overtake it
			x.w.engine.Loop.Arm(&v.timer, x.w.now())
		}
	case v.ends:
		if v.held.Len() == 0 {
			v.end()
		}
	case !x.full():
		x.feedOn()
	}
}

// feedOn has the source of the answer's body go on, if it waits.
func (x *Exchange) feedOn() {
	if x.rest != nil {
		x.feed()
		return
	}
	if s := x.attempt.stream; s != nil && s.Paused() { // else the time that it has to say more would begin anew
		x.attempt.resume()
	}
}

// endLater notes that the answer is complete.
func (v *valve) endLater(trailers *message.Fields) {
	v.ends = true
	if v.hasTrailers = trailers != nil; v.hasTrailers {
		trailers.CopyTo(&v.trailers)
	}
}

// end ends the answer when all of it has gone on.
func (v *valve) end() {
	x := v.x
	var trailers *message.Fields
	if v.hasTrailers {
		trailers = &v.trailers
	}
	if err := x.client.SendEnd(trailers); err != nil {
		x.attempt.spoiled(err)
		return
	}
	x.whole = true
	x.client = nil
	x.attempt.complete()
}

// giveWay lets go on all that is held: the answer is broken off, and there may be words for that, which come behind.
func (v *valve) giveWay() {
	x := v.x
	if n := v.held.Len(); n > 0 && v.x.client != nil {
		x.bodyOut += int64(n)
		_ = x.client.SendData(&v.held, n) // if it does not fit, the cut that follows tells the client
	}
	v.release()
}

// release makes the valve ready for another answer.
func (v *valve) release() {
	v.x.w.engine.Loop.Disarm(&v.timer)
	v.held.Release(v.x.w.engine.Bufs)
	v.trailers.Reset()
	v.flow, v.ends, v.hasTrailers, v.failure = outflow{}, false, false, nil
}
