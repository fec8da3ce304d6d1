package engine

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
)

// Errors of connections to upstreams, told apart because what may be done about them differs.
var (
	// ErrConnectTimeout: the connection was not established in time. Nothing was sent.
	ErrConnectTimeout = errors.New("connecting took too long")
	// ErrUpstreamClosed: the upstream closed the connection before its answer was complete.
	ErrUpstreamClosed = errors.New("the upstream closed the connection")
	// ErrNeighbour: the connection ended for reasons of another request on it. This one was not answered, and is to be sent
	// elsewhere: nothing speaks against it, nor, for its sake, against the upstream.
	ErrNeighbour = errors.New("the connection was closed because of another request on it")
	// ErrLostTogether: the connection broke under several requests, of which another one stands for the failure. This one may
	// have been acted on.
	ErrLostTogether = errors.New("the connection broke under several requests")
	// ErrUnprocessed: the upstream says that it has not acted on the request, and never will (RFC 9113 8.7).
	ErrUnprocessed = errors.New("the upstream left the request alone")
	// ErrStreamReset: the upstream gave up this request, and the connection lives on.
	ErrStreamReset = errors.New("the upstream reset the stream")
	// ErrNoTunnel: the request asks for a tunnel, and this upstream's HTTP/2 does not know how (RFC 8441). It was not sent.
	ErrNoTunnel = errors.New("the upstream makes no tunnels")
	// ErrHandshake: the connection was established, and TLS was not. Nothing was sent.
	ErrHandshake = errors.New("the TLS handshake with the upstream failed")
)

// ClientOwner is who keeps a connection to an upstream: a pool. All calls come on the connection's loop.
type ClientOwner interface {
	// Connected: the connection that was dialled is established, and its TLS, if it has any; on one that is Multiplexed, the
	// upstream has said how many requests it takes, which may be none for now.
	Connected(c *ClientConn)
	// DialFailed: it is not.
	DialFailed(err error)
	// Answered: a response is complete, and the connection can take another request; or the upstream takes more of them than
	// it did.
	Answered(c *ClientConn)
	// Gone: the connection is closed; err is nil if nothing went wrong with it. What is open on it fails right after.
	Gone(c *ClientConn, err error)
}

// client is what a ClientConn is, by what it speaks: its wire's user, and
type client interface {
	wireUser
	loop.Handler
	loop.Expirer
	conn() *ClientConn
	// start is called when the connection has its socket. It tells the owner, at once or before the deadline.
	start(deadline mono.Time)
	request(h *message.Head, end bool, r Receiver) (*Stream, error)
	// usable tells whether the protocol lets a further request begin.
	usable() bool
	// room is how many further requests the protocol lets begin at once.
	room() int
	// gone closes the connection, fails the requests on it with failed, and tells the owner err.
	gone(err, failed error)
}

// ClientConn is a connection to an upstream, whatever it speaks. Loop-owned.
type ClientConn struct {
	wire

	// Set at birth.
	owner    ClientOwner
	addr     netip.AddrPort
	protocol Protocols

	// Loop-owned.
	open      int
	served    int
	began     mono.Time // when the connection was established
	idleSince mono.Time
	took      time.Duration // of the last answer
	leaving   bool          // no further request: it ends with the last open one
	Next      *ClientConn   // in the owner's list; the owner's to use
	OwnerMark int32         // the owner's to use
}

func (c *ClientConn) conn() *ClientConn { return c }

func (c *ClientConn) side() client { return c.user.(client) }

// Addr returns the upstream's address.
func (c *ClientConn) Addr() netip.AddrPort { return c.addr }

// Multiplexed tells whether requests on the connection are independent of each other, so that any of them may join others.
func (c *ClientConn) Multiplexed() bool { return c.protocol == HTTP2 }

// Open returns the number of requests without a complete answer.
func (c *ClientConn) Open() int { return c.open }

// Room returns how many further requests the upstream lets begin now; on a connection that is not Multiplexed, as if the
// requests on it were answered at once.
func (c *ClientConn) Room() int {
	if c.dead || c.leaving || c.ended {
		return 0
	}
	return c.side().room()
}

// Served returns the number of requests ever begun.
func (c *ClientConn) Served() int { return c.served }

// Began returns when the connection was established.
func (c *ClientConn) Began() mono.Time { return c.began }

// IdleSince returns when the last answer was complete.
func (c *ClientConn) IdleSince() mono.Time { return c.idleSince }

// Fresh tells whether an idle connection can be trusted with a request that must not be sent twice: it asks the
// socket, for what the loop has not heard yet. Through TLS it cannot tell a close from a word of the protocol.
func (c *ClientConn) Fresh() bool { return !c.dead && !c.readable && c.sock.Alive() }

// Usable tells whether a further request may be opened.
func (c *ClientConn) Usable() bool { return !c.dead && !c.leaving && !c.ended && c.side().usable() }

// Took returns how long the last complete answer took, counted like OldestSince; negative if its client was what took long.
func (c *ClientConn) Took() time.Duration { return c.took }

// CloseAfter lets no further request begin; the connection ends when the open ones have their answers.
func (c *ClientConn) CloseAfter() {
	c.leaving = true
	if c.open == 0 {
		c.Close()
	}
}

// Close closes the connection; the owner is told Gone. Requests open on it fail, unless it is Multiplexed: then no further
// one begins, and it ends with the last of them. They have nothing to do with each other, and some may not be sent twice.
func (c *ClientConn) Close() {
	if c.Multiplexed() && c.open > 0 && !c.dead {
		c.leaving = true
		return
	}
	c.side().gone(nil, ErrNeighbour)
}

// IdleUntil lets an idle connection close itself at a time.
func (c *ClientConn) IdleUntil(t mono.Time) {
	if !c.dead {
		c.w.Loop.Arm(&c.timer, t)
	}
}

// Request begins a request. The connection must be Usable. A nil head begins a connection of bytes only.
func (c *ClientConn) Request(h *message.Head, end bool, r Receiver) (*Stream, error) {
	return c.side().request(h, end, r)
}

// OldestSince returns since when the upstream owes the next answer: since that request was sent, or the answer before it
// was complete. There must be one, and the connection not be Multiplexed.
func (c *ClientConn) OldestSince() mono.Time { return c.user.(*h1Client).oldestSince() }

// Held tells that the next answer is in the way of those behind it, for want of somebody to take it.
func (c *ClientConn) Held() bool {
	h, serial := c.user.(*h1Client)
	return serial && h.held()
}

// begun notes a request that was opened.
func (c *ClientConn) begun(s *Stream) {
	if c.open == 0 {
		c.w.Loop.Disarm(&c.timer)
	}
	c.open++
	c.served++
	c.flushLater()
}

func (c *ClientConn) written(s *Stream) int64 { return max(0, c.sent-s.at) }

// IsOurs tells whether a dial failed for want of something of this machine (descriptors, memory, ports, places for
// handshakes), so that no other endpoint would do better.
func IsOurs(err error) bool {
	if errors.Is(err, errManyHandshakes) {
		return true
	}
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
