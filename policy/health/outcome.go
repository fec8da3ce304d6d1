package health

// Outcome is how a request or a check ended, as a fact about the endpoint.
type Outcome uint8

const (
	OK             Outcome = iota
	ConnectFailure         // no connection came about
	Reset                  // the connection ended before the response did
	Timeout                // the endpoint did not answer in time
	BadResponse            // it answered something that is no acceptable response
	GatewayError           // 502, 503, 504: it, or what stands behind it, is out of service
	ServerError            // any other 5xx: the program failed with this request; counts only if Config says so
	Aborted                // the client ended it, or sent what could not be passed on: never counts
	WrongStatus            // of checks: an answer, but not the expected one
)

func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case ConnectFailure:
		return "connect_failure"
	case Reset:
		return "reset"
	case Timeout:
		return "timeout"
	case BadResponse:
		return "bad_response"
	case GatewayError:
		return "gateway_error"
	case ServerError:
		return "server_error"
	case Aborted:
		return "aborted"
	default:
		return "wrong_status"
	}
}

// OfStatus is the outcome of a live request that was answered with this status. Errors of the client's (4xx) are
// good work of the endpoint.
func OfStatus(status int) Outcome {
	switch {
	case status < 500:
		return OK
	case status == 502, status == 503, status == 504:
		return GatewayError
	default:
		return ServerError
	}
}
