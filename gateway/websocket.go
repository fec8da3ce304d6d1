package gateway

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/ws"
)

// webSocket is an exchange that has become a tunnel of WebSocket frames. What passes is not changed, but followed, so that it
// is known where one frame ends and the next begins: when the gateway drains, both ends are told there that it goes away
// (RFC 6455 7.4.1). To begin with that only when the drain comes would be too late: in the middle of a stream nothing tells
// a frame's header from what it carries. Loop-owned.
type webSocket struct {
	x          *Exchange
	next, prev *webSocket // in the worker's list
	leaving    bool       // both ends are to be told, or know
	down, up   frameway
}

// frameway is one direction of a WebSocket: down to the client, up to the upstream.
type frameway struct {
	frames ws.Tracker
	closed bool // our Close was sent, or there was one already: nothing may follow (RFC 6455 5.5.1)
}

// openSocket begins to follow a tunnel's frames.
func (x *Exchange) openSocket() {
	w := x.w
	s := &webSocket{x: x, next: w.sockets}
	if s.next != nil {
		s.next.prev = s
	}
	w.sockets, x.socket = s, s
	if w.leaving {
		s.leave()
	}
}

// closeSocket ends that.
func (x *Exchange) closeSocket() {
	s := x.socket
	if s == nil {
		return
	}
	x.socket = nil
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		x.w.sockets = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
}

// toClient passes the first n bytes of src on to the client.
func (s *webSocket) toClient(src *buf.Chain, n int) { s.pass(&s.down, s.x.client, src, n) }

// toUpstream passes the first n bytes of src on to the upstream.
func (s *webSocket) toUpstream(src *buf.Chain, n int) { s.pass(&s.up, s.x.attempt.stream, src, n) }

// pass follows the first n bytes of src and sends them. When the tunnel is to end, our Close goes out behind the frame that is
// under way; what follows is followed still, for the Close that answers ours, and thrown away.
func (s *webSocket) pass(d *frameway, to *engine.Stream, src *buf.Chain, n int) {
	for n > 0 {
		part := src.Front()
		part = part[:min(len(part), n)]
		k := len(part)
		switch {
		case d.closed:
			d.frames.Pass(part)
			src.Skip(s.x.w.engine.Bufs, k)
			n -= k
			continue
		case s.leaving:
			k = d.frames.PassFrame(part)
		default:
			d.frames.Pass(part)
		}
		if to.SendData(src, k) != nil { // a tunnel that has no end yet takes any number of bytes
			src.Skip(s.x.w.engine.Bufs, k)
		}
		n -= k
		if s.leaving {
			s.close(d, to)
		}
	}
}

// leave tells both ends that the gateway goes away, as soon as each can be told. What is no sequence of frames is left alone:
// it is cut when the time for draining is over.
func (s *webSocket) leave() {
	s.leaving = true
	x := s.x
	s.close(&s.down, x.client)
	if !x.attempt.sentEnd {
		s.close(&s.up, x.attempt.stream)
	}
	if s.answered() {
		x.attempt.hangUp(tunnelDrained)
	}
}

// close sends our Close in one direction, if a frame may begin there now.
func (s *webSocket) close(d *frameway, to *engine.Stream) {
	if d.closed || !d.frames.AtBoundary() {
		return
	}
	d.closed = true
	if d.frames.Closed() {
		return
	}
	x := s.x
	x.reason = tunnelDrained.Reason
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], uint32(x.w.random()))
	b := ws.AppendClose(x.w.scratch[:0], ws.GoingAway, "", d == &s.up, key)
	x.w.scratch = b
	var frame buf.Chain
	frame.Append(x.w.engine.Bufs, b)
	if to.SendData(&frame, frame.Len()) != nil {
		frame.Release(x.w.engine.Bufs)
	}
}

// answered tells that a drained tunnel is over: either end has its Close and has sent one.
func (s *webSocket) answered() bool {
	return s.leaving && s.down.closed && s.up.closed && s.down.frames.Closed() && s.up.frames.Closed()
}

// Drain tells every client of this loop that the gateway goes away: connections end with their next answer, and both ends of
// a WebSocket get a Close. What has not ended when its time is up, CloseAll of the engine's worker cuts.
func (w *Worker) Drain() {
	w.leaving = true
	w.engine.Drain()
	for s := w.sockets; s != nil; {
		next := s.next
		if !s.leaving {
			s.leave()
		}
		s = next
	}
}
