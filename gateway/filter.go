package gateway

import "github.com/yumen-io/yumen/engine/message"

// Hooks are what a compiled filter does at the stations of an exchange. A filter fills in those it needs. Hooks of a
// route's filters run in their order on the way in, and in the reverse order on the way out.
type Hooks struct {
	// Name is the filter's kind.
	Name string
	// Request may change the request's head before an endpoint is chosen, or answer by itself.
	Request func(x *Exchange) Verdict
	// Response may change the response's head before the client gets it. It runs for answers of the gateway's own too.
	Response func(x *Exchange, h *message.Head)
}

// Verdict is what a request hook wants to happen next.
type Verdict uint8

// Verdicts.
const (
	// GoOn to the next hook.
	GoOn Verdict = iota
	// Answered: the hook has answered, the exchange is over.
	Answered
)

// LoopsMax bounds the loops of a gateway: documents can ask for no more.
const LoopsMax = 1024

// PerLoop is memory of a filter that each loop has for itself: scratch, free lists. The zero value is ready. What On returns is
// touched on the loop of its exchange only, so nothing is locked.
type PerLoop[T any] struct{ of [LoopsMax]*T }

// On returns the memory of the exchange's loop, made when it is first asked for.
func (p *PerLoop[T]) On(x *Exchange) *T {
	at := &p.of[x.w.index]
	if *at == nil {
		*at = new(T)
	}
	return *at
}
