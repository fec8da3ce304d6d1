package balance

import "github.com/yumen-io/yumen/internal/mono"

// Turns by weight, as in stride scheduling (Waldspurger, Weihl 1995). An endpoint of weight w is due at the virtual times
// (k+1/2)/w, k = 0, 1, 2 ...; whoever is due first has the turn. Over any stretch of virtual time everybody gets its weight's
// share, one turn more or less, and heavy endpoints are spread out between the light ones: weights 5, 1, 1 give a a a b c a a
// or a near relative, where nginx's smooth weighted round robin gives a a b a c a a. That one adds every weight at every turn,
// O(n) per request; a heap of due times costs O(log n), and a weight that changes from turn to turn (slow start) costs nothing.
//
// Least request is the same heap with the load compared before the due time.

// round is the unit of virtual time: what an endpoint of weight 1 waits between its turns. Strides are at least
// round/1000, so rounding them down bends the shares by less than one in four million.
const round = 1 << 32

// dealTurn gives an endpoint that enters the pool its first turn, half a stride from now; with a seed, a random part of
// one, so that the loops of a process do not all begin with the same endpoint.
func (s *Set) dealTurn(i int, now mono.Time) {
	stride := s.stride(i, now)
	if s.seed == 0 {
		s.states[i].turn = s.turn + stride/2
		return
	}
	s.states[i].turn = s.turn + below(mix(s.seed+uint64(i)), stride)
}

// takeTurn returns the endpoint at the top and moves it to its next turn.
func (s *Set) takeTurn(now mono.Time) int {
	top := &s.turns.heap[0]
	i := int(top.endpoint)
	// A turn missed long ago (least request: it was busy) is one turn, not a claim to all those since.
	if int64(top.turn-s.turn) > 0 {
		s.turn = top.turn
	}
	top.turn = s.turn + s.stride(i, now)
	s.states[i].turn = top.turn
	s.turns.down(0)
	return i
}

func (s *Set) stride(i int, now mono.Time) uint64 {
	if now >= s.warmUntil {
		return round / uint64(s.endpoints[i].Weight)
	}
	return uint64(round / s.effective(i, now))
}
