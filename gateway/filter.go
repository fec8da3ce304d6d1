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
