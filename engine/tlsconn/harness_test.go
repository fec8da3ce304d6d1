package tlsconn

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"golang.org/x/sys/unix"
)

// Everything here runs against crypto/tls on the other end of a socket pair, and ours is a non-blocking descriptor with a poll
// loop of three lines in place of engine/loop.

var errAgain = errors.New("not now")

// socket is a non-blocking descriptor.
type socket struct {
	fd     atomic.Int32  // -1: closed
	most   int           // a receive gives no more than that; 0: no bound
	hungry chan struct{} // holds one after a call found the descriptor not ready
	calls  int           // of Recv
}

func newSocket(fd int) *socket {
	s := &socket{hungry: make(chan struct{}, 1)}
	s.fd.Store(int32(fd))
	return s
}

func (s *socket) number() int { return int(s.fd.Load()) }

func (s *socket) Recv(p []byte) (int, error) {
	s.calls++
	if s.most > 0 {
		p = p[:min(len(p), s.most)]
	}
	n, err := unix.Read(s.number(), p)
	switch {
	case err == unix.EAGAIN:
		select {
		case s.hungry <- struct{}{}:
		default:
		}
		return 0, errAgain
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Send(p []byte) (int, error) {
	n, err := unix.Write(s.number(), p)
	if err == unix.EAGAIN {
		select {
		case s.hungry <- struct{}{}:
		default:
		}
		return 0, errAgain
	}
	return max(n, 0), err
}

// await returns when the descriptor is ready for ev, or after a moment: the caller looks by itself.
func (s *socket) await(ev int16) {
	fds := []unix.PollFd{{Fd: s.fd.Load(), Events: ev}}
	_, _ = unix.Poll(fds, 20)
}

// sockets returns our end and theirs.
func sockets(t testing.TB) (*socket, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[1]), "peer")
	theirs, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	ours := newSocket(fds[0])
	t.Cleanup(func() {
		theirs.Close()
		ours.close()
	})
	return ours, theirs
}

// begin begins a handshake and polls for it until it is over. The result comes on the channel.
func begin(t testing.TB, h *Handshaker, c *Conn, s *socket) (*Handshake, <-chan error) {
	t.Helper()
	over, result := make(chan struct{}), make(chan error, 1)
	hs := &Handshake{Conn: c, IO: s, Done: func(err error) {
		close(over)
		result <- err
	}}
	if !h.Begin(hs) {
		t.Fatal("the handshake was refused")
	}
	go func() {
		for {
			select {
			case <-over:
				return
			case <-s.hungry:
				for ready := false; !ready; {
					fds := []unix.PollFd{{Fd: s.fd.Load(), Events: unix.POLLIN}}
					n, _ := unix.Poll(fds, 5)
					ready = n > 0
					select {
					case <-over:
						return
					default:
					}
					hs.Wake()
				}
			}
		}
	}()
	return hs, result
}

// end is our side of a connection.
type end struct {
	*Conn
	t    testing.TB
	sock *socket
	pool *buf.Pool
}

// connect shakes hands over a socket pair; peer is crypto/tls.
func connect(t testing.TB, c *Conn, peer func(net.Conn) *tls.Conn) (*end, *tls.Conn) {
	t.Helper()
	e, p, err := tryConnect(t, NewHandshaker(HandshakerConfig{}), c, peer)
	if err != nil {
		t.Fatal(err)
	}
	return e, p
}

func tryConnect(t testing.TB, h *Handshaker, c *Conn, peer func(net.Conn) *tls.Conn) (*end, *tls.Conn, error) {
	t.Helper()
	ours, theirs := sockets(t)
	_, result := begin(t, h, c, ours)
	p := peer(theirs)
	theirErr := make(chan error, 1)
	go func() {
		err := p.Handshake()
		if err != nil {
			theirs.Close()
		}
		theirErr <- err
	}()
	err := errors.Join(<-result, <-theirErr)
	return &end{Conn: c, t: t, sock: ours, pool: buf.NewPool(0)}, p, err
}

// read opens until want bytes have come or the connection has ended.
func (e *end) read(want int) ([]byte, error) {
	var in buf.Chain
	var all []byte
	for len(all) < want {
		n, err := e.Open(e.sock, &in, e.pool, 64<<10)
		if n != in.Len() {
			e.t.Fatalf("Open says %d bytes and appended %d", n, in.Len())
		}
		all = append(all, bytes.Join(in.Pieces(make([][]byte, 0, 64)), nil)...)
		in.Release(e.pool)
		if e.Owed() {
			e.send(nil)
		}
		if err == errAgain {
			e.sock.await(unix.POLLIN)
		} else if err != nil {
			return all, err
		}
	}
	return all, nil
}

// send seals b and whatever is owed and sends it.
func (e *end) send(b []byte) {
	var src, out buf.Chain
	src.Append(e.pool, b)
	if err := e.Seal(&out, e.pool, &src, len(b)); err != nil {
		e.t.Error(err)
	}
	e.flush(&out)
}

func (e *end) flush(out *buf.Chain) {
	for out.Len() > 0 {
		n, err := e.sock.Send(out.Front())
		out.Skip(e.pool, n)
		if err == errAgain {
			e.sock.await(unix.POLLOUT)
		} else if err != nil {
			e.t.Error(err)
			out.Release(e.pool)
		}
	}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serial = struct {
	sync.Mutex
	n int64
}{}

func nextSerial() *big.Int {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	return big.NewInt(serial.n)
}

// The certificates are good around noon of this day.
var (
	noon     = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	wallTime = func() time.Time { return noon }
)

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue signs a certificate for the names with a P-256 key; change may alter the template.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate), names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a.issueFor(t, key, change, names...)
}

func (a *authority) issueFor(t testing.TB, key crypto.Signer, change func(*x509.Certificate), names ...string) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: names, NotBefore: noon.Add(-time.Hour),
		NotAfter: noon.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// rsaKey is made once: it takes its time.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// site is a server's configuration with a certificate for example.com, and a client's that trusts it.
type site struct {
	ca      *authority
	store   *Store
	tickets *Tickets
	options ServerOptions
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{ca: newAuthority(t, "servers"), store: new(Store)}
	s.store.Set([]*tls.Certificate{s.ca.issue(t, nil, "example.com", "*.example.com")})
	var err error
	if s.tickets, err = NewTickets(TicketOptions{}, noon, rand.Reader); err != nil {
		t.Fatal(err)
	}
	s.options = ServerOptions{Store: s.store, Tickets: s.tickets, Parameters: Parameters{Time: wallTime}}
	return s
}

func (s *site) server(t testing.TB, change func(*ServerOptions)) *tls.Config {
	t.Helper()
	o := s.options
	if change != nil {
		change(&o)
	}
	cfg, err := ServerConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (s *site) client(t testing.TB, change func(*ClientOptions)) *tls.Config {
	t.Helper()
	o := ClientOptions{Roots: s.ca.pool(), ServerName: "example.com", Parameters: Parameters{Time: wallTime}}
	if change != nil {
		change(&o)
	}
	cfg, err := ClientConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func asClient(cfg *tls.Config) func(net.Conn) *tls.Conn {
	return func(n net.Conn) *tls.Conn { return tls.Client(n, cfg) }
}

func asServer(cfg *tls.Config) func(net.Conn) *tls.Conn {
	return func(n net.Conn) *tls.Conn { return tls.Server(n, cfg) }
}

// version narrows parameters to one.
func version(v string) Parameters { return Parameters{MinVersion: v, MaxVersion: v, Time: wallTime} }

// bulk is n bytes that differ.
func bulk(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// rawPair returns two non-blocking ends.
func rawPair(t testing.TB) (a, b *socket) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*socket
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		ends[i] = newSocket(fd)
		t.Cleanup(ends[i].close)
	}
	return ends[0], ends[1]
}

// close closes the descriptor, once.
func (s *socket) close() {
	if fd := s.fd.Swap(-1); fd >= 0 {
		unix.Close(int(fd))
	}
}
