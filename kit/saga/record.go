package saga

import (
	"errors"
	"strconv"
	"time"
)

// State is how far a saga is.
//
//	Doing --all actions--> Done
//	  | an action failed, or is unknown and out of attempts or time; Cancel
//	  v
//	Undoing --all compensations--> Undone
//	  | Close, also from Doing
//	  v
//	Closed
type State int

// The states. Done, Undone and Closed are final.
const (
	Doing   State = iota // actions are run, in order
	Undoing              // compensations are run, in the reverse order
	Done                 // all actions happened
	Undone               // nothing is left of any
	Closed               // a person has taken over
)

var stateNames = [...]string{"doing", "undoing", "done", "undone", "closed"}

// String is the state in one lower-case word.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "State(" + strconv.Itoa(int(s)) + ")"
	}
	return stateNames[s]
}

// Final tells whether the saga has ended.
func (s State) Final() bool { return s >= Done }

// shelf is where the log keeps a saga, so that looking for work reads nothing else.
type shelf int

const (
	shelfLive     shelf = iota // to be run at due
	shelfFinished              // to be removed at due
	shelfDead                  // to be run at due, and somebody should look
	shelfStray                 // no engine knows its definition
)

// record is a saga as the log has it. Its methods decide what comes next and are all there is to decide; they read no
// clock and write nothing.
type record struct {
	id, name, def string
	version       int
	born          int64 // when it was started; this and all other times are milliseconds of the log's clock
	deadline      int64 // when its actions must have happened; 0 is never
	lease         time.Duration

	fence int64 // of the claim under which it is run
	state State
	step  int
	at    string // the step's name; "" after Resolve, which does not know the plan
	// attempt counts the attempts of this step that ended in an unknown way, in this state.
	attempt int
	// unsure is set while undoing the step whose action had an unknown outcome, and after a Retry of such an action. The
	// steps before it are known to have happened.
	unsure bool
	shelf  shelf
	err    string // of the last attempt that had one
	cause  string // why it is undone
}

// limits are what after needs to know besides the record.
type limits struct {
	attempts  int // of the action, or Forever
	steps     int
	deadAfter int
}

// expired decides, before an attempt, whether there may be one: an action that is out of attempts, which happens when
// processes died of it, or out of time, is not tried again.
func (r *record) expired(now int64, l limits) bool {
	if r.state != Doing {
		return false
	}
	switch {
	case l.attempts != Forever && r.attempt >= l.attempts:
		r.turn()
	case r.deadline > 0 && now >= r.deadline:
		r.err = "the saga's deadline is over: " + r.err
		r.turn()
	default:
		return false
	}
	return true
}

// turn begins the compensation: with this step if its action may have happened, else with the one before.
func (r *record) turn() {
	r.state, r.cause = Undoing, r.err
	r.unsure = r.unsure || r.attempt > 0
	r.attempt = 0
	if !r.unsure {
		r.down()
	}
}

// down goes to the compensation of the step before, or ends.
func (r *record) down() {
	if r.step--; r.step < 0 {
		r.step, r.state, r.shelf = 0, Undone, shelfFinished
	}
}

// after takes in how an attempt ended. It returns true if the saga has to wait before the next one.
func (r *record) after(err error, now int64, l limits) (wait bool) {
	if err != nil {
		r.err = clip(err.Error())
	}
	switch {
	case r.state == Undoing && err == nil:
		r.attempt, r.unsure, r.shelf = 0, false, shelfLive
		r.down()
		return false
	case r.state == Undoing:
		r.attempt++
		if r.attempt >= l.deadAfter {
			r.shelf = shelfDead
		}
		return true
	case err == nil:
		r.attempt, r.unsure, r.err = 0, false, ""
		if r.step++; r.step == l.steps {
			r.step, r.state, r.shelf = l.steps-1, Done, shelfFinished
		}
		return false
	case IsFailed(err) || errors.Is(err, ErrRefused):
		r.turn()
		return false
	}
	r.attempt++
	return !r.expired(now, l)
}

const errorBytesMax = 900

func clip(s string) string {
	if len(s) > errorBytesMax {
		s = s[:errorBytesMax]
	}
	valid := []rune(s) // a rune cut in half becomes U+FFFD, which is longer: the column has room
	return string(valid)
}
