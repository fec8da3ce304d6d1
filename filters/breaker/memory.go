package breaker

import (
	"bytes"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/breaker"
)

// idleMax is how long a breaker is kept that no request ended at: routes that were renamed should not leave theirs for ever, and what was
// learnt a day ago is old.
const idleMax = 24 * time.Hour

// memory is the breakers of a filter's name, which outlive configurations. Remembered, and Ticking.
type memory struct {
	name     string
	compiled atomic.Uint64 // how many filters were made of it

	mu struct {
		sync.Mutex
		states map[string]*state
	}
}

func newMemory(name string) *memory {
	m := &memory{name: name}
	m.mu.states = map[string]*state{}
	return m
}

// Start is for Remembered.
func (m *memory) Start() {}

// Close is for Remembered.
func (m *memory) Close() {}

// Tick is for Ticking.
func (m *memory) Tick(now mono.Time, wall time.Time) {
	for _, st := range m.list() {
		st.tick(now, wall)
		if st.giveUp(now) {
			m.mu.Lock()
			delete(m.mu.states, string(st.key))
			m.mu.Unlock()
		}
	}
}

// list is all breakers, in no order.
func (m *memory) list() []*state {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*state, 0, len(m.mu.states))
	for _, st := range m.mu.states {
		list = append(list, st)
	}
	return list
}

// find returns the breaker of a key, made if there is none, following settings if they are newer than those it follows.
func (m *memory) find(key string, s *settings, now mono.Time, wall time.Time) *state {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.mu.states[key]
	if st == nil {
		// The same name learns in the same way in each process: what it did can be done again.
		h := fnv.New64a()
		h.Write([]byte(m.name + "\n" + key))
		st = newState(key, s, h.Sum64(), now)
		m.mu.states[key] = st
		return st
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if s.number > st.mu.settings.number {
		st.follow(s, now, wall)
	}
	return st
}

// published returns what the requests of a route go by.
func (f *Filter) published(x *gateway.Exchange) *published {
	if p := f.known(x.Route.Index); p != nil {
		return p
	}
	return f.meet(x.Route, x.Now(), x.Wall())
}

// known returns it for a route that the filter has met; nil if that must be done first, perhaps again.
func (f *Filter) known(route int) *published {
	list := *f.states.Load()
	if route >= len(list) || list[route] == nil {
		return nil
	}
	p := list[route].at.Load()
	// Where newer settings hold already, this is a request of a configuration that is going.
	if p.settings == f.settings || p.settings != nil && p.settings.number > f.settings.number {
		return p
	}
	return nil
}

// meet is for the first request of a route that the filter sees.
func (f *Filter) meet(r *gateway.Route, now mono.Time, wall time.Time) *published {
	key := "route=" + r.Name
	if f.scope == ByCluster && r.Cluster != nil {
		key = "cluster=" + r.Cluster.Name
	}
	st := f.memory.find(key, f.settings, now, wall)
	for {
		was := f.states.Load()
		list := make([]*state, max(len(*was), r.Index+1))
		copy(list, *was)
		list[r.Index] = st
		if f.states.CompareAndSwap(was, &list) {
			return st.at.Load()
		}
	}
}

// tell is for the guard's numbers: how many breakers there are in each state, and the worst of them.
func (m *memory) tell(yield func(number string, value float64)) {
	var in [3]int
	var errors, score float64
	for _, st := range m.list() {
		st.mu.Lock()
		b := st.mu.breaker
		in[b.View().State]++
		errors = max(errors, b.Window().ErrorRatio)
		_, s, _ := b.Learnt()
		score = max(score, s)
		st.mu.Unlock()
	}
	for state, n := range in {
		yield(core.State(state).String(), float64(n))
	}
	yield("error_ratio", errors)
	yield("score", score)
}

// detail is for the admin API.
func (m *memory) detail() any {
	list := m.list()
	slices.SortFunc(list, func(a, b *state) int { return bytes.Compare(a.key, b.key) })
	all := make([]Status, 0, len(list))
	for _, st := range list {
		all = append(all, st.status())
	}
	return all
}
