package balance

import "github.com/yumen-io/yumen/internal/mono"

// due is a member of the pool in the heap.
type due struct {
	load     float64 // least request: requests in flight over weight; weighted: 0
	turn     uint64  // virtual time; compared by its distance, so it may wrap
	endpoint int32
}

func (a due) before(b due) bool {
	if a.load != b.load {
		return a.load < b.load
	}
	if d := int64(a.turn - b.turn); d != 0 {
		return d < 0
	}
	return a.endpoint < b.endpoint
}

// turns is a binary heap that knows where each endpoint is in it.
type turns struct {
	heap  []due
	place []int32 // by endpoint; -1: not in the heap
}

func (t *turns) init(n int) {
	t.heap = make([]due, 0, n)
	t.place = make([]int32, n)
	for i := range t.place {
		t.place[i] = -1
	}
}

// fix restores the order after the entry at place k changed.
func (t *turns) fix(k int) {
	if !t.down(k) {
		t.up(k)
	}
}

func (t *turns) up(k int) {
	d := t.heap[k]
	for k > 0 {
		parent := (k - 1) / 2
		if !d.before(t.heap[parent]) {
			break
		}
		t.put(k, t.heap[parent])
		k = parent
	}
	t.put(k, d)
}

func (t *turns) down(k int) (moved bool) {
	d := t.heap[k]
	for {
		child := 2*k + 1
		if child >= len(t.heap) {
			break
		}
		if r := child + 1; r < len(t.heap) && t.heap[r].before(t.heap[child]) {
			child = r
		}
		if !t.heap[child].before(d) {
			break
		}
		t.put(k, t.heap[child])
		k, moved = child, true
	}
	t.put(k, d)
	return moved
}

func (t *turns) put(k int, d due) {
	t.heap[k] = d
	t.place[d.endpoint] = int32(k)
}

// fillTurns puts the pool into the heap.
func (s *Set) fillTurns(now mono.Time) {
	t := &s.turns
	t.heap = t.heap[:0]
	for i := range t.place {
		t.place[i] = -1
	}
	for _, i := range s.pool {
		t.heap = append(t.heap, due{load: s.turnLoad(int(i), now), turn: s.states[i].turn, endpoint: i})
		t.place[i] = int32(len(t.heap) - 1)
	}
	for k := len(t.heap)/2 - 1; k >= 0; k-- {
		t.down(k)
	}
}
