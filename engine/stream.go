package engine

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
)

// Receiver is who gets what arrives on a stream: the gateway's exchange on the client's side, its attempt on the upstream's.
// All calls come on the stream's loop. After ReceiveEnd, an event with end set, or Failed, nothing more comes.
type Receiver interface {
	// ReceiveHead hands over the head; the receiver holds it from now on and returns it to the worker's pool. With end set,
	// there is no body. With status 101, which only a request with an Upgrade can get, the stream is a tunnel: data goes both
	// ways until each side has ended its own.
	ReceiveHead(s *Stream, h *message.Head, end bool)
	// ReceiveInterim hands over the head of an interim response (1xx), which a stream of a server never sees.
	ReceiveInterim(s *Stream, h *message.Head)
	// ReceiveData offers the first n bytes of src as body. The receiver takes or skips all of them before it returns.
	ReceiveData(s *Stream, src *buf.Chain, n int, end bool)
	// ReceiveEnd tells that the body is over. Trailers may be nil; they are valid during the call.
	ReceiveEnd(s *Stream, trailers *message.Fields)
	// Drained tells that Full has become false.
	Drained(s *Stream)
	// Failed tells that the stream is over before its end, because of err. For a client's stream err is a *message.Refusal
	// when the client broke the protocol, and the stream can still answer; otherwise it is gone.
	Failed(s *Stream, err error)
}

// Stream is one request and its response on a connection. It belongs to one loop. It is valid until both directions
// have ended or it failed; the holder forgets it then.
type Stream struct {
	conn     streamConn
	receiver Receiver
	next     *Stream // the one whose response comes after this one's, on a pipelined connection
	id       uint32
	began    mono.Time // when the request was written, on a connection to an upstream
	at       int64     // where in all that the connection ever sends it begins, likewise

	received  bool  // the peer's message is complete
	complete  bool  // our message is complete
	paused    bool  // the receiver takes no more for now
	wasFull   bool  // Full was true: Drained is owed
	expects   bool  // the client waits for an interim answer before it sends its body
	remaining int64 // body bytes still to come from a client, as far as declared
	lane      *lane // on a connection with many streams; else nil
}

// lane is what a stream needs that shares its connection with others: it is read and sent at a pace of its own.
type lane struct {
	inbox    buf.Chain       // received while paused
	trailers *message.Fields // that ended it; nil: none
	inEnd    bool            // the message ends with inbox
	tunnel   bool            // its bytes come and go as they like
	asks     bool            // a client asks for that
	waking   bool            // inbox is to be handed over in the next turn

	window    int64 // body bytes received since windowAt
	windowAt  mono.Time
	given     int64     // bytes given to be sent, ever
	moved     int64     // of them, those that had left their queue at the last look
	stalledAt mono.Time // since when none has left it
}

// wants tells that there is something to be handed over, and notes that it will be.
func (l *lane) wants() bool {
	if l.waking || l.inbox.Len() == 0 && !l.inEnd {
		return false
	}
	l.waking = true
	return true
}

// handOver gives the receiver what was held for it, and returns how many bytes that were.
func (s *Stream) handOver() int {
	l := s.lane
	l.waking = false
	if s.paused || s.receiver == nil {
		return 0
	}
	n := l.inbox.Len()
	end := l.inEnd && l.trailers == nil
	if n > 0 {
		if end {
			l.inEnd, s.received = false, true
			s.conn.lastOf(s)
		}
		s.receiver.ReceiveData(s, &l.inbox, n, end)
	}
	// The receiver may have ended the stream: it is somebody else's, or nobody's, then.
	if s.lane == l && l.inEnd && !s.paused && s.receiver != nil {
		l.inEnd, s.received = false, true
		s.conn.lastOf(s)
		s.receiver.ReceiveEnd(s, l.trailers)
	}
	return n
}

// streamConn is the connection under a stream, whatever it speaks.
type streamConn interface {
	appendData(s *Stream, src *buf.Chain, n int) error
	appendEnd(s *Stream, trailers *message.Fields) error
	outFull(s *Stream) bool
	pausing(s *Stream)
	resumed(s *Stream)
	abort(s *Stream, err error)
	// lastOf is called before the last of what a lane held is handed over: the receiver may forget the stream in that call.
	lastOf(s *Stream)
}

// serverStreamConn is the connection under a stream from a client.
type serverStreamConn interface {
	streamConn
	sendInterim(s *Stream, h *message.Head)
	sendHead(s *Stream, h *message.Head, end bool) error
	lastAnswer()
}

// clientStreamConn is the connection under a stream to an upstream.
type clientStreamConn interface {
	streamConn
	written(s *Stream) int64
}

// Misleads tells that a client which asks for a tunnel would take a final answer of that status, other than 101, for its
// beginning: HTTP/2 has no 101, and any success will do (RFC 8441 5).
func (s *Stream) Misleads(status int) bool {
	return status >= 200 && status < 300 && s.lane != nil && s.lane.asks
}

// SendInterim passes an interim response on to the client.
func (s *Stream) SendInterim(h *message.Head) { s.conn.(serverStreamConn).sendInterim(s, h) }

// SendHead answers a client's request. With status 101 the stream becomes a tunnel, if its request asked for that: what
// the client sends is handed over from the next turn on, behind the head that goes out in this one, and so is its end.
func (s *Stream) SendHead(h *message.Head, end bool) error {
	return s.conn.(serverStreamConn).sendHead(s, h, end)
}

// Last makes the answer to come the connection's last: what the client sends after it is not to be trusted.
func (s *Stream) Last() { s.conn.(serverStreamConn).lastAnswer() }

// Written returns how many bytes of a request to an upstream the socket has taken: the question on which sending it
// again turns. It may be asked while Failed runs.
func (s *Stream) Written() int64 { return s.conn.(clientStreamConn).written(s) }

// SetReceiver puts another receiver in the place of the present one.
func (s *Stream) SetReceiver(r Receiver) { s.receiver = r }

// SendData sends the first n bytes of src as body; chunks change hands instead of being copied where they are large. It
// fails when more comes than the head declared.
func (s *Stream) SendData(src *buf.Chain, n int) error { return s.conn.appendData(s, src, n) }

// SendEnd ends the message. It fails when less came than the head declared: the message must then be cut, not ended.
func (s *Stream) SendEnd(trailers *message.Fields) error { return s.conn.appendEnd(s, trailers) }

// Full tells that so much waits to be sent that the source should pause; Drained follows.
func (s *Stream) Full() bool {
	full := s.conn.outFull(s)
	s.wasFull = s.wasFull || full // asking again while it drains must not make it forget whom it owes
	return full
}

// drained tells the receiver that Full is false again, if it was told to wait for that.
func (s *Stream) drained() {
	if s.wasFull && s.receiver != nil {
		s.wasFull = false
		s.receiver.Drained(s)
	}
}

// Owes tells that the next bytes of a client's body are due: it has not sent all of it, is not paused and does not wait for
// an interim answer.
func (s *Stream) Owes() bool { return !s.received && !s.paused && !s.expects }

// Pause stops ReceiveData until Resume. What is on its way already is held by the connection, within its marks.
func (s *Stream) Pause() {
	if !s.paused {
		s.paused = true
		s.conn.pausing(s)
	}
}

// Paused tells that nothing is taken from the stream's peer for now, so that its silence means nothing.
func (s *Stream) Paused() bool { return s.paused }

// Resume undoes Pause. Data comes in the next turn.
func (s *Stream) Resume() {
	if s.paused {
		s.paused = false
		s.conn.resumed(s)
	}
}

// Abort cuts the stream: a client sees that its answer did not end well. The receiver is not told. A connection to an
// upstream ends with it, unless other requests share it.
func (s *Stream) Abort(err error) { s.conn.abort(s, err) }
