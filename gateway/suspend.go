package gateway

import (
	"time"

	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/internal/mono"
)

// Wake goes on with an exchange that a filter has suspended. It is used once. If the exchange has ended meanwhile, nothing
// happens.
type Wake struct {
	x      *Exchange
	serial uint64
}

// Suspend is called by a request hook that cannot say yet how the request goes on, and then returns Waiting. What comes of the
// request's body is held, and its client asked to wait when that is much. The route's limit on the whole exchange goes on.
func (x *Exchange) Suspend() Wake {
	x.serial++
	x.waiting = true
	if limit := x.limit(); limit > 0 {
		x.w.engine.Loop.Arm(&x.timer, x.began.Add(limit))
	}
	return Wake{x, x.serial}
}

// Post has then run on the exchange's loop, and the exchange go on as it says. From any goroutine.
func (k Wake) Post(then func(x *Exchange) Verdict) {
	k.x.w.engine.Loop.Post(func() { k.wake(then) })
}

// Soon is Post for those who are on the exchange's loop already. It does not go on within the call.
func (k Wake) Soon(then func(x *Exchange) Verdict) {
	x := k.x
	if !x.waiting || x.serial != k.serial {
		return
	}
	if x.attempt.step == stepFilter { // it is not waited for the time any more
		x.attempt.step = stepNone
		x.w.engine.Loop.Disarm(&x.attempt.timer)
	}
	x.then = then
	x.workLater()
}

func (k Wake) wake(then func(x *Exchange) Verdict) {
	if x := k.x; x.waiting && x.serial == k.serial {
		x.goOn(then)
	}
}

// endWait makes late whoever would wake the exchange from now on.
func (x *Exchange) endWait() {
	if !x.waiting {
		return
	}
	x.serial++
	x.waiting, x.then = false, nil
	x.attempt.step = stepNone
	x.w.engine.Loop.Disarm(&x.attempt.timer)
}

// goOn ends the wait.
func (x *Exchange) goOn(then func(x *Exchange) Verdict) {
	x.endWait()
	if then(x) == GoOn && x.filterRequest() {
		x.dispatch()
	}
}

// SuspendUntil is Suspend with a time at which late says how it goes on, if nobody has woken the exchange before.
func (x *Exchange) SuspendUntil(t mono.Time, late func(x *Exchange) Verdict) Wake {
	k := x.Suspend()
	x.then = late
	x.attempt.step = stepFilter
	x.w.engine.Loop.Arm(&x.attempt.timer, t)
	return k
}

// WaitUntil suspends the exchange until then, at the earliest.
func (x *Exchange) WaitUntil(t mono.Time, then func(x *Exchange) Verdict) Verdict {
	x.SuspendUntil(t, then)
	return Waiting
}

// waited is called when the time of WaitUntil has come.
func (x *Exchange) waited() {
	x.attempt.step = stepNone
	if then := x.then; x.waiting && then != nil {
		x.goOn(then)
	}
}

// Offload has work done by one of the process's goroutines for what takes longer than a loop has, and goes on with what then
// says. If too much waits for them, the exchange fails.
func (x *Exchange) Offload(work func(), then func(x *Exchange) Verdict) Verdict {
	offload := x.w.gateway.offload
	k := x.Suspend()
	if offload != nil && offload(func() { work(); k.Post(then) }) {
		return Waiting
	}
	x.endWait()
	x.fail(tooMuchWork)
	return Answered
}

// workLater has Work called in this turn, or in the next.
func (x *Exchange) workLater() {
	if !x.working {
		x.working = true
		x.w.engine.Loop.WorkLater(x)
	}
}

// Work is called by the loop.
func (x *Exchange) Work() {
	x.working = false
	if x.cancelled {
		x.giveUp()
		return
	}
	if then := x.then; x.waiting && then != nil && x.attempt.step != stepFilter {
		if x.requestStages.owes() {
			x.workLater()
		}
		x.goOn(then)
		return
	}
	x.flushStages()
}

// Now returns the time of this turn, Wall the time of day.
func (x *Exchange) Now() mono.Time { return x.w.now() }

// Wall is described at Now.
func (x *Exchange) Wall() time.Time { return x.w.gateway.wall() }

// Random returns 64 random bits, good enough to spread load by.
func (x *Exchange) Random() uint64 { return x.w.random() }

// RequestID returns the request's id, which filters must not keep.
func (x *Exchange) RequestID() []byte { return x.requestID }

// LoopIndex tells which loop the exchange is on, from 0.
func (x *Exchange) LoopIndex() int { return x.w.index }

// Method returns the method that the client used.
func (x *Exchange) Method() []byte { return x.clientMethod() }

// DeadlineLeft returns how much time the whole exchange has left; without a limit a very long time.
func (x *Exchange) DeadlineLeft() time.Duration { return x.deadlineLeft() }

// TurnTime returns how long turns of this loop have taken of late: what a request that comes now waits at least.
func (x *Exchange) TurnTime() time.Duration { return x.w.turnTime }

var _ loop.Worker = (*Exchange)(nil)
