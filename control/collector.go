package control

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// collector keeps the garbage collector from running while a large document is read and put into force. Otherwise it runs again and
// again, for what the parser builds is as large as all the rest together: each time on every core that has a moment, and its stops of the
// world wait for threads that the kernel has set aside. With 100,000 routes the 99.9th percentile of requests was 11 to 18 ms
// meanwhile, and 4 to 10 ms of a single collection after the change; without any it is what it was before. Safe for concurrent use.
//
// The price is memory, until the collection that the runtime makes every two minutes in any case. It is bounded: as much as such a
// document needs, after which the collector runs all the same, as it does near GOMEMLIMIT.
type collector struct {
	mu     sync.Mutex
	held   bool
	before int         // GOGC, in percent; below 0: off
	timer  *time.Timer // ends a hold that no collection ends
}

const (
	// garbagePerByte is what reading a document allocates for each of its bytes. The parser's tree is the largest part.
	garbagePerByte = 100
	// heldGarbageMax bounds what is let grow: more than that is a document for which memory matters more.
	heldGarbageMax = 2 << 30
	// heldMax is how long the collector is kept from running, at most: a little longer than the runtime waits from one collection
	// to the next.
	heldMax = 150 * time.Second
)

// hold keeps the collector from running until release or, after leave, the runtime's next collection, while a document of so many bytes is read. A small one is not worth it.
func (c *collector) hold(bytes int) {
	if bytes < untidyBytes {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	garbage := min(int64(bytes)*garbagePerByte, heldGarbageMax)
	percent := 100 + int(garbage*100/int64(max(live[0].Value.Uint64(), 1<<20)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		c.timer.Reset(heldMax)
		return
	}
	if c.before = debug.SetGCPercent(percent); c.before < 0 || c.before > percent {
		debug.SetGCPercent(c.before) // it was told to run even less often
		return
	}
	c.held = true
	c.timer = time.AfterFunc(heldMax, c.release)
}

// leave has the collector run again as it did once it has run, whenever that is.
func (c *collector) leave() {
	seen := new([16]byte) // nobody has it: it is gone with the next collection, which tells by that
	runtime.AddCleanup(seen, func(c *collector) { c.release() }, c)
}

// release lets the collector run again as it did.
func (c *collector) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		c.held = false
		c.timer.Stop()
		debug.SetGCPercent(c.before)
	}
}
