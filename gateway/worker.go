package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/telemetry/log"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Worker is the gateway on one loop. Loop-owned.
type Worker struct {
	// Set at birth.
	index   int
	gateway *Gateway
	engine  *engine.Worker
	shard   *metrics.Shard

	// Loop-owned.
	ring       *log.Ring // nil: no access log
	logHeaders [][]byte
	snapshot   *Snapshot
	free       []*Exchange
	leftovers  []*leftover // free ones
	sockets    *webSocket  // those open
	leaving    bool        // the gateway drains
	decisions  decisions
	judgement  Judgement // under construction
	sample     int       // of so many exchanges one has the passes of its guards recorded; 0: none
	sampling   int       // how many are left until the next
	turnTime   time.Duration
	scratch    []byte
	sentence   []byte // of an answer of our own
	record     log.Record
	answer     message.Head // an answer of our own under construction
	state      uint64       // of the random numbers
	dateAt     int64        // the second that dateText tells
	dateText   string
	id         [16]byte // the last request id: the process, and a count
}

func newWorker(g *Gateway, i int, e *engine.Worker, cfg Config) *Worker {
	w := &Worker{decisions: decisions{keep: decisionsKept}, index: i, gateway: g, engine: e, shard: cfg.Metrics.Shard(i), scratch: make([]byte, 0, 512)}
	w.setAccessLog(cfg.AccessLog, cfg.LogHeaders)
	copy(w.id[:8], cfg.IDSeed[:])
	w.id[0] ^= byte(i) // loops of a process count on their own
	w.state = binary.LittleEndian.Uint64(cfg.IDSeed[:]) + uint64(i)
	return w
}

func (w *Worker) setAccessLog(a *log.Access, headers []string) {
	w.ring, w.logHeaders = nil, nil
	if a == nil {
		return
	}
	w.ring = a.Ring(w.index)
	for _, name := range headers {
		w.logHeaders = append(w.logHeaders, []byte(name))
	}
}

// Engine returns the engine's part of the worker.
func (w *Worker) Engine() *engine.Worker { return w.engine }

func (w *Worker) now() mono.Time { return w.engine.Loop.Now() }

// takeSample tells whether the passes of an exchange's guards are recorded.
func (w *Worker) takeSample() bool {
	if w.sample == 0 {
		return false
	}
	if w.sampling--; w.sampling > 0 {
		return false
	}
	w.sampling = w.sample
	return true
}

// Turned is told how long each turn of the loop took, and keeps an average of the last ten or so. It is called on the loop.
func (w *Worker) Turned(d time.Duration) { w.turnTime += (d - w.turnTime) / 8 }

// random returns 64 random bits: splitmix64 (Steele et al., OOPSLA 2014), which is good enough to spread load by and
// costs two nanoseconds.
func (w *Worker) random() uint64 {
	w.state += 0x9E3779B97F4A7C15
	z := w.state
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// appendRequestID appends a new request id, 32 hexadecimal digits: 64 bits of the process, 64 bits of a count.
func (w *Worker) appendRequestID(b []byte) []byte {
	binary.BigEndian.PutUint64(w.id[8:], binary.BigEndian.Uint64(w.id[8:])+1)
	return hex.AppendEncode(b, w.id[:])
}

// swap puts a snapshot into force on this loop.
func (w *Worker) swap(s *Snapshot) {
	old := w.snapshot
	s.Hold()
	w.snapshot = s
	for _, change := range s.Changes {
		change.Apply(w.index)
	}
	if old != nil {
		old.Drop()
	}
}

// exchangesKept bounds the free exchanges of a loop.
const exchangesKept = 1024

func (w *Worker) newExchange() *Exchange {
	if n := len(w.free); n > 0 {
		x := w.free[n-1]
		w.free = w.free[:n-1]
		return x
	}
	x := &Exchange{w: w, callStatus: -1}
	x.timer.Init(x)
	x.attempt = newAttempt(x)
	x.second.init(x)
	return x
}

func (w *Worker) freeExchange(x *Exchange) {
	x.reset()
	if len(w.free) < exchangesKept {
		w.free = append(w.free, x)
		return
	}
	w.engine.Loop.Cancel(&x.timer)
	w.engine.Loop.Cancel(&x.attempt.timer)
	x.second.cancel()
	if x.valve != nil {
		w.engine.Loop.Cancel(&x.valve.timer)
	}
}

// Front is where a listener's requests enter the gateway on one loop: the engine's handler. Loop-owned.
type Front struct {
	w        *Worker
	listener *Listener
}

// NewFront returns a front of a listener on a worker.
func NewFront(w *Worker, l *Listener) *Front { return &Front{w, l} }

// SetListener changes what exchanges that begin from now on see of the listener. It is called on the loop.
func (f *Front) SetListener(l *Listener) { f.listener = l }

// Open begins an exchange.
func (f *Front) Open(s *engine.Stream, c *engine.ServerConn, h *message.Head, end bool) engine.Receiver {
	x := f.w.newExchange()
	x.begin(f.listener, s, c, h, end)
	return x
}

// OpenRaw begins a passage of bytes.
func (f *Front) OpenRaw(s *engine.Stream, c *engine.ServerConn, name []byte) engine.Receiver {
	x := f.w.newExchange()
	x.pass(f.listener, s, c, name)
	return x
}

// Refuse answers what is no request.
func (f *Front) Refuse(s *engine.Stream, c *engine.ServerConn, r *message.Refusal) {
	f.w.refuseConn(f.listener, s, c.Peer(), r)
}

// Violated counts a connection that broke its protocol.
func (f *Front) Violated(_ *engine.ServerConn, r *message.Refusal) { f.w.countRefusal(r) }

// Opened counts a connection.
func (f *Front) Opened() { f.w.shard.ConnAccepted() }

// Closed counts the end of a connection.
func (f *Front) Closed(why engine.CloseReason) { f.w.shard.ConnClosed(int(why)) }

// TurnedAway counts a connection that was not taken.
func (f *Front) TurnedAway() { f.w.shard.ConnRejected(rejectedConnections) }
