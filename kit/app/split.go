package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// splitter gives each connection of one port to one of two servers, by how it begins. It looks at connections and never at requests, so both
// servers keep their own transports. What decides is on the first bytes that every client sends unasked: that of an HTTP/2 client in
// clear, and the protocols that a TLS client offers. (To look for application/grpc in the first request would mean to answer HTTP/2's
// settings first, for a server not yet known.)
type splitter struct {
	a        *App
	l        *listener
	tls      *tls.Config // nil: in clear
	timeout  time.Duration
	web, rpc *branch
}

// preface begins every HTTP/2 connection (RFC 9113, 3.4); no method of HTTP/1 begins so.
const preface = "PRI "

// share has both servers accept from HTTP's port.
func (a *App) share() {
	s := &splitter{a: a, l: a.web.l, timeout: a.cfg.HTTP.ReadHeaderTimeout}
	s.web, s.rpc = newBranch(s.l), newBranch(s.l)
	if cfg := a.cfg.HTTP.TLS; cfg != nil {
		s.tls = cfg.Clone()
		s.tls.NextProtos = []string{"h2", "http/1.1"}
		// Who can speak HTTP/1.1 gets it. gRPC's clients offer h2 alone.
		oneOnly := s.tls.Clone()
		oneOnly.NextProtos = []string{"http/1.1"}
		s.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, "http/1.1") {
				return oneOnly, nil
			}
			return nil, nil
		}
	}
	a.web.on, a.rpc.on, a.rpc.l = s.web, s.rpc, s.l
	go s.run()
}

// run accepts until the port is closed.
func (s *splitter) run() {
	defer s.web.fail()
	defer s.rpc.fail()
	for {
		c, err := s.l.Accept()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() || errors.Is(err, net.ErrClosed) {
				return
			}
			// As net/http does: out of descriptors is a state that passes.
			t := time.NewTimer(5 * time.Millisecond)
			select {
			case <-t.C:
			case <-s.a.forced.Done():
				t.Stop()
				return
			}
			continue
		}
		go s.route(c) // bounded by the listener's connectionsMax, and in time by timeout
	}
}

// route looks at the beginning of a connection.
func (s *splitter) route(c net.Conn) {
	if s.tls != nil {
		ctx, cancel := context.WithTimeout(s.a.forced, s.timeout)
		defer cancel()
		t := tls.Server(c, s.tls)
		if t.HandshakeContext(ctx) != nil {
			_ = c.Close()
			return
		}
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			s.rpc.give(t)
		} else {
			s.web.give(t)
		}
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(s.timeout)) // an error shows with the read
	head := make([]byte, 0, len(preface))
	for len(head) < len(preface) && bytes.HasPrefix([]byte(preface), head) {
		n, err := c.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err != nil {
			_ = c.Close()
			return
		}
	}
	_ = c.SetReadDeadline(time.Time{})
	own := &begun{Conn: c, head: head}
	if string(head) == preface {
		s.rpc.give(own)
	} else {
		s.web.give(own)
	}
}

// begun is a connection whose first bytes were read.
type begun struct {
	net.Conn
	head []byte
}

func (c *begun) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// branch is a listener that gets its connections from a splitter.
type branch struct {
	from  *listener
	conns chan net.Conn
	close sync.Once
	done  chan struct{}
}

func newBranch(from *listener) *branch {
	return &branch{from: from, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (b *branch) give(c net.Conn) {
	select {
	case b.conns <- c:
	case <-b.done:
		_ = c.Close()
	}
}

func (b *branch) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.done:
		return nil, net.ErrClosed
	}
}

// Close ends this branch alone; the port stays open for the other.
func (b *branch) Close() error {
	b.close.Do(func() { close(b.done) })
	return nil
}

func (b *branch) fail() { _ = b.Close() }

func (b *branch) Addr() net.Addr { return b.from.Addr() }

// shaken are the credentials of a gRPC server whose connections have shaken hands already, or are in clear.
type shaken struct{}

func (shaken) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t, ok := c.(*tls.Conn)
	if !ok {
		return c, inClear{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
	}
	return t, credentials.TLSInfo{State: t.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (shaken) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("app: these are credentials of a server")
}

func (shaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
func (s shaken) Clone() credentials.TransportCredentials { return s }
func (shaken) OverrideServerName(string) error           { return nil }

type inClear struct{ credentials.CommonAuthInfo }

func (inClear) AuthType() string { return "insecure" }
