package engine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/internal/mono"
	"golang.org/x/sys/unix"
)

// DialConfig says how connections to an upstream are made. Frozen.
type DialConfig struct {
	// Protocols are what is spoken: HTTP1, which zero means too; HTTP2; both, which asks the upstream in TLS and takes HTTP1
	// from one that has no answer; or Raw.
	Protocols Protocols
	H1        *h1.Limits
	H2        *h2.Limits
	TLS       *tls.Config // nil: none. It has the server's name, and the protocols to be asked for
	// Handshakes are shared by all loops; nil without TLS.
	Handshakes *tlsconn.Handshaker
}

// dialing is a connection to an upstream that does not stand yet. Loop-owned.
type dialing struct {
	// Set at birth.
	w     *Worker
	cfg   *DialConfig
	owner ClientOwner
	addr  netip.AddrPort
	by    mono.Time // the deadline

	// Loop-owned.
	sock      loop.Socket
	timer     loop.Timer
	tls       *tlsconn.Conn
	handshake *tlsconn.Handshake // under way; the descriptor is borrowed
	late      bool               // the deadline has passed
	heard     loop.Events        // of the socket: the loop does not say it twice
}

// Dial begins a connection. The owner is told when it stands, or, within the deadline, that it does not. It fails at once
// only for want of our own resources.
func (w *Worker) Dial(addr netip.AddrPort, cfg *DialConfig, owner ClientOwner, deadline mono.Time) error {
	fd, err := loop.Dial(addr, loop.DialOptions{})
	if err != nil {
		return err
	}
	d := &dialing{w: w, cfg: cfg, owner: owner, addr: addr, by: deadline}
	d.timer.Init(d)
	if err := w.Loop.Adopt(&d.sock, fd, d); err != nil {
		unix.Close(fd)
		return err
	}
	w.Loop.Arm(&d.timer, deadline)
	return nil
}

// Ready is called by the loop.
func (d *dialing) Ready(ev loop.Events) {
	d.heard |= ev & (loop.Readable | loop.Hangup)
	switch {
	case d.handshake != nil:
		d.handshake.Wake()
	case ev&(loop.Writable|loop.Hangup) == 0:
	default:
		if err := d.sock.ConnectResult(); err != nil {
			d.fail(err)
			return
		}
		if d.cfg.TLS == nil {
			d.stands(d.cfg.Protocols)
			return
		}
		d.shake()
	}
}

// shake begins the handshake.
func (d *dialing) shake() {
	d.tls = tlsconn.Client(d.cfg.TLS, loop.ErrAgain)
	d.handshake = &tlsconn.Handshake{Conn: d.tls, IO: borrowed(d.sock.FD()), Done: func(err error) {
		d.w.Loop.Post(func() { d.shaken(err) })
	}}
	if !d.cfg.Handshakes.Begin(d.handshake) {
		d.handshake = nil
		d.fail(errManyHandshakes)
	}
}

// errManyHandshakes is a limit of ours, and says nothing about the upstream.
var errManyHandshakes = errors.New("too many TLS handshakes are under way")

func (d *dialing) shaken(err error) {
	d.handshake = nil
	switch {
	case d.late:
		d.fail(ErrConnectTimeout)
	case errors.Is(err, tlsconn.ErrDisplaced):
		d.fail(errManyHandshakes)
	case err != nil:
		d.fail(fmt.Errorf("%w: %w", ErrHandshake, err))
	case d.cfg.Protocols&Raw != 0:
		d.stands(Raw)
	case d.tls.Protocol() == "h2":
		d.stands(HTTP2)
	case d.cfg.Protocols == HTTP2:
		d.fail(errNoHTTP2)
	default:
		d.stands(HTTP1)
	}
}

// errNoHTTP2 is what an upstream is told apart by that should speak HTTP/2 and does not.
var errNoHTTP2 = fmt.Errorf("%w: the upstream did not agree to HTTP/2", ErrHandshake)

// stands makes the connection what it speaks, and hands it to its owner.
func (d *dialing) stands(proto Protocols) {
	d.w.Loop.Cancel(&d.timer)
	var side client
	if proto == HTTP2 {
		c := &h2Client{}
		scheme := "http"
		if d.tls != nil {
			scheme = "https"
		}
		c.codec.Init(d.cfg.H2, scheme)
		side = c
	} else {
		c := &h1Client{}
		c.codec.Init(d.cfg.H1)
		side = c
	}
	c := side.conn()
	c.w, c.user, c.owner, c.addr, c.protocol = d.w, side, d.owner, d.addr, proto
	c.began = d.w.Loop.Now()
	c.timer.Init(side)
	if d.tls != nil {
		c.tls = &tlsLayer{conn: d.tls}
		d.heard |= loop.Readable // the handshake may have more than it needed
	}
	d.w.Loop.ReadyLater(&d.sock, d.heard)
	d.sock.MoveTo(&c.sock, side)
	side.start(d.by)
}

// fail gives the connection up.
func (d *dialing) fail(err error) {
	d.w.Loop.Cancel(&d.timer)
	d.sock.Close()
	d.owner.DialFailed(err)
}

// Expire is called by the loop.
func (d *dialing) Expire(*loop.Timer) {
	if d.handshake != nil { // the descriptor is not ours until its goroutine gives it back
		d.late = true
		d.handshake.Cancel()
		return
	}
	d.fail(ErrConnectTimeout)
}
