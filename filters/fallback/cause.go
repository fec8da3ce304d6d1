package fallback

import (
	"strings"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

// Causes are the failures for which the chain is gone through.
type Causes uint8

// The causes.
const (
	Connect     Causes = 1 << iota // no connection came about
	Reset                          // the connection ended before the answer, or what came was none
	Timeout                        // no answer in time
	Unavailable                    // no endpoint may be asked
	Overload                       // too many requests wait, or a guard sends them away for that
	Breaker                        // a breaker is open
	Never                          // for a list of statuses only
)

// Usual are the causes unless a document says otherwise: the upstream is not there. Overload is not among them: to ask another
// cluster for what one cannot do may bring down both.
const Usual = Connect | Reset | Timeout | Unavailable | Breaker

var causeWords = []struct {
	cause Causes
	word  string
}{{Connect, "connect"}, {Reset, "reset"}, {Timeout, "timeout"}, {Unavailable, "unavailable"}, {Overload, "overload"}, {Breaker, "breaker"}}

// String returns the words with commas between.
func (c Causes) String() string {
	var list []string
	for _, w := range causeWords {
		if c&w.cause != 0 {
			list = append(list, w.word)
		}
	}
	return strings.Join(list, ", ")
}

// causeOf says which cause a failure is; 0: none that this filter has an answer for. What the client has done, or asked for, is
// the client's to know.
func causeOf(f *gateway.Failure) Causes {
	switch f.Reason {
	case "no_endpoint", "no_healthy_endpoint", "all_drained":
		return Unavailable
	case "queue_full", "queue_timeout", "no_descriptors", "overloaded", "admission_queue_full", "admission_timeout":
		return Overload
	case "breaker_open":
		return Breaker
	case "request_timeout":
		return Timeout
	}
	if f.Side != gateway.Upstream {
		return 0
	}
	switch f.Kind {
	case retry.ConnectFailure:
		return Connect
	case retry.Reset, retry.BadResponse, retry.Refused:
		return Reset
	case retry.Timeout:
		return Timeout
	}
	return 0
}
