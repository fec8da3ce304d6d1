package gateway

import (
	"errors"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
)

// leftover is what is still to come of an answer that nobody wants, on a connection that has no other request: it is read and thrown
// away, as long as that costs less than another connection would. Loop-owned, and pooled by its worker.
type leftover struct {
	w      *Worker
	timer  loop.Timer
	stream *engine.Stream
	room   int // how much more may come
}

const (
	// leftoverBytesMax is how much is thrown away: a sentence or a page of an error. With more to come the connection ends.
	leftoverBytesMax = 64 << 10
	// leftoverTimeout is how long it may take: about as long as another connection, with its handshake.
	leftoverTimeout = 250 * time.Millisecond
	// leftoversKept bounds the free ones of a loop.
	leftoversKept = 64
)

var errUnwanted = errors.New("nobody wants the rest of the answer")

// throwAway ends a stream of an upstream whose answer has begun and is not wanted. h is its head. Whether it was sent the whole
// request, and has its connection for itself, is known to the attempt.
func (a *Attempt) throwAway(s *engine.Stream, h *message.Head) {
	if !a.sentEnd || a.cluster.Multiplexed() || h.Status == 101 || h.Length > leftoverBytesMax {
		s.Abort(errUnwanted)
		return
	}
	w := a.x.w
	var l *leftover
	if n := len(w.leftovers); n > 0 {
		l = w.leftovers[n-1]
		w.leftovers = w.leftovers[:n-1]
	} else {
		l = &leftover{w: w}
		l.timer.Init(l)
	}
	l.stream, l.room = s, leftoverBytesMax
	s.SetReceiver(l)
	w.engine.Loop.Arm(&l.timer, w.now().Add(leftoverTimeout))
}

// ReceiveHead is not called: the head came before.
func (l *leftover) ReceiveHead(_ *engine.Stream, h *message.Head, _ bool) { l.w.engine.Heads.Put(h) }

// ReceiveInterim is not called.
func (l *leftover) ReceiveInterim(*engine.Stream, *message.Head) {}

// ReceiveData throws a part away.
func (l *leftover) ReceiveData(s *engine.Stream, src *buf.Chain, n int, end bool) {
	src.Skip(l.w.engine.Bufs, n)
	l.room -= n
	switch {
	case end:
		l.over()
	case l.room < 0:
		l.over()
		s.Abort(errUnwanted)
	}
}

// ReceiveEnd tells that the connection is free again.
func (l *leftover) ReceiveEnd(*engine.Stream, *message.Fields) { l.over() }

// Drained means nothing: the request is complete.
func (l *leftover) Drained(*engine.Stream) {}

// Failed is as good an end as any.
func (l *leftover) Failed(*engine.Stream, error) { l.over() }

// Expire is called by the loop: it takes too long.
func (l *leftover) Expire(*loop.Timer) {
	s := l.stream
	l.over()
	s.Abort(errUnwanted)
}

func (l *leftover) over() {
	w := l.w
	l.stream = nil
	if len(w.leftovers) < leftoversKept {
		w.engine.Loop.Disarm(&l.timer)
		w.leftovers = append(w.leftovers, l)
		return
	}
	w.engine.Loop.Cancel(&l.timer)
}
