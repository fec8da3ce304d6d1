package gateway

import (
	"sync"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Remembered is what a filter holds that must outlive a configuration: buckets, caches, connections, those who fetch keys.
type Remembered interface {
	// Start is called when a configuration that has it comes into force and none before it had. Goroutines begin here, not
	// when it is made: a document that is only checked starts nothing.
	Start()
	// Close is called when the last exchange of the last configuration that has it has ended. Start may follow.
	Close()
}

// Ticking is a Remembered that wants to be called now and then.
type Ticking interface {
	// Tick is called about every TickPause on one goroutine for all, while the thing is in force. It must not block.
	Tick(now mono.Time, wall time.Time)
}

// TickPause is the time between two calls of Tick.
const TickPause = 100 * time.Millisecond

// Memory keeps what filters remember from one configuration to the next, by keys. Its methods may be called from any
// goroutine.
type Memory struct {
	mu   sync.Mutex
	live map[string]*memory
}

// memory is one thing, and in how many snapshots it is.
type memory struct {
	key   string
	thing Remembered
	users int
}

// NewMemory returns a memory of nothing.
func NewMemory() *Memory { return &Memory{live: map[string]*memory{}} }

// Recollection is what one configuration takes out of the memory, and puts into it. It is filled in by one goroutine, and frozen
// afterwards. The zero value, and nil, remember nothing.
type Recollection struct {
	of    *Memory
	taken map[string]*memory
}

// Recollect begins a configuration's recollection.
func (m *Memory) Recollect() *Recollection {
	return &Recollection{of: m, taken: map[string]*memory{}}
}

// Recall returns what is in force under a key, or what make returns. Things of one key have one type; if a key is used for two,
// the newer is made anew.
func Recall[T Remembered](r *Recollection, key string, make func() T) T {
	if r == nil || r.of == nil {
		return make()
	}
	if e := r.taken[key]; e != nil {
		if t, ok := e.thing.(T); ok {
			return t
		}
	}
	r.of.mu.Lock()
	e := r.of.live[key]
	r.of.mu.Unlock()
	if e != nil {
		if t, ok := e.thing.(T); ok {
			r.taken[key] = e
			return t
		}
	}
	t := make()
	r.taken[key] = &memory{key: key, thing: t}
	return t
}

// Hold is called when a configuration comes into force, before a request meets it.
func (r *Recollection) Hold() {
	if r == nil || r.of == nil {
		return
	}
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	for key, e := range r.taken {
		if e.users++; e.users == 1 {
			e.thing.Start()
		}
		r.of.live[key] = e
	}
}

// Drop undoes one Hold, when the last exchange of the configuration has ended.
func (r *Recollection) Drop() {
	if r == nil || r.of == nil {
		return
	}
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	for key, e := range r.taken {
		if e.users--; e.users > 0 {
			continue
		}
		e.thing.Close()
		if r.of.live[key] == e {
			delete(r.of.live, key)
		}
	}
}

// Each calls yield with what is in force, in no order.
func (m *Memory) Each(yield func(key string, thing Remembered)) {
	m.mu.Lock()
	list := make([]*memory, 0, len(m.live))
	for _, e := range m.live {
		list = append(list, e)
	}
	m.mu.Unlock()
	for _, e := range list {
		yield(e.key, e.thing)
	}
}

// Tick calls all that tick.
func (m *Memory) Tick(now mono.Time, wall time.Time) {
	m.Each(func(_ string, thing Remembered) {
		if t, ok := thing.(Ticking); ok {
			t.Tick(now, wall)
		}
	})
}
