package admission

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Class is a priority: lower numbers go first.
type Class uint8

// The priorities.
const (
	Critical Class = iota
	High
	Normal
	Low
	Classes = 4
)

var classWords = [Classes]string{"critical", "high", "normal", "low"}

// String returns the word of documents and metrics.
func (c Class) String() string { return classWords[c] }

// ParseClass returns the class of a word.
func ParseClass[T string | []byte](word T) (c Class, ok bool) {
	for i, w := range classWords {
		if string(word) == w {
			return Class(i), true
		}
	}
	return Normal, false
}

// Ticket is a request at a gate, from Arrive to Leave or Withdraw. It belongs to the caller, who may use it again afterwards,
// and does not move in between. The zero value is ready.
type Ticket struct {
	// Of the caller, who sets it before Arrive; the gate does not look at it.
	Of any

	state    state
	class    Class
	tenant   *tenant // nil: let in without one
	arrived  mono.Time
	admitted mono.Time
	deadline mono.Time // Never: none
	charged  float64   // seconds

	// Among the tenant's that wait, oldest first.
	older, newer *Ticket
}

type state uint8

const (
	outside state = iota
	waiting
	inside
)

// Waits tells whether the ticket is in the queue.
func (t *Ticket) Waits() bool { return t.state == waiting }

// Inside tells whether it has been let in and has not left.
func (t *Ticket) Inside() bool { return t.state == inside }

// Class returns the priority it arrived with.
func (t *Ticket) Class() Class { return t.class }

// Admitted returns when it was let in.
func (t *Ticket) Admitted() mono.Time { return t.admitted }

// Waited returns how long it has been, or was, in the queue.
func (t *Ticket) Waited(now mono.Time) time.Duration {
	if t.state == waiting {
		return now.Sub(t.arrived)
	}
	return t.admitted.Sub(t.arrived)
}
