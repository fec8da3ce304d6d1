package extauth

import (
	"crypto/sha256"
	"sync/atomic"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// memory is what outlives a configuration: verdicts, and questions under way.
type memory struct {
	desks gateway.PerLoop[desk]

	asked       atomic.Uint64 // questions
	joined      atomic.Uint64 // requests that waited for the question of another
	unanswered  atomic.Uint64 // questions without an answer that is yes or no
	lateYes     atomic.Uint64 // answers of shadow mode to requests that were over
	lateNo      atomic.Uint64
	shadowedOut atomic.Uint64 // requests that shadow mode did not ask for
}

// Start is for gateway.Remembered.
func (m *memory) Start() {}

// Close is for gateway.Remembered.
func (m *memory) Close() {}

// tell yields the counters.
func (m *memory) tell(yield func(number string, value float64)) {
	yield("questions", float64(m.asked.Load()))
	yield("questions_joined", float64(m.joined.Load()))
	yield("questions_failed", float64(m.unanswered.Load()))
	yield("shadow_late_passed", float64(m.lateYes.Load()))
	yield("shadow_late_refused", float64(m.lateNo.Load()))
	yield("shadow_not_asked", float64(m.shadowedOut.Load()))
}

// desk is a loop's.
type desk struct {
	head    message.Head // of the question at hand
	key     []byte
	body    []byte
	who     []byte
	free    []*visit
	flights map[tag]*flight
	known   cache
	aside   int // questions of shadow mode under way
}

// keyKept is how much memory for keys and questions a loop keeps: a client may have sent a head full of them.
const keyKept = 8 << 10

// visitsKept is how many visits a loop keeps for the next requests.
const visitsKept = 1024

// asideMax bounds the questions of shadow mode under way on a loop: no request waits for them, so that nothing else does.
const asideMax = 128

// tag stands for a question. Whoever finds two questions with one tag has broken SHA-256.
type tag = [sha256.Size]byte

// cache is the verdicts of a loop by their questions. The oldest makes room. The zero value is empty.
type cache struct {
	at    map[tag]int // in slots
	slots []slot
	next  int // that is taken when all are
}

type slot struct {
	tag tag
	v   *verdict
}

// entryBytesMax bounds a verdict that is kept: an id, a list of groups.
const entryBytesMax = 2 << 10

// get returns what is known.
func (c *cache) get(t *tag, now mono.Time) *verdict {
	i, there := c.at[*t]
	if !there || now >= c.slots[i].v.until {
		return nil
	}
	return c.slots[i].v
}

// put keeps a verdict, as one of max.
func (c *cache) put(t *tag, v *verdict, max int) {
	if c.at == nil {
		c.at = map[tag]int{}
	}
	if i, there := c.at[*t]; there {
		c.slots[i].v = v
		return
	}
	if len(c.slots) < max {
		c.at[*t] = len(c.slots)
		c.slots = append(c.slots, slot{*t, v})
		return
	}
	if c.next >= len(c.slots) {
		c.next = 0
	}
	delete(c.at, c.slots[c.next].tag)
	c.slots[c.next] = slot{*t, v}
	c.at[*t] = c.next
	c.next++
}
