package admission

// The heap of a lane's tenants that wait: the one with the smallest start tag is first. Among equals the order is that of
// the heap, which no tenant can choose.

func (l *lane) add(t *tenant) {
	t.place = len(l.heap)
	l.heap = append(l.heap, t)
	l.up(t.place)
}

func (l *lane) drop(t *tenant) {
	k, last := t.place, len(l.heap)-1
	moved := l.heap[last]
	l.heap[last] = nil
	l.heap = l.heap[:last]
	t.place = -1
	if k < last {
		l.put(k, moved)
		l.fix(k)
	}
}

// fix restores the order after the tenant at place k changed.
func (l *lane) fix(k int) {
	if !l.down(k) {
		l.up(k)
	}
}

func (l *lane) up(k int) {
	t := l.heap[k]
	for k > 0 {
		parent := (k - 1) / 2
		if l.heap[parent].start <= t.start {
			break
		}
		l.put(k, l.heap[parent])
		k = parent
	}
	l.put(k, t)
}

func (l *lane) down(k int) (moved bool) {
	t := l.heap[k]
	for {
		child := 2*k + 1
		if child >= len(l.heap) {
			break
		}
		if child+1 < len(l.heap) && l.heap[child+1].start < l.heap[child].start {
			child++
		}
		if t.start <= l.heap[child].start {
			break
		}
		l.put(k, l.heap[child])
		k, moved = child, true
	}
	l.put(k, t)
	return moved
}

func (l *lane) put(k int, t *tenant) {
	l.heap[k] = t
	t.place = k
}
