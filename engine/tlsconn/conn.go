package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/internal/invariant"
)

// Source is where records come from: a loop.Socket. Recv never blocks; it says the error that was given to Server or Client
// when nothing is there, and io.EOF at the end.
type Source interface {
	Recv(p []byte) (int, error)
}

// Conn is one side of a TLS connection. From Begin until Done of its Handshake it belongs to the handshake's goroutine, and
// nothing of it may be called; from then on it is loop-owned. It does no I/O of its own and holds no timer.
//
// An idle one holds about 5 kB, two thirds of it in crypto/tls: 1 kB its Conn, 1.8 kB two ciphers, and two buffers that the
// hello and the largest record received so far have stretched. The buffer for records never shrinks: a peer that once sent full
// records, an upload for instance, costs 18 kB more until it goes. crypto/tls allocates 24 bytes for each record it reads;
// nothing else is allocated once a connection has warmed up.
type Conn struct {
	// Set at birth.
	cfg    *tls.Config
	client bool
	again  error

	// Owned by the handshake, handed to the loop with Done.
	tls   *tls.Conn
	hs    *Handshake // nil: no handshake is under way
	early []byte     // received and not given to crypto/tls yet
	state State

	// Loop-owned.
	raw     buf.Chain  // received and not given to crypto/tls yet
	owed    buf.Chain  // records that reading produced: answers to key updates, alerts
	sink    *buf.Chain // where records go during Seal and Close; nil: owed
	pool    *buf.Pool  // of the call under way
	record  int        // bytes of the record at the front of raw that crypto/tls may have now
	err     error      // how reading ended
	inside  bool       // crypto/tls may hold decrypted bytes of the last record
	bulk    bool       // the last receive was filled to the brim: the next one is given more room
	large   bool       // raw may lie in a large chunk
	drained bool       // the last receive was not filled
}

// State is what a handshake agreed upon.
type State struct {
	Version     uint16 // tls.VersionTLS12 or tls.VersionTLS13
	CipherSuite uint16
	Resumed     bool
	Protocol    string // by ALPN; empty if none was agreed upon
	ServerName  string // SNI, as the client wrote it: not to be trusted, nor to be written to a log unquoted
	// Peer is the certificate of the other side, nil if it gave none. It was verified as far as the configuration asks for.
	Peer *x509.Certificate
}

const (
	// recordMax is the most plain bytes in a record: RFC 8446 5.1.
	recordMax = 16 << 10
	// sealedMax is the most that crypto/tls accepts behind a record's header: RFC 5246 6.2.3. 1.3 allows less and refuses it
	// by itself.
	sealedMax = recordMax + 2048
	headerLen = 5
	// owedMax bounds the records that reading may produce before they are fetched (tls_owed). Each key update asks for one of
	// 27 bytes: 4 kB are a hundred and fifty in one turn, and a peer that honestly needs one sends 2^24 records between two.
	owedMax = 4 << 10
	// tailMin is how little room left in a chunk is not worth another call.
	tailMin = 512
)

// ErrOwed is what Open fails with when the peer asks for key updates faster than they are fetched.
var ErrOwed = errors.New("tls: the peer asks for more key updates than can be answered")

// Server returns the accepting side. cfg is shared, and must not be changed any more; again is what Source and Borrowed say
// when the socket is not ready.
func Server(cfg *tls.Config, again error) *Conn { return &Conn{cfg: cfg, again: again} }

// Client returns the dialling side. cfg.ServerName is set by the caller.
func Client(cfg *tls.Config, again error) *Conn { return &Conn{cfg: cfg, again: again, client: true} }

// Received gives the connection bytes that somebody already read off the socket, to look at the server name for instance. They
// are copied. To be called before the handshake begins.
func (c *Conn) Received(b []byte) { c.early = append(c.early, b...) }

// Open decrypts what src has and appends it to dst, at most room bytes. Bytes count whatever err says: they come before it.
//
//   - nil: room is used up, or something came and the last receive was not filled. Drained tells the two apart.
//   - again: src has nothing more.
//   - io.EOF: the peer said close_notify.
//   - io.ErrUnexpectedEOF: the connection ended without it, so that bytes may be missing.
//   - ErrOwed; alerts, bad records, errors of src.
//
// Errors other than again stay: every later call returns them. Open may produce records to be sent, see Owed.
func (c *Conn) Open(src Source, dst *buf.Chain, p *buf.Pool, room int) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	invariant.Check(c.tls != nil && c.hs == nil, "a TLS connection is read before its handshake is over")
	c.pool = p
	if c.early != nil {
		c.raw.Append(p, c.early)
		c.early = nil
	}
	n, err = c.open(src, dst, p, room)
	c.pool = nil
	switch {
	case err == nil || err == c.again:
		if n < room {
			c.settle(p)
		}
	default:
		c.err = err
		c.inside = false
		c.raw.Release(p)
	}
	if dst.Len() == 0 {
		dst.Release(p) // room was asked for, and the record held nothing for it
	}
	return n, err
}

func (c *Conn) open(src Source, dst *buf.Chain, p *buf.Pool, room int) (n int, err error) {
	c.drained = false
	tail := 0 // room in the last chunk of dst
	for {
		for n < room && (c.inside || c.whole(p)) {
			ask := tail
			if ask < tailMin {
				ask = c.enough()
			}
			space := dst.Room(p, ask)
			part := space[:min(len(space), room-n)]
			m, err := c.tls.Read(part)
			dst.Fill(m)
			n += m
			tail = len(space) - m
			c.inside = m == len(part)
			if c.owed.Len() > owedMax {
				return n, ErrOwed
			}
			if err != nil && err != errNothing {
				return n, err
			}
		}
		if n >= room || n > 0 && c.drained {
			return n, nil
		}
		if err := c.receive(src, p); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
}

// whole tells whether raw holds a record, and remembers its length. A header that cannot be one counts: crypto/tls refuses it.
func (c *Conn) whole(p *buf.Pool) bool {
	if c.record > 0 {
		return true
	}
	if c.raw.Len() < headerLen {
		return false
	}
	header := c.raw.Pull(p, headerLen)
	n := payload(header)
	switch {
	case n > sealedMax || header[1] != 3 || header[2] != 3: // both versions write 3.3: RFC 8446 5.1
		c.record = headerLen
	case c.raw.Len() >= headerLen+n:
		c.record = headerLen + n
	}
	return c.record > 0
}

// payload returns the length that a record's header tells.
func payload(header []byte) int { return int(header[3])<<8 | int(header[4]) }

// enough returns how much room is asked for when the next record is decrypted: what it can hold, or, when several wait, about
// what all of them can.
func (c *Conn) enough() int {
	if c.inside {
		return tailMin
	}
	if n := c.raw.Len(); n > buf.Small {
		return min(n, buf.Large)
	}
	return c.record
}

// receive reads once into raw.
func (c *Conn) receive(src Source, p *buf.Pool) error {
	size := buf.Small
	if c.bulk {
		size = buf.Large
	}
	b := p.Get(size)
	room := b.Room()
	n, err := src.Recv(room)
	if err != nil {
		p.Put(b)
		c.drained = true
		return err
	}
	c.bulk = n == len(room)
	c.drained = !c.bulk
	b.Fill(n)
	if c.raw.Len() == 0 || n >= len(room)/2 {
		c.large = c.large || size > buf.Small
		c.raw.Push(b)
	} else {
		c.raw.Append(p, b.Bytes())
		p.Put(b)
	}
	return nil
}

// settle moves a part of a record out of a large chunk into as many small ones as it needs: a peer that sends half a record and
// waits costs what it sent.
func (c *Conn) settle(p *buf.Pool) {
	if !c.large || c.raw.Len() > sealedMax+headerLen {
		return
	}
	c.large = false
	if c.raw.Len() == 0 {
		return
	}
	var small buf.Chain
	for c.raw.Len() > 0 {
		front := c.raw.Front()
		room := small.Room(p, 1)
		n := copy(room, front)
		small.Fill(n)
		c.raw.Skip(p, n)
	}
	c.raw = small
}

// Pending tells whether another Open would give something although the socket has not become readable: plain bytes, or the end.
func (c *Conn) Pending(p *buf.Pool) bool {
	return c.err == nil && (c.inside || len(c.early) > 0 || c.whole(p))
}

// Drained tells whether the last Open found the socket emptied: the last receive was not filled, so that whatever comes next
// is announced again, unless the peer's end was announced already: then open on until it shows.
func (c *Conn) Drained() bool { return c.drained }

// Seal encrypts the first n bytes of src, which must hold them, takes them out of it, and appends the records to dst, behind
// those that are owed. With n = 0 it appends those alone. An error is final; nothing can be sent any more.
//
// Bytes in small pieces are put together first: a record costs 22 bytes and the work of some hundred more, and a head and a
// short body belong into one.
func (c *Conn) Seal(dst *buf.Chain, p *buf.Pool, src *buf.Chain, n int) (err error) {
	c.owed.MoveTo(dst)
	if n == 0 {
		return nil
	}
	invariant.Check(c.tls != nil && c.hs == nil, "a TLS connection is written before its handshake is over")
	c.sink, c.pool = dst, p
	for n > 0 && err == nil {
		want := min(n, recordMax)
		front := src.Front()
		if k := min(want, buf.Small); len(front) < k {
			front = src.Pull(p, k)
		}
		front = front[:min(len(front), want)]
		if _, err = c.tls.Write(front); err == nil {
			src.Skip(p, len(front))
			n -= len(front)
		}
	}
	c.sink, c.pool = nil, nil
	return err
}

// Owed tells whether reading has produced records to be sent: the answer to a key update, the alert that says why the
// connection fails. Seal and Close put them in front of what they append.
func (c *Conn) Owed() bool { return c.owed.Len() > 0 }

// Close appends close_notify to dst: nothing can be sealed any more, reading goes on. Without a finished handshake it does
// nothing; a second call appends nothing.
func (c *Conn) Close(dst *buf.Chain, p *buf.Pool) {
	if c.tls == nil || c.hs != nil {
		return
	}
	c.owed.MoveTo(dst)
	c.sink, c.pool = dst, p
	// It fails after a failed Seal or a second time, when there is nothing to say anyway.
	_ = c.tls.CloseWrite()
	c.sink, c.pool = nil, nil
}

// Release gives back the memory of the connection's chains; reading has ended with it.
func (c *Conn) Release(p *buf.Pool) {
	c.raw.Release(p)
	c.owed.Release(p)
	c.early, c.inside, c.record = nil, false, 0
	if c.err == nil {
		c.err = io.ErrClosedPipe
	}
}

// State returns what the handshake agreed upon.
func (c *Conn) State() State { return c.state }

// Protocol returns the protocol agreed upon by ALPN, empty if none was.
func (c *Conn) Protocol() string { return c.state.Protocol }

// String describes the connection for a log. It holds no secret and no raw byte of the peer's.
func (c *Conn) String() string {
	s := &c.state
	if s.Version == 0 {
		return "TLS without a handshake"
	}
	text := fmt.Sprintf("%s %s sni=%q alpn=%q", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.ServerName, s.Protocol)
	if s.Resumed {
		text += " resumed"
	}
	if s.Peer != nil {
		text += fmt.Sprintf(" peer=%q", s.Peer.Subject.String())
	}
	return text
}
