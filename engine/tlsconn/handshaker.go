package tlsconn

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// HandshakerConfig bounds what handshakes can hold and take. Zero means the default named beside each.
type HandshakerConfig struct {
	// RunningMax bounds the handshakes that are open. 2048: one that waits for its client's first flight holds 7 kB, one that
	// waits for the second about 30, most of it a stack that the cryptography stretched; together 60 MB. With 200 ms between
	// the flights they are 10,000 handshakes a second, more than four cores can compute.
	RunningMax int
	// WaitingMax bounds those that wait for a place (handshake_queue_full). 4096: each holds a socket and 200 bytes, and at
	// some 2,500 handshakes a second and core the last of them still has its turn within two seconds.
	WaitingMax int
	// ComputingMax bounds the handshakes that compute at the same time. GOMAXPROCS: more do not end sooner, and each that is
	// ready to run stands before a loop that comes back from the kernel.
	ComputingMax int
	// Patience is how long a handshake keeps its place while others wait for one (handshake_displaced). 2 s: three round
	// trips over a satellite. Nothing is displaced while places are free; how long a handshake may take at all is
	// decided by whoever calls Cancel.
	Patience time.Duration
	// Now is the clock for Patience. mono.Now.
	Now func() mono.Time
}

// Handshaker runs handshakes on goroutines, no more than it was allowed at once. It is shared by all loops and safe for
// concurrent use. It has nothing to stop: a goroutine ends with its handshake.
//
// Peers that connect and say nothing must not lock out others. So when all places are taken and others wait, the handshakes
// that have been open the longest, at least for Patience, and are just waiting for their peer are given up, one for each
// that waits. Age counts from the beginning and not from the last byte: who sends one each second is no better.
type Handshaker struct {
	// Frozen.
	c       HandshakerConfig
	compute chan struct{} // holds one for each that computes

	mu struct {
		sync.Mutex
		running line // in the order in which they began
		waiting line
		leaving int // of running, displaced and not gone yet
	}

	// Published.
	running, waiting                                      atomic.Int64
	refused, done, failed, resumed, displaced, challenges atomic.Uint64
}

// NewHandshaker returns a Handshaker with no handshake.
func NewHandshaker(c HandshakerConfig) *Handshaker {
	if c.RunningMax == 0 {
		c.RunningMax = 2048
	}
	if c.WaitingMax == 0 {
		c.WaitingMax = 4096
	}
	if c.ComputingMax == 0 {
		c.ComputingMax = runtime.GOMAXPROCS(0)
	}
	if c.Patience == 0 {
		c.Patience = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = mono.Now
	}
	return &Handshaker{c: c, compute: make(chan struct{}, c.ComputingMax)}
}

// Begin starts the handshake on a goroutine, or queues it. It returns false, and Done never comes, if the queue is full. It
// does not block. A Handshake is begun once.
func (h *Handshaker) Begin(t *Handshake) bool {
	now := h.c.Now()
	t.h, t.wake = h, make(chan struct{}, 1)
	h.mu.Lock()
	switch {
	case h.mu.running.n < h.c.RunningMax:
		h.enter(t, now)
	case h.mu.waiting.n < h.c.WaitingMax:
		t.queued = true
		h.mu.waiting.push(t)
		h.waiting.Add(1)
		h.displace(now)
	default:
		h.displace(now)
		h.mu.Unlock()
		h.refused.Add(1)
		return false
	}
	h.mu.Unlock()
	return true
}

// enter gives t a place and a goroutine. The lock is held.
func (h *Handshaker) enter(t *Handshake, now mono.Time) {
	t.began = now
	h.mu.running.push(t)
	h.running.Add(1)
	go t.run()
}

// leave gives the place of t to the next.
func (h *Handshaker) leave(t *Handshake) {
	now := h.c.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.running.remove(t)
	h.running.Add(-1)
	if t.displaced {
		h.mu.leaving--
	}
	if next := h.mu.waiting.first; next != nil {
		h.mu.waiting.remove(next)
		h.waiting.Add(-1)
		next.queued = false
		h.enter(next, now)
	}
}

// unqueue takes t out of the queue and tells whether it was there.
func (h *Handshaker) unqueue(t *Handshake) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !t.queued {
		return false
	}
	t.queued = false
	h.mu.waiting.remove(t)
	h.waiting.Add(-1)
	return true
}

// displaceScan bounds how many of the oldest are looked at for one that waits for its peer: the others have just heard from
// it, or wait for a processor.
const displaceScan = 64

// displace gives up old handshakes, one for each that waits. The lock is held.
func (h *Handshaker) displace(now mono.Time) {
	scan := displaceScan
	for t := h.mu.running.first; t != nil && h.mu.waiting.n > h.mu.leaving && scan > 0; t = t.next {
		if now.Sub(t.began) < h.c.Patience {
			return
		}
		scan--
		if !t.displaced && t.silent.Load() && t.stop.CompareAndSwap(stopNot, stopDisplaced) {
			t.displaced = true
			h.mu.leaving++
			t.Wake()
		}
	}
}

// Running returns how many handshakes are open.
func (h *Handshaker) Running() int { return int(h.running.Load()) }

// Waiting returns how many wait for a place.
func (h *Handshaker) Waiting() int { return int(h.waiting.Load()) }

// Refused returns how many found the queue full.
func (h *Handshaker) Refused() uint64 { return h.refused.Load() }

// Done returns how many ended well, resumed ones included.
func (h *Handshaker) Done() uint64 { return h.done.Load() }

// Failed returns how many began or were queued and failed, for whatever reason.
func (h *Handshaker) Failed() uint64 { return h.failed.Load() }

// Resumed returns how many went on with an earlier session.
func (h *Handshaker) Resumed() uint64 { return h.resumed.Load() }

// Displaced returns how many of the failed ones had to give up their place.
func (h *Handshaker) Displaced() uint64 { return h.displaced.Load() }

// Challenges returns how many answered a challenge of ACME; they count neither as done nor as failed.
func (h *Handshaker) Challenges() uint64 { return h.challenges.Load() }

// line is a queue out of the middle of which one can step.
type line struct {
	first, last *Handshake
	n           int
}

func (l *line) push(t *Handshake) {
	t.prev, t.next = l.last, nil
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
	l.n++
}

func (l *line) remove(t *Handshake) {
	if t.prev == nil {
		l.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	l.n--
}
