package balance

import "github.com/yumen-io/yumen/internal/mono"

// Least request is the heap of weighted.go with the load before the turn: the endpoint with the fewest requests in flight
// for its weight, and among equals (on a quiet cluster that is everybody) the one whose turn it is. The simpler "scan for
// the minimum" costs O(n) per request and, without a fair tie-break, sends a quiet cluster's traffic to its first endpoint.
//
// The requests counted are those of this loop. What other loops and other gateways send is not seen; with connections
// spread evenly over loops the order is the same.

// turnLoad is the load by which endpoint i is ordered before its turn. It is taken anew when a request starts or ends, so
// the load of a warming endpoint is as old as its last event; one without events is idle, and has load 0 at any weight.
func (s *Set) turnLoad(i int, now mono.Time) float64 {
	if s.algorithm != LeastRequest {
		return 0
	}
	return float64(s.states[i].inFlight) / s.effective(i, now)
}

// loadChanged puts endpoint i in its new place.
func (s *Set) loadChanged(i int, now mono.Time) {
	if s.algorithm != LeastRequest {
		return
	}
	if place := s.turns.place[i]; place >= 0 {
		s.turns.heap[place].load = s.turnLoad(i, now)
		s.turns.fix(int(place))
	}
}
