package jwt

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

const (
	// waitersMax is how many requests wait for keys at most. Each holds its connection for as long as a fetch may take.
	waitersMax = 1024
	// strangersMax and strangerTime bound the names of keys that a source was asked for and did not have. Without them a
	// single client with an old token would use up every fetch that is allowed, and a new key would wait for its turn.
	strangersMax = 256
	// asksAtOnce is how many fetches requests may cause after a pause: the first may have come a moment before a key was
	// published.
	asksAtOnce   = 2
	strangerTime = time.Minute
)

// Keys is where the keys of an issuer are kept. It outlives configurations, and those who fetch into it. From any goroutine.
type Keys struct {
	now atomic.Pointer[inForce]
	// writing is held by who replaces keys: for a moment there are two, when settings of how to fetch have changed.
	writing sync.Mutex
}

// inForce is a set of keys and until when it may be used.
type inForce struct {
	set   *KeySet
	until mono.Time
}

// Start is for gateway.Remembered.
func (k *Keys) Start() {}

// Close is for gateway.Remembered.
func (k *Keys) Close() {}

// fixedKeys are keys that are written in the settings.
func fixedKeys(list []*Key) *Keys {
	k := &Keys{}
	k.replace(list, mono.Never)
	return k
}

// current returns the keys that may be used, nil if there are none.
func (k *Keys) current(now mono.Time) *KeySet {
	if in := k.now.Load(); in != nil && now < in.until {
		return in.set
	}
	return nil
}

// replace puts keys in force.
func (k *Keys) replace(list []*Key, until mono.Time) (changed bool) {
	k.writing.Lock()
	defer k.writing.Unlock()
	var before *KeySet
	if in := k.now.Load(); in != nil {
		before = in.set
	}
	set := before.successor(list)
	k.now.Store(&inForce{set, until})
	return set != before
}

// prolong lets the keys in force be used until then, if there are any.
func (k *Keys) prolong(until mono.Time) bool {
	k.writing.Lock()
	defer k.writing.Unlock()
	in := k.now.Load()
	if in == nil {
		return false
	}
	k.now.Store(&inForce{in.set, until})
	return true
}

// counter is where requests ask for keys that are not there: it decides who causes a fetch and who waits for one. The clock is
// an argument.
type counter struct {
	mu struct {
		sync.Mutex
		running   bool // a fetch is under way
		allowed   bool // one is about to begin: a request may cause it
		closed    bool
		free      mono.Time // when all fetches that requests may cause are allowed again
		waiters   []func()
		strangers map[string]mono.Time // until when a name is not asked for again
	}
	every time.Duration // requests cause one fetch at most in this time, and asksAtOnce after a pause
}

// permission is what becomes of a request for a fetch.
type permission uint8

const (
	denied  permission = iota
	joining            // of a fetch that is under way: it may have begun before the key was published
	causing            // of a fetch that begins now, or is about to
)

// mayAsk tells whether a request with a key of that name may wait for a fetch: one that is under way, or one more if that is
// allowed right now. kid is empty for a request that found no keys at all.
func (c *counter) mayAsk(kid []byte, now mono.Time) permission {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mu.closed || len(c.mu.waiters) >= waitersMax, len(kid) > 0 && now < c.mu.strangers[string(kid)]:
		return denied
	case c.mu.running:
		return joining
	case c.mu.allowed:
		return causing
	case c.mu.free.Sub(now) > (asksAtOnce-1)*c.every:
		return denied
	}
	c.mu.free, c.mu.allowed = max(c.mu.free, now).Add(c.every), true
	return causing
}

// join has wake called when the fetch has ended, at once if there is none to wait for.
func (c *counter) join(wake func()) (kick bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed || len(c.mu.waiters) >= waitersMax {
		wake()
		return false
	}
	c.mu.waiters = append(c.mu.waiters, wake)
	return !c.mu.running
}

// stranger notes that a fetch did not bring the key of a name.
func (c *counter) stranger(kid []byte, now mono.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.strangers) >= strangersMax || c.mu.strangers == nil {
		// All go at once: what is lost is a fetch, and that is bounded by every.
		c.mu.strangers = map[string]mono.Time{}
	}
	c.mu.strangers[string(kid)] = now.Add(strangerTime)
}

// begin notes that a fetch is under way.
func (c *counter) begin() {
	c.mu.Lock()
	c.mu.running, c.mu.allowed = true, false
	c.mu.Unlock()
}

// end wakes those who waited for the fetch.
func (c *counter) end() {
	c.mu.Lock()
	list := c.mu.waiters
	c.mu.waiters, c.mu.running = nil, false
	c.mu.Unlock()
	for _, wake := range list {
		wake()
	}
}

// open and shut frame the time in which there is somebody who fetches.
func (c *counter) open() {
	c.mu.Lock()
	c.mu.closed = false
	c.mu.Unlock()
}

func (c *counter) shut() {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.end()
}
