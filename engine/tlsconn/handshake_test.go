package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"golang.org/x/sys/unix"
)

// A hello that arrives byte by byte, and one that somebody has read already, to look at it.
func TestHelloInPieces(t *testing.T) {
	s := newSite(t)
	for _, v := range []string{"1.2", "1.3"} {
		for _, side := range []string{"server", "client"} {
			server := s.server(t, func(o *ServerOptions) { o.Parameters = version(v) })
			client := s.client(t, func(o *ClientOptions) { o.Parameters = version(v) })
			c, peer := Server(server, errAgain), asClient(client)
			if side == "client" {
				c, peer = Client(client, errAgain), asServer(server)
			}
			ours, theirs := sockets(t)
			ours.most = 1
			_, result := begin(t, NewHandshaker(HandshakerConfig{}), c, ours)
			p := peer(theirs)
			go p.Handshake()
			if err := <-result; err != nil {
				t.Errorf("%s as %s: %v", v, side, err)
			}
		}
	}

	c := Server(s.server(t, nil), errAgain)
	ours, theirs := sockets(t)
	p := tls.Client(theirs, s.client(t, nil))
	go func() {
		p.Handshake()
		p.Write([]byte("hello"))
	}()
	ours.await(unix.POLLIN)
	b := make([]byte, 300)
	n, err := ours.Recv(b)
	if err != nil {
		t.Fatal(err)
	}
	c.Received(b[:n])
	_, result := begin(t, NewHandshaker(HandshakerConfig{}), c, ours)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// A long hello is shown in pieces, a short one and what follows as they are.
func TestLongHellosAreCut(t *testing.T) {
	record := func(n int) []byte { return append([]byte{22, 3, 1, byte(n >> 8), byte(n)}, bulk(n)...) }
	for _, c := range []struct {
		payload int
		want    []int
	}{
		{0, []int{0}}, {1, []int{1}}, {1024, []int{1024}}, {1025, []int{512, 512, 1}}, {1536, []int{512, 512, 512}},
	} {
		rest := []byte{20, 3, 3, 0, 1, 1}
		b := cutHello(append(record(c.payload), rest...))
		var got []int
		var text []byte
		for len(b) > len(rest) {
			n := payload(b)
			got = append(got, n)
			text = append(text, b[headerLen:headerLen+n]...)
			b = b[headerLen+n:]
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) || !bytes.Equal(text, bulk(c.payload)) || !bytes.Equal(b, rest) {
			t.Errorf("%d bytes: cut into %v, want %v", c.payload, got, c.want)
		}
	}
	for _, b := range [][]byte{nil, {22}, record(2000)[:1999], []byte("GET / HTTP/1.1")} {
		if got := cutHello(b); !bytes.Equal(got, b) {
			t.Errorf("%.20q is changed", b)
		}
	}
}

// What comes with the last flight is not lost.
func TestBytesBehindTheHandshake(t *testing.T) {
	s := newSite(t)
	client := s.client(t, func(o *ClientOptions) { o.Parameters = version("1.3") })
	for range 20 { // now together, now apart
		e, p := connect(t, Server(s.server(t, nil), errAgain), func(n net.Conn) *tls.Conn {
			return tls.Client(&eager{Conn: n}, client)
		})
		p.NetConn().(*eager).flush(p, bulk(6000))
		if got, err := e.read(6000); err != nil || !bytes.Equal(got, bulk(6000)) {
			t.Fatal(len(got), err)
		}
	}
}

// eager holds back the client's last flight.
type eager struct {
	net.Conn
	held []byte
	n    int
}

func (e *eager) Write(b []byte) (int, error) {
	if e.n++; e.n == 1 {
		return e.Conn.Write(b)
	}
	e.held = append(e.held, b...)
	e.Conn.Write(e.held)
	e.held = nil
	return len(b), nil
}

func (e *eager) flush(p *tls.Conn, b []byte) { p.Write(b) }

func TestGarbageInPlaceOfAHello(t *testing.T) {
	s := newSite(t)
	hello := clientHello(t, s.client(t, nil))
	broken := func(at int, b byte) []byte {
		h := bytes.Clone(hello)
		h[at] = b
		return h
	}
	for _, c := range []struct {
		name string
		sent []byte
		word string
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "tls_not_spoken"},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "tls_not_spoken"},
		{"zeros", make([]byte, 100), "tls_not_spoken"},
		{"SSLv2", []byte{0x80, 0x2e, 1, 0, 2, 0, 0, 0}, "tls_not_spoken"},
		{"data", []byte{23, 3, 3, 0, 1, 0}, "tls_not_spoken"},
		{"an alert", []byte{21, 3, 3, 0, 2, 2, 40}, "tls_alert"},
		{"a record of 64 kB", []byte{22, 3, 1, 255, 255}, "tls_not_spoken"},
		{"an empty record", []byte{22, 3, 1, 0, 0}, "handshake_failed"},
		{"a message of 16 MB", []byte{22, 3, 1, 0, 4, 1, 255, 255, 255}, "handshake_failed"},
		{"another message", broken(5, 2), "handshake_failed"},
		{"a length beyond the end", broken(43, 200), "handshake_failed"},
		{"an end in the middle", hello[:100], "tls_truncated"},
		{"an end at once", nil, "tls_truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := NewHandshaker(HandshakerConfig{})
			conn := Server(s.server(t, nil), errAgain)
			ours, theirs := sockets(t)
			_, result := begin(t, h, conn, ours)
			theirs.Write(c.sent)
			theirs.(*net.UnixConn).CloseWrite()
			err := <-result
			if err == nil || Word(err) != c.word {
				t.Errorf("%v (%s), want %s", err, Word(err), c.word)
			}
			if h.Failed() != 1 || h.Running() != 0 || h.Done() != 0 {
				t.Errorf("failed %d, running %d, done %d", h.Failed(), h.Running(), h.Done())
			}
		})
	}
}

// clientHello is the first record of a client.
func clientHello(t testing.TB, cfg *tls.Config) []byte {
	ours, theirs := sockets(t)
	go tls.Client(theirs, cfg).Handshake()
	b := make([]byte, 16<<10)
	for {
		n, err := ours.Recv(b)
		if err == errAgain {
			ours.await(unix.POLLIN)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return b[:n]
	}
}

// A peer that stops at any point of its hello waits until its time is up.
func TestHalfAHelloThenSilence(t *testing.T) {
	s := newSite(t)
	hello := clientHello(t, s.client(t, nil))
	for cut := range len(hello) + 1 {
		if cut > 20 && cut < len(hello)-3 && cut%97 != 0 {
			continue
		}
		h := NewHandshaker(HandshakerConfig{})
		ours, theirs := sockets(t)
		hs, result := begin(t, h, Server(s.server(t, nil), errAgain), ours)
		theirs.Write(hello[:cut])
		hs.Cancel()
		hs.Cancel()
		if err := <-result; err != ErrCancelled || Word(err) != "handshake_cancelled" {
			t.Errorf("cut at %d: %v", cut, err)
		}
		if h.Running() != 0 || h.Failed() != 1 {
			t.Errorf("running %d, failed %d", h.Running(), h.Failed())
		}
		hs.Wake() // an event that comes late does no harm
	}
}

// still is a descriptor on which nothing ever happens.
type still struct{ asked chan struct{} }

func (s still) Recv([]byte) (int, error) {
	if s.asked != nil {
		s.asked <- struct{}{}
	}
	return 0, errAgain
}
func (still) Send([]byte) (int, error) { return 0, errAgain }

// flood begins n handshakes of peers that say nothing.
func flood(t *testing.T, h *Handshaker, s *site, n int) ([]*Handshake, chan error) {
	cfg := s.server(t, nil)
	result := make(chan error, 10*n+10)
	var all []*Handshake
	for range n {
		hs := &Handshake{Conn: Server(cfg, errAgain), IO: still{}, Done: func(err error) { result <- err }}
		all = append(all, hs)
		if !h.Begin(hs) {
			result <- errors.New("refused")
		}
	}
	return all, result
}

// handshake_queue_full: beyond what may run and wait nothing is taken on, and everything ends when it is told to.
func TestAFloodBeyondTheCaps(t *testing.T) {
	s := newSite(t)
	h := NewHandshaker(HandshakerConfig{RunningMax: 3, WaitingMax: 4, Now: func() mono.Time { return 1 }})
	all, result := flood(t, h, s, 10)
	if h.Running() != 3 || h.Waiting() != 4 || h.Refused() != 3 {
		t.Errorf("running %d, waiting %d, refused %d", h.Running(), h.Waiting(), h.Refused())
	}
	for range 3 {
		if err := <-result; err.Error() != "refused" {
			t.Error(err)
		}
	}
	all[5].Cancel() // out of the middle of the queue
	if err := <-result; err != ErrCancelled || h.Waiting() != 3 {
		t.Errorf("%v, waiting %d", err, h.Waiting())
	}
	for _, hs := range all[:7] {
		hs.Cancel()
	}
	for range 6 {
		if err := <-result; err != ErrCancelled {
			t.Error(err)
		}
	}
	if h.Running() != 0 || h.Waiting() != 0 || h.Failed() != 7 {
		t.Errorf("running %d, waiting %d, failed %d", h.Running(), h.Waiting(), h.Failed())
	}
	select {
	case err := <-result:
		t.Errorf("one came twice: %v", err)
	default:
	}
}

// handshake_displaced: peers that say nothing keep their places for Patience, and then only while nobody else wants them.
func TestStalledHandshakesMakeWay(t *testing.T) {
	s := newSite(t)
	var now mono.Time = 1
	clock := make(chan mono.Time, 1)
	clock <- now
	h := NewHandshaker(HandshakerConfig{RunningMax: 2, WaitingMax: 10, Patience: time.Second, Now: func() mono.Time {
		at := <-clock
		clock <- at
		return at
	}})
	advance := func(d time.Duration) { clock <- (<-clock).Add(d) }

	stalled, result := flood(t, h, s, 2)
	for _, hs := range stalled {
		for !hs.silent.Load() {
			h.Running() // until both wait for their peers
		}
	}
	advance(time.Hour)
	if h.Running() != 2 {
		t.Fatal("handshakes were displaced though nobody waits")
	}
	e, p, err := tryConnect(t, h, Server(s.server(t, nil), errAgain), asClient(s.client(t, nil)))
	if err != nil {
		t.Fatal("an honest client did not get through:", err)
	}
	p.Write([]byte("x"))
	if _, err := e.read(1); err != nil {
		t.Error(err)
	}
	if err := <-result; err != ErrDisplaced || Word(err) != "handshake_displaced" || h.Displaced() != 1 || h.Running() != 1 {
		t.Errorf("%v, displaced %d, running %d", err, h.Displaced(), h.Running())
	}

	// Within Patience nobody is displaced, however many wait.
	young, result2 := flood(t, h, s, 5)
	if h.Displaced() != 2 { // the other old one
		t.Logf("displaced %d", h.Displaced())
	}
	if err := <-result; err != ErrDisplaced {
		t.Error(err)
	}
	if h.Running() != 2 || h.Waiting() != 3 {
		t.Errorf("running %d, waiting %d", h.Running(), h.Waiting())
	}
	for _, hs := range young {
		hs.Cancel()
		if err := <-result2; err != ErrCancelled {
			t.Error(err)
		}
	}
}

// No more compute at once than may, and one that waits for its peer does not count.
func TestOneComputesAtATime(t *testing.T) {
	s := newSite(t)
	h := NewHandshaker(HandshakerConfig{ComputingMax: 1})
	asked := make(chan struct{}, 100)
	stalled := &Handshake{Conn: Client(s.client(t, nil), errAgain), IO: still{asked}, Done: func(error) {}}
	h.Begin(stalled) // its hello cannot be sent
	for range 10 {
		if _, _, err := tryConnect(t, h, Server(s.server(t, nil), errAgain), asClient(s.client(t, nil))); err != nil {
			t.Fatal(err)
		}
	}
	if h.Done() != 10 || h.Running() != 1 {
		t.Errorf("done %d, running %d", h.Done(), h.Running())
	}
	stalled.Cancel()
}

// A failure says the same on both ends: ours here, and the alert there.
func TestRefusedHandshakes(t *testing.T) {
	s := newSite(t)
	stranger := newSite(t)
	for _, c := range []struct {
		name string
		conn *Conn
		peer func(net.Conn) *tls.Conn
		word string
	}{
		{"no version in common", Server(s.server(t, func(o *ServerOptions) { o.MinVersion = "1.3" }), errAgain),
			asClient(s.client(t, func(o *ClientOptions) { o.Parameters = version("1.2") })), "handshake_failed"},
		{"no protocol in common", Server(s.server(t, func(o *ServerOptions) { o.ALPN = []string{"h2"} }), errAgain),
			asClient(s.client(t, func(o *ClientOptions) { o.ALPN = []string{"imap"} })), "handshake_failed"},
		{"a client that does not trust us", Server(s.server(t, nil), errAgain), asClient(stranger.client(t, nil)), "tls_alert"},
		{"a server that we do not trust", Client(s.client(t, nil), errAgain), asServer(stranger.server(t, nil)), "certificate_refused"},
		{"a server of another name", Client(s.client(t, func(o *ClientOptions) { o.ServerName = "example.org" }), errAgain),
			asServer(s.server(t, nil)), "certificate_refused"},
		{"no certificate at all", Server(s.server(t, func(o *ServerOptions) { o.Store = new(Store) }), errAgain),
			asClient(s.client(t, nil)), "handshake_failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := sockets(t)
			_, result := begin(t, NewHandshaker(HandshakerConfig{}), c.conn, ours)
			peer := make(chan error, 1)
			go func() {
				p := c.peer(theirs)
				err := p.Handshake()
				if err == nil { // in 1.3 a server is done before its client has looked
					_, err = p.Read(make([]byte, 1))
				}
				theirs.Close()
				peer <- err
			}()
			err := <-result
			if Word(err) != c.word {
				t.Errorf("%v (%s), want %s", err, Word(err), c.word)
			}
			unix.Shutdown(ours.number(), unix.SHUT_WR)
			if err := <-peer; err == nil || err == io.EOF {
				t.Errorf("the peer sees %v", err)
			}
		})
	}
}

func TestStringHoldsNothingRaw(t *testing.T) {
	c := Server(nil, errAgain)
	if got := c.String(); got != "TLS without a handshake" {
		t.Error(got)
	}
	c.state = State{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "a\nb", Protocol: "h2", Resumed: true}
	if got, want := c.String(), `TLS 1.3 TLS_AES_128_GCM_SHA256 sni="a\nb" alpn="h2" resumed`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A hello that is cut says the same, whatever it is.
func FuzzHello(f *testing.F) {
	f.Add(clientHello(f, newSite(f).client(f, nil)))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(append([]byte{22, 3, 1, 8, 0}, make([]byte, 2100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		helloWhole(b)
		got := cutHello(bytes.Clone(b))
		if bytes.Equal(got, b) {
			return
		}
		n := payload(b)
		var text []byte
		for len(text) < n {
			if !bytes.Equal(got[:3], b[:3]) || payload(got) == 0 || payload(got) > helloCut {
				t.Fatalf("a piece begins with %x", got[:headerLen])
			}
			text = append(text, got[headerLen:headerLen+payload(got)]...)
			got = got[headerLen+payload(got):]
		}
		if !bytes.Equal(text, b[headerLen:headerLen+n]) || !bytes.Equal(got, b[headerLen+n:]) {
			t.Fatal("the bytes differ")
		}
	})
}

// Every bound and every cause has its word.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{ErrCancelled, "handshake_cancelled"},
		{fmt.Errorf("read: %w", ErrDisplaced), "handshake_displaced"},
		{ErrChallenged, "handshake_challenge"},
		{ErrOwed, "tls_owed"},
		{io.ErrUnexpectedEOF, "tls_truncated"},
		{unix.ECONNRESET, "handshake_failed"},
	} {
		if got := Word(c.err); got != c.want {
			t.Errorf("%v: got %s, want %s", c.err, got, c.want)
		}
	}
}
