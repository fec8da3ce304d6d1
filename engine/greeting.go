package engine

import (
	"io"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/clienthello"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/engine/proxyproto"
	"github.com/yumen-io/yumen/engine/tlsconn"
)

// greeting is a connection from a client of which is not known yet what it will speak: what comes before the first request
// is taken here, step by step, and then it becomes a ServerConn. Loop-owned.
type greeting struct {
	// Set at birth.
	w      *Worker
	port   *port
	config *ServerConfig

	// Loop-owned.
	next, prev  *greeting // in the worker's list
	sock        loop.Socket
	timer       loop.Timer
	in          buf.Chain
	peer, local netip.AddrPort
	step        greetingStep
	heard       loop.Events // what the loop tells once: the client's end, and what came while nobody read
	tls         *tlsconn.Conn
	handshake   *tlsconn.Handshake // under way; the descriptor is borrowed
	gone        bool               // given up; its handshake ends
	why         CloseReason
}

// greetingStep is what a greeting waits for.
type greetingStep uint8

const (
	awaitTurn    greetingStep = iota // until its address has paid for what others wasted; nothing is read meanwhile
	awaitProxy                       // the PROXY header
	awaitTLS                         // the handshake
	awaitPreface                     // enough to tell HTTP/2 from HTTP/1
	awaitHello                       // the ClientHello of a TLS that ends elsewhere
)

// greets tells whether there is something to wait for before the first request of a connection.
func (c *ServerConfig) greets() bool {
	return c.TLS != nil || c.Proxy != nil || c.Protocols == HTTP1|HTTP2 || c.Protocols == RawByName
}

func (c *ServerConfig) speaksHTTP2() bool { return c.Protocols&HTTP2 != 0 && c.H2 != nil }

// greet begins a greeting, which waits a while before anything is read.
func greet(p *port, fd int, peer netip.AddrPort, wait time.Duration) error {
	g := &greeting{w: p.w, port: p, config: p.config, peer: peer, step: awaitProxy}
	g.timer.Init(g)
	if err := g.w.Loop.Adopt(&g.sock, fd, g); err != nil {
		return err
	}
	p.handler.Opened()
	g.w.greetings.add(g)
	switch {
	case g.config.Proxy != nil && g.config.Proxy.trusts(peer.Addr()):
		g.wind() // whose connection it is, the header tells
	case wait > 0:
		g.stand(wait)
	default:
		g.wind()
		g.afterProxy()
	}
	return nil
}

// wind sets the deadline of what is waited for.
func (g *greeting) wind() {
	limit := g.config.HeadTimeout
	if g.config.TLS != nil {
		limit = g.config.TLS.Timeout
	}
	g.w.Loop.Arm(&g.timer, g.w.Loop.Now().Add(limit))
}

// stand lets the connection wait for its turn. It is paid for in advance: those who wait go on one after the other, not all
// at the moment when the debt is paid.
func (g *greeting) stand(wait time.Duration) {
	if g.w.debts.waiting >= waitingMax {
		g.fail(ClosedByDebt)
		return
	}
	g.w.debts.waiting++
	g.w.delayed.Add(1)
	g.step = awaitTurn
	g.owe()
	g.w.Loop.Arm(&g.timer, g.w.Loop.Now().Add(wait))
}

// turn goes on with a connection that has waited.
func (g *greeting) turn() {
	g.w.debts.waiting--
	g.wind()
	g.afterProxy()
	switch {
	case g.gone:
	case g.in.Len() > 0 && g.look():
	case g.heard != 0:
		g.Ready(g.heard) // of which the loop told while nobody read
	}
}

// Ready is called by the loop.
func (g *greeting) Ready(ev loop.Events) {
	g.heard |= ev & loop.Hangup
	if g.handshake != nil {
		g.handshake.Wake()
		return
	}
	if g.step == awaitTurn {
		g.heard |= ev & loop.Readable
		return
	}
	if ev&(loop.Readable|loop.Hangup) == 0 {
		return // nor is a handshake begun for a client that says nothing
	}
	if g.step == awaitTLS && g.in.Len() == 0 {
		g.shake() // its first bytes are there, and are read where they are used
		return
	}
	for {
		b := g.w.Bufs.Get(buf.Small)
		n, err := g.sock.Recv(b.Room())
		if n > 0 {
			b.Fill(n)
			g.in.Append(g.w.Bufs, b.Bytes())
		}
		g.w.Bufs.Put(b)
		switch {
		case err == loop.ErrAgain:
			return
		case err == io.EOF:
			g.fail(ClosedByClient)
			return
		case err != nil:
			g.fail(ClosedByReset)
			return
		}
		if g.look() {
			return
		}
	}
}

// look goes on with what has come. It returns true when the greeting is over, or somebody else reads now.
func (g *greeting) look() bool {
	step := g.step
	switch step {
	case awaitTurn:
		return true
	case awaitProxy:
		g.lookProxy()
	case awaitTLS:
		g.shake()
		return true
	case awaitPreface:
		return g.lookPreface()
	case awaitHello:
		return g.lookHello()
	}
	if g.gone || g.step == step {
		return g.gone
	}
	return g.in.Len() > 0 && g.look()
}

func (g *greeting) lookProxy() {
	b := g.in.Pull(g.w.Bufs, min(g.in.Len(), proxyproto.BytesMax))
	if !g.config.Proxy.Required {
		yes, known := proxyproto.Begins(b)
		if !known {
			return
		}
		if !yes {
			g.afterProxy()
			return
		}
	}
	h, n, err := proxyproto.Parse(b)
	switch {
	case err != nil:
		g.violated(asRefusal(err))
	case n > 0:
		if !h.Local {
			g.peer, g.local = h.Source, h.Destination
		}
		g.in.Skip(g.w.Bufs, n)
		if wait := g.w.debts.wait(g.peer.Addr(), g.w.Loop.Now()); wait > 0 {
			g.heard |= loop.Readable // there may be more behind the header
			g.stand(wait)
			return
		}
		g.afterProxy()
	}
}

// afterProxy goes on to what the listener speaks.
func (g *greeting) afterProxy() {
	switch c := g.config; {
	case c.TLS != nil:
		g.step = awaitTLS
	case c.Protocols == RawByName:
		g.step = awaitHello
	case c.Protocols == HTTP1|HTTP2:
		g.step = awaitPreface
	default:
		g.become(c.Protocols, nil)
	}
}

// shake begins the handshake.
func (g *greeting) shake() {
	g.tls = tlsconn.Server(g.config.TLS.Config, loop.ErrAgain)
	if n := g.in.Len(); n > 0 {
		g.tls.Received(g.in.Pull(g.w.Bufs, n))
		g.in.Release(g.w.Bufs)
	}
	g.handshake = &tlsconn.Handshake{Conn: g.tls, IO: borrowed(g.sock.FD()), Done: func(err error) {
		g.w.Loop.Post(func() { g.shaken(err) })
	}}
	if !g.config.TLS.Handshakes.Begin(g.handshake) {
		g.handshake = nil
		g.fail(ClosedByHandshake)
	}
}

func (g *greeting) shaken(err error) {
	g.handshake = nil
	switch {
	case g.gone:
		g.sock.Close()
		g.port.closed(g.why)
	case err != nil:
		// Also a certificate authority that looked whether a name is ours, and has its answer.
		g.owe()
		g.fail(ClosedByHandshake)
	case g.config.Protocols == Raw:
		g.become(Raw, nil)
	case g.tls.Protocol() == "h2" && g.config.speaksHTTP2():
		g.become(HTTP2, nil)
	case g.tls.Protocol() == "h2":
		g.fail(ClosedByHandshake) // what its TLS agrees to is more than the listener speaks
	case g.config.Protocols&HTTP1 == 0:
		// A client without ALPN that means to speak HTTP/2 all the same: not by RFC 9113 3.2, and not to be guessed.
		g.fail(ClosedByHandshake)
	default:
		g.become(HTTP1, nil)
	}
}

const preface = "PRI * HTTP/2.0\r\n"

func (g *greeting) lookPreface() bool {
	b := g.in.Pull(g.w.Bufs, min(g.in.Len(), len(preface)))
	b = b[:min(len(b), len(preface))]
	switch {
	case string(b) != preface[:len(b)]:
		g.become(HTTP1, nil)
	case len(b) == len(preface) && g.config.speaksHTTP2():
		g.become(HTTP2, nil)
	case len(b) == len(preface):
		g.become(HTTP1, nil) // to which it is no request
	default:
		return false
	}
	return true
}

func (g *greeting) lookHello() bool {
	h, done, err := clienthello.Parse(g.in.Pull(g.w.Bufs, min(g.in.Len(), clienthello.BytesMax)))
	switch {
	case err != nil:
		g.violated(asRefusal(err))
	case !done:
		return false
	default:
		g.become(Raw, h.ServerName)
	}
	return true
}

// become ends the greeting: the connection speaks proto from now on.
func (g *greeting) become(proto Protocols, name []byte) {
	g.over()
	s := newServer(g.port, g.config, g.peer, proto)
	c := s.conn()
	c.local = g.local
	if g.tls != nil {
		c.tls = &tlsLayer{conn: g.tls}
	}
	g.in.MoveTo(&c.in)
	g.w.Loop.ReadyLater(&g.sock, loop.Readable|g.heard) // what came meanwhile was announced already
	g.sock.MoveTo(&c.sock, s)
	c.enter(proto, name)
}

// violated ends the connection because of what its client sent.
func (g *greeting) violated(r *message.Refusal) {
	g.port.handler.Violated(nil, r)
	g.fail(ClosedByGreeting)
}

// owe has the client's address pay for the connection.
func (g *greeting) owe() {
	g.w.debts.owe(g.peer.Addr(), wastedByConn, g.config.DebtMax, g.w.Loop.Now())
}

// fail gives the connection up.
func (g *greeting) fail(why CloseReason) {
	if g.step == awaitTurn {
		g.w.debts.waiting--
		g.step = awaitProxy
	}
	g.over()
	g.why = why
	g.in.Release(g.w.Bufs)
	if g.handshake != nil { // the descriptor is not ours until its goroutine gives it back
		g.handshake.Cancel()
		return
	}
	g.sock.Close()
	g.port.closed(why)
}

func (g *greeting) over() {
	g.gone = true
	g.w.Loop.Cancel(&g.timer)
	g.w.greetings.remove(g)
}

// Expire is called by the loop.
func (g *greeting) Expire(*loop.Timer) {
	if g.step == awaitTurn {
		g.turn()
		return
	}
	why := ClosedByHeadTimeout
	if g.step == awaitTLS {
		why = ClosedByHandshakeTimeout
	}
	g.fail(why)
}

// greetingList is a list of greetings through their own fields.
type greetingList struct{ first *greeting }

func (l *greetingList) add(g *greeting) {
	g.next = l.first
	if l.first != nil {
		l.first.prev = g
	}
	l.first = g
}

func (l *greetingList) remove(g *greeting) {
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		l.first = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	}
	g.next, g.prev = nil, nil
}
