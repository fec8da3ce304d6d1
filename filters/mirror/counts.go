package mirror

import (
	"sync/atomic"

	"github.com/yumen-io/yumen/gateway"
)

// state is what a mirror remembers over configurations: its counters, and what is under way on each loop.
type state struct {
	loops gateway.PerLoop[loopState]

	// Published.
	inFlight atomic.Int64
	counts   [countsEnd]atomic.Uint64
}

// loopState is touched on its loop only.
type loopState struct {
	inFlight int
	free     []*flight
	overlong []*side // whose answers have become too long to be read to the end
}

// flightsKept bounds the free flights of a loop, which keep the memory of a body each.
const flightsKept = 16

// count is something that is counted.
type count uint8

const (
	sent           count = iota // copies
	answered                    // to their end, or as far as they are read
	answeredErrors              // of these, with a status from 500 on
	failed                      // no answer, or no end of it
	wouldSend                   // in shadow mode
	// Requests that were chosen and have no copy.
	inFlightFull
	bodyTooLarge
	requestIncomplete
	alreadyMirrored
	countsEnd
)

// countWords are the names of numbers in metrics and in the admin API. Those of the last group are reasons, too.
var countWords = [countsEnd]string{sent: "sent", answered: "answered", answeredErrors: "answered_5xx", failed: "failed", wouldSend: "would_send",
	inFlightFull: "in_flight_full", bodyTooLarge: "body_too_large", requestIncomplete: "request_incomplete",
	alreadyMirrored: "already_mirrored"}

func newState() *state { return &state{} }

// Start is for gateway.Remembered.
func (s *state) Start() {}

// Close is for gateway.Remembered.
func (s *state) Close() {}

func (s *state) add(c count) { s.counts[c].Add(1) }

// tell is for gateway.Guard. From any goroutine.
func (s *state) tell(yield func(number string, value float64)) {
	yield("in_flight", float64(s.inFlight.Load()))
	for c := range s.counts {
		yield(countWords[c], float64(s.counts[c].Load()))
	}
}

// Numbers are the names of what mirrors count.
func Numbers() []string {
	return append(append([]string{"in_flight"}, countWords[:]...), verdictWords[:]...)
}
