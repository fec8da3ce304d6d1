package loop

import "github.com/yumen-io/yumen/internal/mono"

// Timer calls its Expirer once, some time after a deadline. It is meant to be embedded by value in what it times (a
// connection has one or two) and allocates nothing. The zero value, given its Expirer by Init, is ready. Loop-owned:
// every use on the goroutine of the one loop it is armed on.
//
// Its memory must not be reused, nor armed on another loop, before Cancel: a disarmed timer may still hang in the wheel.
type Timer struct {
	next, prev *Timer // others of its slot
	expirer    Expirer
	deadline   mono.Time // 0: disarmed
	tick       int64     // where it hangs, at or before the tick of its deadline; 0: nowhere
	level      uint8
	slot       uint8
}

// Expirer is told that a timer's deadline passed. The timer is disarmed by then and may be armed again at once.
type Expirer interface{ Expire(t *Timer) }

// Init sets who is told. It must precede the first Arm.
func (t *Timer) Init(e Expirer) { t.expirer = e }

// Arm sets the timer's deadline, whatever it was before. Later than before costs a store: the timer is moved only when
// its old place in the wheel comes round. The timer fires in the timers step of a turn, never before the deadline and at
// most one tick (8.4 ms) and one turn after it; a deadline already past fires within a tick.
func (l *Loop) Arm(t *Timer, at mono.Time) {
	l.check()
	l.wheel.arm(t, at)
}

// Disarm takes the deadline back, with a single store: for a timer that will be armed again soon. The loop may wake up
// once for nothing, at the old deadline.
func (l *Loop) Disarm(t *Timer) {
	l.check()
	t.deadline = 0
}

// Cancel takes the deadline back and the timer out of the wheel. After it the timer's memory is free for any use. A
// timer that never was armed may be cancelled, and a timer may be cancelled twice.
func (l *Loop) Cancel(t *Timer) {
	l.check()
	l.wheel.cancel(t)
}
