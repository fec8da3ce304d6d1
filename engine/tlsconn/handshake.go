package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/yumen-io/yumen/internal/mono"
)

// Borrowed is the descriptor of a connection while its handshake has it: raw, non-blocking, safe off the loop. Both say the
// error that was given to Server or Client when the socket is not ready. Whoever lends it does not close it before Done.
type Borrowed interface {
	Recv(p []byte) (int, error)
	Send(p []byte) (int, error)
}

// Handshake is the handshake of one connection. Fill in Conn, IO and Done and give it to a Handshaker. It must not be copied.
type Handshake struct {
	Conn *Conn
	IO   Borrowed
	// Done is called once, on a goroutine of the handshake's, when it is over; Conn and the descriptor belong to the loop
	// again from then on, and Done posts the news there. nil: the connection can be used. ErrChallenged: all is well, and the
	// connection is to be closed. Every other error is final.
	Done func(err error)

	h    *Handshaker
	wake chan struct{} // holds one if something happened since the last look
	stop atomic.Uint32 // why it must not go on

	silent atomic.Bool // it waits for its peer

	// Owned by the goroutine.
	computing bool

	// Guarded by the Handshaker's lock.
	prev, next *Handshake
	queued     bool
	displaced  bool
	began      mono.Time
}

const (
	stopNot = iota
	stopCancelled
	stopDisplaced
)

// Why a handshake failed that was not at fault.
var (
	// ErrCancelled: Cancel was called.
	ErrCancelled = errors.New("tls handshake cancelled")
	// ErrDisplaced: it waited for its peer for so long that another got its place.
	ErrDisplaced = errors.New("tls handshake gave up its place to another")
	// ErrChallenged: the peer was a certificate authority that checks a name (RFC 8737) and got its answer. It wants no more.
	ErrChallenged = errors.New("tls handshake answered an acme challenge")
)

// Wake says that the descriptor has become readable or writable. It never blocks and is safe for concurrent use; a call too many
// does no harm. To be called after Begin.
func (t *Handshake) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Cancel makes the handshake fail with ErrCancelled the next time it would wait, at once if it waits already. Done still comes,
// once, unless it has come. It never blocks and is safe for concurrent use after Begin.
func (t *Handshake) Cancel() {
	if !t.stop.CompareAndSwap(stopNot, stopCancelled) {
		return
	}
	t.Wake()
	if t.h != nil && t.h.unqueue(t) {
		t.h.failed.Add(1)
		go t.Done(ErrCancelled) // on a goroutine as always, and not below its caller
	}
}

// stopped returns why the handshake must not go on.
func (t *Handshake) stopped() error {
	switch t.stop.Load() {
	case stopCancelled:
		return ErrCancelled
	case stopDisplaced:
		return ErrDisplaced
	}
	return nil
}

// run is the goroutine.
func (t *Handshake) run() {
	h := t.h
	err := t.handshake()
	t.settle()
	switch {
	case err == nil:
		h.done.Add(1)
		if t.Conn.state.Resumed {
			h.resumed.Add(1)
		}
	case err == ErrChallenged:
		h.challenges.Add(1)
	default:
		h.failed.Add(1)
		if err == ErrDisplaced {
			h.displaced.Add(1)
		}
	}
	h.leave(t)
	t.Done(err)
}

func (t *Handshake) handshake() error {
	c := t.Conn
	if !c.client {
		if err := t.awaitHello(); err != nil {
			return err
		}
	}
	t.hold()
	if err := t.stopped(); err != nil {
		return err
	}
	c.hs = t
	if c.client {
		c.tls = tls.Client((*transport)(c), c.cfg)
	} else {
		c.tls = tls.Server((*transport)(c), c.cfg)
	}
	err := c.tls.Handshake()
	c.hs = nil
	if err != nil {
		c.tls = nil
		return err
	}
	s := c.tls.ConnectionState()
	c.state = State{Version: s.Version, CipherSuite: s.CipherSuite, Resumed: s.DidResume, Protocol: s.NegotiatedProtocol, ServerName: s.ServerName}
	if len(s.PeerCertificates) > 0 {
		c.state.Peer = s.PeerCertificates[0]
	}
	if !c.client && s.NegotiatedProtocol == ChallengeProtocol {
		return ErrChallenged
	}
	return nil
}

// awaitHello waits for the first record of a client before crypto/tls is begun: the stack is still small, and nothing is held
// but what the client sent.
func (t *Handshake) awaitHello() error {
	c := t.Conn
	for !helloWhole(c.early) {
		if err := t.fill(); err != nil {
			return err
		}
	}
	c.early = cutHello(c.early)
	return nil
}

// helloCut is the longest piece of a hello that crypto/tls is shown as a record. Its buffer for records begins with 576 bytes and
// never shrinks; a hello with a post-quantum key share is one record of 1.5 kB, which stretches it to 2 kB, for good.
const helloCut = 512

// cutHello turns a long first record into several: how a message is cut into records is no part of what the handshake vouches for
// (RFC 8446 4.4.1).
func cutHello(b []byte) []byte {
	if len(b) < headerLen || len(b) < headerLen+payload(b) || payload(b) <= 2*helloCut {
		return b
	}
	hello, rest := b[headerLen:headerLen+payload(b)], b[headerLen+payload(b):]
	pieces := make([]byte, 0, len(b)+headerLen*(len(hello)/helloCut+1))
	for len(hello) > 0 {
		n := min(len(hello), helloCut)
		pieces = append(pieces, b[0], b[1], b[2], byte(n>>8), byte(n))
		pieces = append(pieces, hello[:n]...)
		hello = hello[n:]
	}
	return append(pieces, rest...)
}

// helloWhole tells whether crypto/tls can begin: a whole record has come, or something it will refuse.
func helloWhole(b []byte) bool {
	const handshakeRecord = 22
	if len(b) > 0 && b[0] != handshakeRecord {
		return true
	}
	return len(b) >= headerLen && (payload(b) > recordMax || len(b) >= headerLen+payload(b))
}

// read is the transport's Read: at most the rest of the current record.
func (t *Handshake) read(b []byte) (int, error) {
	c := t.Conn
	for len(c.early) == 0 || c.record == 0 && len(c.early) < headerLen {
		if err := t.fill(); err != nil {
			return 0, err
		}
	}
	if c.record == 0 {
		c.record = headerLen + payload(c.early)
	}
	n := copy(b, c.early[:min(len(c.early), c.record)])
	c.record -= n
	c.early = c.early[n:]
	if len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

// scratchBytes is how much is received at once: a client hello of any browser's, or a second flight without a certificate.
const scratchBytes = 4 << 10

// scratch lends the memory that is received into, for the moment of the call.
var scratch = sync.Pool{New: func() any { return new([scratchBytes]byte) }}

// fill receives more into early, and waits for it.
func (t *Handshake) fill() error {
	for {
		room := scratch.Get().(*[scratchBytes]byte)
		n, err := t.IO.Recv(room[:])
		if err == nil {
			t.Conn.early = append(t.Conn.early, room[:n]...)
		}
		scratch.Put(room)
		switch {
		case err == t.Conn.again:
			if err := t.wait(); err != nil {
				return err
			}
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

// write is the transport's Write.
func (t *Handshake) write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		n, err := t.IO.Send(b[sent:])
		sent += n
		switch {
		case err == t.Conn.again:
			if err := t.wait(); err != nil {
				return sent, err
			}
		case err != nil:
			return sent, err
		}
	}
	return sent, nil
}

// wait returns when the descriptor may have become ready. Another computes meanwhile.
func (t *Handshake) wait() error {
	if err := t.stopped(); err != nil {
		return err
	}
	computing := t.computing
	t.settle()
	t.silent.Store(true)
	<-t.wake
	t.silent.Store(false)
	if err := t.stopped(); err != nil {
		return err
	}
	if computing {
		t.hold()
	}
	return nil
}

// hold takes one of the places of those that compute.
func (t *Handshake) hold() {
	t.h.compute <- struct{}{}
	t.computing = true
}

// settle gives it back.
func (t *Handshake) settle() {
	if t.computing {
		t.computing = false
		<-t.h.compute
	}
}

// Word returns the reason of a handshake's error in one word, for logs and metrics.
func Word(err error) string {
	var (
		header tls.RecordHeaderError
		verify *tls.CertificateVerificationError
		op     *net.OpError
	)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrCancelled):
		return "handshake_cancelled"
	case errors.Is(err, ErrDisplaced):
		return "handshake_displaced"
	case errors.Is(err, ErrChallenged):
		return "handshake_challenge"
	case errors.Is(err, ErrOwed):
		return "tls_owed"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "tls_truncated"
	case errors.As(err, &header):
		return "tls_not_spoken"
	case errors.As(err, &verify), errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError)):
		return "certificate_refused"
	case errors.As(err, &op) && op.Op == "remote error":
		return "tls_alert"
	}
	return "handshake_failed"
}
