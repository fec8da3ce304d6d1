package loop

import (
	"math/bits"

	"github.com/yumen-io/yumen/internal/mono"
)

// The wheel counts time in ticks of 2^23 ns (8.4 ms), so that a time becomes a tick by a shift. Network timeouts are
// tens of milliseconds at the least; a finer tick would only wake the loop more often.
const (
	tickShift = 23
	tickNanos = 1 << tickShift

	wheelBits   = 6
	wheelSlots  = 1 << wheelBits // per level: one word of occupancy bits
	wheelLevels = 6              // level spans: 0.54 s, 34 s, 37 min, 39 h, 104 days, 18 years

	// tickLast is where everything later is kept, mono.Never included: 18 years after the process began.
	tickLast = 1<<(wheelBits*wheelLevels) - 1
)

// wheel is a hierarchical timing wheel (Varghese, Lauck: Hashed and Hierarchical Timing Wheels, 1987, scheme 7).
//
//	level 0   | 1 tick | 1 tick | ...                 64 slots
//	level 1   | 64 ticks       | 64 ticks       | ...  64 slots
//	level 2   | 4096 ticks ...
//
// A timer is put on the level of the highest bit (in groups of six) in which its tick differs from the current tick
// `elapsed`. Hence, on every level, all occupied slots lie after the one elapsed is in, the lowest occupied bit of the
// lowest occupied level is the next thing to happen, and ticks at which nothing happens are never visited. When time
// reaches the start of a slot its timers fire or move to a lower level: at most five moves in a timer's life.
//
// Deadlines are moved far more often than they are met, so Arm to a later time leaves the timer where it hangs and only
// notes the new deadline; the timer is hung up again when its old slot comes round. The same goes for disarming.
//
// A timer never fires before its deadline, and at most one tick after it, plus the rest of the turn.
// arm and cancel are O(1), advance is O(timers due + levels), and a timer that is not due costs nothing.
type wheel struct {
	elapsed  int64 // every slot that starts at or before it has been worked off
	floor    int64 // tick of the last advance: what is armed now hangs after it, so a timer fires once per advance
	occupied [wheelLevels]uint64
	slots    [wheelLevels][wheelSlots]*Timer
}

// tickBefore is the last tick that has come at time t; tickAfter the first one at which a deadline of t has passed.
func tickBefore(t mono.Time) int64 { return int64(t) >> tickShift }
func tickAfter(t mono.Time) int64 {
	if t > tickLast<<tickShift {
		return tickLast
	}
	return (int64(t) + tickNanos - 1) >> tickShift
}

func makeWheel(now mono.Time) wheel {
	return wheel{elapsed: tickBefore(now), floor: tickBefore(now)}
}

func (w *wheel) arm(t *Timer, at mono.Time) {
	t.deadline = max(at, 1) // zero means disarmed
	tick := w.tickFor(t.deadline)
	switch {
	case t.tick == 0:
		w.hang(t, tick)
	case tick < t.tick:
		w.take(t)
		w.hang(t, tick)
	}
}

func (w *wheel) cancel(t *Timer) {
	t.deadline = 0
	if t.tick != 0 {
		w.take(t)
	}
}

// advance moves time to now and calls Expire of every timer whose deadline has passed, of each at most once however
// often it is armed again meanwhile. Timers of different ticks fire in no promised order. It returns how many fired.
func (w *wheel) advance(now mono.Time) (fired int) {
	target := tickBefore(now)
	if target <= w.floor {
		return 0
	}
	w.floor = target
	for {
		level, slot, start := w.next()
		if start > target {
			break
		}
		w.elapsed = start
		// One at a time, because Expire may cancel or arm any timer. Nothing can be hung into this slot meanwhile:
		// slots that elapsed is in stay empty.
		for t := w.slots[level][slot]; t != nil; t = w.slots[level][slot] {
			tick := max(t.tick, tickAfter(t.deadline)) // t.tick is later if the deadline was past when it was armed
			w.take(t)
			switch {
			case t.deadline == 0: // disarmed
			case tick > target:
				w.hang(t, tick)
			default:
				t.deadline = 0
				fired++
				t.expirer.Expire(t)
			}
		}
	}
	w.elapsed = target
	return fired
}

// wakeAt returns the time before which advance has nothing to do: mono.Never if no timer hangs here. It may be earlier
// than the first deadline, for a move to a lower level or a deadline that was moved.
func (w *wheel) wakeAt() mono.Time {
	_, _, start := w.next()
	if start > tickLast {
		return mono.Never
	}
	return mono.Time(start << tickShift)
}

// next returns the occupied slot that starts first; start is past tickLast if there is none.
func (w *wheel) next() (level, slot int, start int64) {
	for level := range w.occupied {
		if set := w.occupied[level]; set != 0 {
			slot := bits.TrailingZeros64(set)
			shift := wheelBits * level
			turn := w.elapsed &^ (1<<(shift+wheelBits) - 1)
			return level, slot, turn + int64(slot)<<shift
		}
	}
	return 0, 0, tickLast + 1
}

// tickFor returns the tick at which a deadline set now is to be looked at: a deadline already past waits for the next.
func (w *wheel) tickFor(deadline mono.Time) int64 { return max(tickAfter(deadline), w.floor+1) }

// hang puts the timer into the slot of the tick, which must lie after elapsed.
func (w *wheel) hang(t *Timer, tick int64) {
	level := (bits.Len64(uint64(tick^w.elapsed)) - 1) / wheelBits
	slot := int(tick>>(wheelBits*level)) & (wheelSlots - 1)
	t.tick, t.level, t.slot = tick, uint8(level), uint8(slot)
	head := w.slots[level][slot]
	t.next = head
	if head != nil {
		head.prev = t
	}
	w.slots[level][slot] = t
	w.occupied[level] |= 1 << slot
}

// take removes the timer from its slot.
func (w *wheel) take(t *Timer) {
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.level][t.slot] = t.next
		if t.next == nil {
			w.occupied[t.level] &^= 1 << t.slot
		}
	}
	t.next, t.prev, t.tick = nil, nil, 0
}
