package balance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A cluster's life: requests come and end, health changes, lists replace lists while requests of the old ones still run.
// Beside it the plain truth is kept by identity; after each step set and truth must agree, and each pick be one of those the
// package's doc allows.
func TestLifeOfASet(t *testing.T) {
	type request struct {
		s  *Set
		i  int
		id string
	}
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Algorithm: rapid.SampledFrom(algorithms).Draw(t, "algorithm"),
			SlowStart: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "slow start"),
			Seed:      rapid.Uint64Range(0, 2).Draw(t, "seed"),
		}
		now := t0
		health := map[string]Health{} // of the endpoints in the list
		inFlight := map[string]int{}  // likewise
		var running []request

		discover := func() *Set {
			var endpoints []Endpoint
			for k := range 8 {
				if rapid.Bool().Draw(t, "present") {
					endpoints = append(endpoints, Endpoint{
						Identity: fmt.Sprintf("e%d", k),
						Weight:   rapid.SampledFrom([]uint32{1, 1, 1, 3}).Draw(t, "weight"),
						Priority: uint8(k % 2),
					})
				}
			}
			c := cfg
			c.Table, _ = NewTable(endpoints, 251)
			return New(c, endpoints, now)
		}
		s := discover()
		for _, e := range s.endpoints {
			health[e.Identity] = Healthy
		}

		for step := range 100 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "pause")))
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			default:
				var tried Tried
				for range rapid.IntRange(0, 2).Draw(t, "tried") {
					if n := len(s.endpoints); n > 0 {
						tried.Add(s.Identity(rapid.IntRange(0, n-1).Draw(t, "one")))
					}
				}
				i, why := s.Pick(now, rapid.Uint64().Draw(t, "chance"), rapid.Uint64().Draw(t, "key"), &tried)
				allow(t, s, i, why, &tried)
				if i >= 0 {
					s.Start(i, now)
					inFlight[s.Identity(i)]++
					running = append(running, request{s, i, s.Identity(i)})
				}
			case 5, 6:
				if len(running) == 0 {
					continue
				}
				k := rapid.IntRange(0, len(running)-1).Draw(t, "request")
				r := running[k]
				running = append(running[:k], running[k+1:]...)
				r.s.Done(r.i, now, time.Millisecond, Result(rapid.IntRange(0, 2).Draw(t, "result")))
				if r.s.states[r.i].home == s {
					inFlight[r.id]--
				}
			case 7, 8:
				if n := len(s.endpoints); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "patient")
					h := Health(rapid.IntRange(0, 3).Draw(t, "health"))
					s.SetHealth(i, h, now)
					health[s.Identity(i)] = h
				}
			case 9:
				next := discover()
				next.Inherit(s, now)
				wasHealth, wasInFlight := health, inFlight
				health, inFlight = map[string]Health{}, map[string]int{}
				for _, e := range next.endpoints {
					health[e.Identity], inFlight[e.Identity] = wasHealth[e.Identity], wasInFlight[e.Identity]
				}
				s = next
			}
			for i := range s.endpoints {
				v := s.View(i, now)
				if v.Health != health[v.Identity] || v.InFlight != inFlight[v.Identity] {
					t.Fatalf("step %d: %+v, want %v and %d in flight", step, v, health[v.Identity], inFlight[v.Identity])
				}
			}
			heapInOrder(t, s)
		}
	})
}

// allow checks a pick against the rules, said once more by looking at everybody.
func allow(t *rapid.T, s *Set, i int, why Reason, tried *Tried) {
	healthyLeft, drained, hope := false, 0, false // hope: not everything is failing or drained
	for k, st := range s.states {
		healthyLeft = healthyLeft || st.health == Healthy && !tried.has(s.Identity(k))
		hope = hope || st.health <= Ejected
		if st.health == Drained {
			drained++
		}
	}
	switch {
	case i < 0 && hope:
		t.Fatalf("nobody (%v), but there are endpoints that do not fail", why)
	case i < 0 && (why == AllDrained) != (drained == len(s.states) && drained > 0):
		t.Fatalf("nobody: %v, but %d of %d are drained", why, drained, len(s.states))
	case i < 0:
		return
	case !hope:
		t.Fatalf("picked %d (%v), but every endpoint is failing or drained", i, why)
	case s.states[i].health == Drained:
		t.Fatalf("picked %d, which is drained", i)
	case s.states[i].health != Healthy && why != Panic:
		t.Fatalf("picked %d, which is %v, for %v", i, s.states[i].health, why)
	case tried.n > 0 && healthyLeft && (tried.has(s.Identity(i)) || s.states[i].health != Healthy):
		t.Fatalf("picked %d for a second attempt, but a healthy endpoint was not tried yet", i)
	}
}

func heapInOrder(t *rapid.T, s *Set) {
	h := s.turns.heap
	if !s.algorithm.takesTurns() {
		return
	}
	if len(h) != len(s.pool) {
		t.Fatalf("%d turns for a pool of %d", len(h), len(s.pool))
	}
	for k := range h {
		if int(s.turns.place[h[k].endpoint]) != k {
			t.Fatalf("endpoint %d is at %d, noted at %d", h[k].endpoint, k, s.turns.place[h[k].endpoint])
		}
		if k > 0 && h[k].before(h[(k-1)/2]) {
			t.Fatalf("entry %d is due before its parent", k)
		}
	}
}
