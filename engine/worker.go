package engine

import (
	"sync/atomic"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
)

// Worker is one loop with the memory its connections live on. Everything in it is loop-owned but for what is said to be
// published: the loop writes it, and any goroutine may read it.
type Worker struct {
	Loop  *loop.Loop
	Bufs  *buf.Pool
	Heads message.Pool

	streams   []*Stream    // free
	laned     []*Stream    // free, with a lane
	pieces    [][]byte     // the gathering write under construction
	servers   serverList   // every connection from a client
	greetings greetingList // those that are not one yet
	starved   starved
	debts     debts
	draining  bool

	// Published.
	moved   atomic.Uint64
	delayed atomic.Uint64
}

// NewWorker returns a worker on a loop. bufBytesMax bounds the bytes of its buffers in use, zero for no bound.
func NewWorker(l *loop.Loop, bufBytesMax int) *Worker {
	w := &Worker{Loop: l, Bufs: buf.NewPool(bufBytesMax), pieces: make([][]byte, 0, piecesMax)}
	w.starved.w = w
	w.starved.timer.Init(&w.starved)
	w.debts.init()
	return w
}

// Starved returns how often a connection had to wait with its next request for want of memory. Safe from any goroutine.
func (w *Worker) Starved() uint64 { return w.starved.count.Load() }

// Moved returns how many connections were accepted here and handed to a worker with fewer. Safe from any goroutine.
func (w *Worker) Moved() uint64 { return w.moved.Load() }

// Delayed returns how many connections had to wait because of what others from their address had wasted. Safe from any
// goroutine.
func (w *Worker) Delayed() uint64 { return w.delayed.Load() }

// streamsKept bounds the free streams of a loop.
const streamsKept = 1024

func (w *Worker) newStream(conn streamConn, id uint32) *Stream {
	if n := len(w.streams); n > 0 {
		s := w.streams[n-1]
		w.streams = w.streams[:n-1]
		s.conn, s.id = conn, id
		return s
	}
	return &Stream{conn: conn, id: id}
}

// newLaned returns a stream for a connection that has many.
func (w *Worker) newLaned(conn streamConn, id uint32) *Stream {
	if n := len(w.laned); n > 0 {
		s := w.laned[n-1]
		w.laned = w.laned[:n-1]
		s.conn, s.id = conn, id
		return s
	}
	return &Stream{conn: conn, id: id, lane: new(lane)}
}

func (w *Worker) freeStream(s *Stream) {
	l := s.lane
	*s = Stream{}
	if l != nil {
		l.inbox.Release(w.Bufs)
		*l = lane{}
		s.lane = l
		if len(w.laned) < streamsKept {
			w.laned = append(w.laned, s)
		}
		return
	}
	if len(w.streams) < streamsKept {
		w.streams = append(w.streams, s)
	}
}

// Drain makes every connection from a client end at its next answer, which says so, or tells it at once where the protocol
// has a word for that. Those that stay idle are closed by CloseIdle.
func (w *Worker) Drain() {
	w.draining = true
	w.servers.each(func(s server) { s.drain() })
}

// CloseIdle closes the connections from clients that have no request open, nor ever sent a byte of one. A client that sends
// one at this very moment loses it, which is why Drain comes first and leaves the busy ones time to be told.
func (w *Worker) CloseIdle() { w.servers.each(func(s server) { s.closeIdle() }) }

// CloseAll closes every connection from a client, in the middle of what it does.
func (w *Worker) CloseAll() {
	for w.servers.first != nil {
		w.servers.first.fail(errDrained)
	}
	for w.greetings.first != nil {
		w.greetings.first.fail(ClosedByDrain)
	}
}

// Open returns the number of connections from clients.
func (w *Worker) Open() int { return w.servers.n }

// serverList is a list of connections through their own fields.
type serverList struct {
	first *ServerConn
	n     int
}

// each calls do with every connection, which may close that one.
func (l *serverList) each(do func(server)) {
	for c := l.first; c != nil; {
		next := c.nextConn
		do(c.user.(server))
		c = next
	}
}

func (l *serverList) add(c *ServerConn) {
	c.nextConn = l.first
	if l.first != nil {
		l.first.prevConn = c
	}
	l.first = c
	l.n++
}

func (l *serverList) remove(c *ServerConn) {
	if c.prevConn != nil {
		c.prevConn.nextConn = c.nextConn
	} else {
		l.first = c.nextConn
	}
	if c.nextConn != nil {
		c.nextConn.prevConn = c.prevConn
	}
	c.nextConn, c.prevConn = nil, nil
	l.n--
}
