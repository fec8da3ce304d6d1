package h2

import "github.com/yumen-io/yumen/engine/buf"

// budget names one kind of frame that costs us and is of no use by itself. Without a clock, what such frames cost is held
// against the useful work of the same connection: a peer that works has them free, one that only sends them comes to an end.
type budget uint8

const (
	resets budget = iota
	emptyData
	settings
	pings
	priorities
	windowUpdates
	useless
	padding // in bytes
	budgetCount
)

// floods are what the peer is told that has used up a budget.
var floods = [budgetCount]*fault{
	resets: manyResets, emptyData: manyEmptyData, settings: manySettings, pings: manyPings,
	priorities: manyPriorities, windowUpdates: manyWindowUpdates, useless: manyUseless, padding: muchPadding,
}

// purse holds what has been spent of each budget.
type purse [budgetCount]int32

// spend takes n from a budget and returns the fault if there is not so much.
func (c *conn) spend(k budget, n int) *fault {
	if c.purse[k] += int32(n); c.purse[k] > c.limits.budgets[k] {
		return floods[k]
	}
	return nil
}

// earn gives n back to a budget, which is never more than full.
func (w *purse) earn(k budget, n int) { w[k] = int32(max(0, int(w[k])-n)) }

// earnHead is what a request, or on the other side a final response, is worth.
func (w *purse) earnHead() {
	w.earn(emptyData, 1)
	w.earn(settings, 1)
	w.earn(pings, 1)
	w.earn(priorities, 2)
	w.earn(windowUpdates, 2)
	w.earn(useless, 1)
	w.earn(padding, 256)
}

// Refill gives a tenth of every budget back. Whoever has a clock calls it about once a second, so that a peer which does
// little for days, as one that only sends a PING now and then to see whether the connection lives, is never taken for a
// flood. A connection that is not refilled has its budgets once.
func (c *conn) Refill() {
	for k := range c.purse {
		c.purse.earn(budget(k), 1+int(c.limits.budgets[k])/10)
	}
}

// replies counts the bytes of answers to control frames that wait to be sent among everything else. Which of the bytes in
// the caller's chain they are is not written down; they are counted in two generations instead, and the older one is known
// to have left when as many bytes are gone as there were in all when the newer one began.
type replies struct {
	mark         uint64 // how much had been appended in all when newer began
	older, newer int
}

// owe accounts for a reply of n bytes, which is about to be appended.
func (c *conn) owe(out *buf.Chain, n int) *fault {
	r := &c.replies
	waiting := uint64(out.Len())
	switch {
	case waiting == 0:
		r.older, r.newer, r.mark = 0, 0, c.appended
	case c.appended >= r.mark+waiting:
		r.older, r.newer, r.mark = r.newer, 0, c.appended
	}
	if r.newer += n; r.older+r.newer > c.limits.RepliesBytesMax {
		return unreadReplies
	}
	return nil
}
