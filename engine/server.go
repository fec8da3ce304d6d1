package engine

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/yumen-io/yumen/engine/clienthello"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/engine/proxyproto"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/internal/mono"
)

// ServerConfig are the limits and deadlines of connections from clients. It is frozen: connections share it.
type ServerConfig struct {
	H1 *h1.Limits
	H2 *h2.Limits // nil: HTTP/2 is not spoken, whatever Protocols says

	// Protocols are those the listener speaks. Zero means HTTP1.
	Protocols Protocols
	TLS       *TLS           // nil: none
	Proxy     *ProxyProtocol // nil: no header of it is expected, and one is no HTTP

	// AgeMax is how long a connection may serve before it is asked to come again; zero is no limit.
	AgeMax time.Duration

	HeadTimeout time.Duration // from a head's first byte (or the accept) to its last
	IdleTimeout time.Duration // between two requests
	SendTimeout time.Duration // without the client taking a single byte of what waits for it
	// BodyRateMin is the least average of body bytes a second, measured over windows of BodyWindow while we are reading.
	// A slow but steady phone passes; a client that dribbles to hold a connection does not. Zero asks for a byte a window.
	BodyRateMin int64
	BodyWindow  time.Duration
	// DebtMax is how long a new connection may have to wait because of what others from its address, cut off for breaking
	// HTTP/2 or for a failed handshake, have wasted. Zero: it does not.
	DebtMax time.Duration
	// RequestsMax is how many requests a connection may carry before it is asked to come again; zero is no limit.
	RequestsMax int
}

// lingerTimeout and lingerBytes bound what is read and thrown away after the last answer on a connection whose client
// is still sending: closing at once would make the kernel reset it and take the answer with it. The bytes are more than what
// can be on its way in the buffers of both sides, so that a client has had the chance to look up from its upload.
const (
	lingerTimeout = 2 * time.Second
	lingerBytes   = 8 << 20
	// rudeBytes is the same for a client that broke HTTP/2: a flood must not be read for the sake of being polite to it.
	rudeBytes = 64 << 10
)

// Handler is what a listener hands requests to. All calls come on the connection's loop.
type Handler interface {
	// Open is called with the complete head of a request and returns who receives the rest. The handler holds the head from
	// now on. It may answer at once.
	Open(s *Stream, c *ServerConn, h *message.Head, end bool) Receiver
	// Refuse is called when what the client sent is no request; the handler answers on s, after which the connection ends.
	Refuse(s *Stream, c *ServerConn, r *message.Refusal)
	// OpenRaw is called with a connection that is bytes and nothing else, of which everything is handed over as it comes. name
	// is the server's name its client asked for by TLS, if the listener looks at that; it is valid during the call.
	OpenRaw(s *Stream, c *ServerConn, name []byte) Receiver
	// Violated is called when a connection broke its protocol so that it ends, and no answer can say so.
	Violated(c *ServerConn, r *message.Refusal)
	// Opened is called when a connection was accepted.
	Opened()
	// Closed is called when a connection that was accepted is gone.
	Closed(why CloseReason)
	// TurnedAway is called when a connection was not taken because of a limit on connections.
	TurnedAway()
}

// CloseReason says why a connection from a client ended.
type CloseReason uint8

// Reasons.
const (
	ClosedByClient CloseReason = iota
	ClosedAfterAnswer
	ClosedByRefusal
	ClosedByHeadTimeout
	ClosedByIdleTimeout
	ClosedByBodyRate
	ClosedBySendTimeout
	ClosedByReset
	ClosedByDrain
	ClosedByAbort
	ClosedAfterTunnel
	ClosedByHandshake
	ClosedByHandshakeTimeout
	ClosedByGreeting
	ClosedByAge
	ClosedByDebt
	closeReasons
)

var closeReasonWords = [closeReasons]string{
	"client", "answered", "refused", "head_timeout", "idle_timeout", "body_rate", "send_timeout", "reset", "drain", "aborted",
	"tunnel", "handshake", "handshake_timeout", "greeting", "age",
	"debt",
}

// String returns the word for logs and metrics.
func (r CloseReason) String() string { return closeReasonWords[r] }

// CloseReasons returns the words of all reasons, indexed by CloseReason.
func CloseReasons() []string { return closeReasonWords[:] }

// What a client's deadline is answered with.
var (
	refuseHeadTimeout = &message.Refusal{Status: 408, Reason: "head_timeout", Text: "the request's head did not arrive in time"}
	refuseBodyRate    = &message.Refusal{Status: 408, Reason: "body_rate", Text: "the request's body arrived too slowly"}
)

// Errors a stream fails with.
var (
	errSendTimeout = errors.New("the client took nothing of its answer in time")
	errDrained     = errors.New("the gateway stopped")
	errClientGone  = errors.New("the client closed the connection")
)

// ServerConn is a connection from a client, whatever it speaks. Loop-owned.
type ServerConn struct {
	wire

	// Set at birth.
	config *ServerConfig
	port   *port
	peer   netip.AddrPort
	local  netip.AddrPort // where the client connected to, as a proxy in front tells; not valid: nobody told

	// Loop-owned.
	nextConn, prevConn *ServerConn // in the worker's list
	starvedAt          int         // the place among the worker's starved connections, from 1; 0: none
	began              mono.Time   // when it was accepted
	window             int64       // bytes received since the timer was last wound
	halved             bool        // the client was told that nothing more comes
	rude               bool        // it broke its protocol: less is read of what it still sends
	why                CloseReason
}

// server is what a ServerConn is, by what it speaks: its wire's user, and
type server interface {
	wireUser
	loop.Handler
	loop.Expirer
	// conn returns the part that all have.
	conn() *ServerConn
	// start is called when the connection has its socket, and perhaps its first bytes.
	start()
	// closeIdle ends the connection if no request is open on it, nor on its way as far as one can tell.
	closeIdle()
	// gone gives back what the connection holds, and closes it.
	gone()
	// drain tells the client, if the protocol has a word for that, to open no further request.
	drain()
}

// newServer returns a connection that speaks proto and has no socket yet. Its config is the one it was accepted under.
func newServer(p *port, cfg *ServerConfig, peer netip.AddrPort, proto Protocols) server {
	var s server
	switch proto {
	case HTTP2:
		c := &h2Server{}
		c.codec.Init(cfg.H2)
		s = c
	default:
		c := &h1Server{}
		c.codec.Init(cfg.H1)
		s = c
	}
	c := s.conn()
	c.w, c.user, c.config, c.port, c.peer, c.began = p.w, s, cfg, p, peer, p.w.Loop.Now()
	c.timer.Init(s)
	return s
}

// enter begins to serve a connection that has its socket. name is for one that is bytes only.
func (c *ServerConn) enter(proto Protocols, name []byte) {
	c.w.servers.add(c)
	if raw, ok := c.user.(*h1Server); ok && proto&(Raw|RawByName) != 0 {
		raw.startRaw(name)
		return
	}
	c.user.(server).start()
}

// TLS returns the connection's TLS, nil if it has none.
func (c *ServerConn) TLS() *tlsconn.Conn {
	if c.tls == nil {
		return nil
	}
	return c.tls.conn
}

// Secure tells whether the client speaks TLS with us.
func (c *ServerConn) Secure() bool { return c.tls != nil }

func (c *ServerConn) conn() *ServerConn { return c }

// half ends a connection whose last bytes are sent: the client is told, and given a moment to hear it. at once, if there is
// nothing it could still be sending.
func (c *ServerConn) half(atOnce bool) {
	switch {
	case c.halved:
		return // whatever else was sent since is TLS's own
	case !c.tookLeave(): // a client that has ended its own side still reads
		return
	case c.ended || atOnce:
		c.end(c.why)
		return
	}
	if err := c.sock.CloseWrite(); err != nil {
		c.end(c.why)
		return
	}
	c.halved, c.window = true, 0
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(lingerTimeout))
	c.resume()
}

// discard throws away what a client goes on sending after its last answer.
func (c *ServerConn) discard() {
	c.window += int64(c.in.Len())
	c.in.Release(c.w.Bufs)
	if c.window > lingerBytes || c.rude && c.window > rudeBytes {
		c.end(c.why)
	}
}

// end closes a connection without an open request.
func (c *ServerConn) end(why CloseReason) {
	c.why = why
	c.user.(server).gone()
}

// Peer returns the client's address, as the socket tells it, or a proxy in front whose word the listener takes.
func (c *ServerConn) Peer() netip.AddrPort { return c.peer }

// Local returns the address that the client connected to.
func (c *ServerConn) Local() netip.AddrPort {
	if c.local.IsValid() {
		return c.local
	}
	return boundAddr(c.sock.FD())
}

// Listener returns where the connection came in.
func (c *ServerConn) Listener() *Listener { return c.port.listener }

// draining tells that the connection is to end at its next answer.
func (c *ServerConn) draining() bool { return c.w.draining || c.port.closing }

// tooOld tells that the connection has served for as long as it may.
func (c *ServerConn) tooOld() bool {
	return c.config.AgeMax > 0 && c.w.Loop.Now().Sub(c.began) >= c.config.AgeMax
}

// mayBegin tells whether there is memory for another request. If not, the worker resumes the connection when there is some.
func (c *ServerConn) mayBegin() bool {
	if c.w.Bufs.Pressed() {
		c.w.starved.add(c)
		return false
	}
	return true
}

// leave takes a connection that is closed off all lists.
func (c *ServerConn) leave() {
	c.close()
	c.w.starved.remove(c)
	c.w.servers.remove(c)
	c.port.closed(c.why)
}

// note keeps why the connection failed, as far as err tells.
func (c *ServerConn) note(err error) {
	switch {
	case err == errSendTimeout:
		c.why = ClosedBySendTimeout
	case err == errDrained:
		c.why = ClosedByDrain
	case isReset(err):
		c.why = ClosedByReset
	}
}

func asRefusal(err error) *message.Refusal {
	var r *message.Refusal
	if errors.As(err, &r) {
		return r
	}
	return &message.Refusal{Status: 400, Reason: "malformed", Text: err.Error()}
}

// Refusals returns every refusal that a handler can be told of, for the list of reasons: those of deadlines, and those of all
// that a connection can speak. Where two protocols refuse the same thing, they have one word for it.
func Refusals() []*message.Refusal {
	list := []*message.Refusal{refuseHeadTimeout, refuseBodyRate}
	said := map[string]bool{}
	for _, r := range slices.Concat(h1.Refusals(), h2.Refusals(), proxyproto.Refusals(), clienthello.Refusals()) {
		if !said[r.Reason] {
			said[r.Reason] = true
			list = append(list, r)
		}
	}
	return list
}
