package cache

// Who goes when memory is full is decided by S3-FIFO: a response begins in a small queue, and if nobody asks for it again before
// it comes to the end there, it goes; what was asked for moves to the main queue, in which each use since the last look buys
// another round. What went from the small queue is remembered by a number for a while, and begins in the main one if it comes
// back. So a crawler that asks for everything once pushes out other things that were asked for once, and no more.
//
// LRU lost: it has to write to a list on each use, under a lock. W-TinyLFU has somewhat better ratios and needs a sketch that
// every use writes to.

const (
	// usedMax is as much use as counts.
	usedMax = 3
	// smallShare is the part of a shard's bytes that the small queue may have: one in smallShare.
	smallShare = 10
	// ghostsMax is how many of those that went are remembered, in each shard.
	ghostsMax = 1024
)

// queue is a list of entries, the oldest first. Under its shard's lock.
type queue struct {
	first, last *entry
	bytes       int64
}

func (q *queue) push(e *entry) {
	e.in, e.prev, e.next = q, q.last, nil
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
	q.bytes += e.size
}

func (q *queue) remove(e *entry) {
	if e.prev == nil {
		q.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	q.bytes -= e.size
	e.in, e.prev, e.next = nil, nil, nil
}

// ghosts remembers the numbers of those that went, the last ghostsMax of them.
type ghosts struct {
	ring [ghostsMax]uint64
	at   int
	set  map[uint64]struct{}
}

func (g *ghosts) add(id uint64) {
	if g.set == nil {
		g.set = make(map[uint64]struct{}, ghostsMax)
	}
	if _, there := g.set[id]; there {
		return
	}
	delete(g.set, g.ring[g.at])
	g.ring[g.at] = id
	g.set[id] = struct{}{}
	g.at = (g.at + 1) % ghostsMax
}

func (g *ghosts) has(id uint64) bool {
	_, ok := g.set[id]
	return ok
}

// admit puts a new entry into a queue.
func (sh *shard) admit(e *entry) {
	if sh.ghosts.has(e.id()) {
		sh.main.push(e)
	} else {
		sh.small.push(e)
	}
}

// victim returns the entry that has to go, nil if there is none. It looks at each entry usedMax+1 times at most.
func (sh *shard) victim() *entry {
	for sh.small.first != nil || sh.main.first != nil {
		if e := sh.small.first; e != nil && (sh.main.first == nil || sh.small.bytes*smallShare >= sh.small.bytes+sh.main.bytes) {
			if e.used.Load() == 0 {
				sh.ghosts.add(e.id())
				return e
			}
			sh.small.remove(e)
			e.used.Store(0)
			sh.main.push(e)
			continue
		}
		e := sh.main.first
		n := e.used.Load()
		if n == 0 {
			return e
		}
		sh.main.remove(e)
		e.used.Store(n - 1)
		sh.main.push(e)
	}
	return nil
}

// id is a number for the response, which it keeps over its lives.
func (e *entry) id() uint64 {
	h := e.of.hash
	for i := 0; i < len(e.selector); i++ {
		h = (h ^ uint64(e.selector[i])) * 0x100000001b3
	}
	return h
}
