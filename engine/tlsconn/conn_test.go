package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
)

// Both versions, both sides: what one end seals the other opens, in pieces of any size, and an end says goodbye.
func TestBytesPassBothWaysAndEndWithCloseNotify(t *testing.T) {
	s := newSite(t)
	for _, v := range []string{"1.2", "1.3"} {
		for _, side := range []string{"server", "client"} {
			t.Run(v+" as "+side, func(t *testing.T) {
				server := s.server(t, func(o *ServerOptions) { o.Parameters = version(v); o.ALPN = []string{"h2", "http/1.1"} })
				client := s.client(t, func(o *ClientOptions) { o.Parameters = version(v); o.ALPN = []string{"http/1.1"} })
				c, peer := Server(server, errAgain), asClient(client)
				if side == "client" {
					c, peer = Client(client, errAgain), asServer(server)
				}
				e, p := connect(t, c, peer)
				if e.Protocol() != "http/1.1" || e.State().ServerName != "example.com" {
					t.Errorf("agreed on %s", e)
				}
				for _, n := range []int{1, 200, 4096, 16384, 16385, 70000, 300000} {
					want := bulk(n)
					got, done := make([]byte, n), make(chan error, 1)
					go func() {
						_, err := io.ReadFull(p, got)
						done <- err
					}()
					e.send(want)
					if err := <-done; err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%d bytes from us: %v", n, err)
					}
					go p.Write(want)
					got, err := e.read(n)
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%d bytes to us: %d came, %v", n, len(got), err)
					}
				}

				var out buf.Chain
				e.Close(&out, e.pool)
				e.flush(&out)
				if _, err := p.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the peer reads %v after our close_notify, want EOF", err)
				}
				e.Close(&out, e.pool)
				if out.Len() > 0 {
					t.Error("a second Close appends something")
				}
				// The peer may still speak: RFC 8446 6.1.
				if _, err := p.Write([]byte("last")); err != nil {
					t.Fatal(err)
				}
				p.CloseWrite()
				if got, err := e.read(5); string(got) != "last" || err != io.EOF {
					t.Errorf("got %q, %v, want the last word and EOF", got, err)
				}
				if _, err := e.Open(e.sock, &out, e.pool, 1); err != io.EOF {
					t.Errorf("the end does not stay: %v", err)
				}
				e.Release(e.pool)
				if n := e.pool.InUse(); n != 0 {
					t.Errorf("%d bytes of chunks are still out", n)
				}
			})
		}
	}
}

// records returns what write makes the peer send.
func records(t *testing.T, e *end, p *tls.Conn, write func()) []byte {
	t.Helper()
	write()
	var raw []byte
	b := make([]byte, 1<<20)
	for {
		n, err := e.sock.Recv(b)
		if err == errAgain {
			return raw
		}
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, b[:n]...)
	}
}

// script is a Source that gives out what it was given, piece by piece, and then an end.
type script struct {
	pieces [][]byte
	end    error
}

func (s *script) Recv(p []byte) (int, error) {
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, s.end
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

// A run of records is cut at each position: in two by time, and in two by the end of the connection.
func TestRecordsCutAtEachPosition(t *testing.T) {
	s := newSite(t)
	for _, v := range []string{"1.2", "1.3"} {
		t.Run(v, func(t *testing.T) {
			client := s.client(t, func(o *ClientOptions) { o.Parameters = version(v) })
			e, p := connect(t, Server(s.server(t, nil), errAgain), asClient(client))
			for cut := 0; ; cut++ {
				raw := records(t, e, p, func() {
					p.Write([]byte("one"))
					p.Write([]byte("second"))
				})
				if cut > len(raw) {
					break
				}
				src := &script{pieces: [][]byte{raw[:cut]}, end: errAgain}
				var in buf.Chain
				first, err := e.Open(src, &in, e.pool, 100)
				if err != nil && err != errAgain {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				if e.Pending(e.pool) {
					t.Fatalf("cut at %d: something is pending", cut)
				}
				src.pieces = [][]byte{raw[cut:]}
				for in.Len() < 9 {
					if _, err := e.Open(src, &in, e.pool, 100); err != nil && err != errAgain {
						t.Fatalf("cut at %d: %v", cut, err)
					}
				}
				if got := in.Pull(e.pool, 9); string(got) != "onesecond" {
					t.Fatalf("cut at %d, %d bytes first: got %q", cut, first, got)
				}
				in.Release(e.pool)
			}
		})
	}
}

func TestAnEndWithoutCloseNotifyIsSeen(t *testing.T) {
	s := newSite(t)
	client := s.client(t, nil)
	size := 0
	for cut := 0; cut == 0 || cut <= size; cut++ {
		e, p := connect(t, Server(s.server(t, nil), errAgain), asClient(client))
		raw := records(t, e, p, func() { p.Write([]byte("hi")) })
		size = len(raw)
		var in buf.Chain
		var err error
		for src := (&script{pieces: [][]byte{raw[:cut]}, end: io.EOF}); err == nil; {
			_, err = e.Open(src, &in, e.pool, 100)
		}
		if err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d of %d bytes: %v", cut, len(raw), err)
		}
		if whole := cut == len(raw); whole != (in.Len() == 2) {
			t.Errorf("cut after %d of %d bytes: %d plain bytes", cut, len(raw), in.Len())
		}
	}
}

// Open gives no more than it was asked for and tells that there is more, though the socket has nothing.
func TestRoomIsKept(t *testing.T) {
	s := newSite(t)
	e, p := connect(t, Server(s.server(t, nil), errAgain), asClient(s.client(t, nil)))
	want := bulk(50000)
	raw := records(t, e, p, func() { p.Write(want) })
	src := &script{pieces: [][]byte{raw}, end: errAgain}
	var in buf.Chain
	var sizes []int
	for in.Len() < len(want) {
		if len(sizes) > 0 && !e.Pending(e.pool) && len(src.pieces) == 0 {
			t.Fatal("bytes are left and nothing is pending")
		}
		n, err := e.Open(src, &in, e.pool, 7000)
		if n > 7000 || err != nil && err != errAgain {
			t.Fatal(n, err)
		}
		sizes = append(sizes, n)
	}
	if got := in.Pull(e.pool, in.Len()); !bytes.Equal(got, want) {
		t.Error("the bytes differ")
	}
	if e.Pending(e.pool) {
		// a record was taken to the last byte; whether more is in it is known only after another look
		if n, err := e.Open(src, &in, e.pool, 7000); n != 0 || err != errAgain {
			t.Error(n, err)
		}
	}
	t.Log(sizes)
}

// A receive that is not filled is the last one, so that a request costs one call.
func TestAShortReceiveIsNotAskedTwice(t *testing.T) {
	s := newSite(t)
	e, p := connect(t, Server(s.server(t, nil), errAgain), asClient(s.client(t, nil)))
	p.Write([]byte("request"))
	e.sock.calls = 0
	var in buf.Chain
	n, err := e.Open(e.sock, &in, e.pool, 1000)
	if n != 7 || err != nil || !e.Drained() || e.sock.calls != 1 {
		t.Errorf("%d bytes, %v, drained %v after %d receives", n, err, e.Drained(), e.sock.calls)
	}
}

func TestABadRecordIsAnErrorAndOwesAnAlert(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name   string
		change func(raw []byte) []byte
	}{
		{"a bit of the tag", func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return raw }},
		{"a bit of the text", func(raw []byte) []byte { raw[6] ^= 1; return raw }},
		{"another type", func(raw []byte) []byte { raw[0] = 99; return raw }},
		{"another version", func(raw []byte) []byte { raw[1] = 9; return raw }},
		{"too long a record", func(raw []byte) []byte { raw[3], raw[4] = 0xff, 0xff; return raw }},
		{"the same record twice", func(raw []byte) []byte { return append(raw, raw...) }},
		{"a record of nothing", func(raw []byte) []byte { return []byte{23, 3, 3, 0, 0} }},
		{"plain text", func(raw []byte) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, p := connect(t, Server(s.server(t, nil), errAgain), asClient(s.client(t, nil)))
			raw := c.change(records(t, e, p, func() { p.Write([]byte("hello")) }))
			var in, out, none buf.Chain
			var err error
			for src := (&script{pieces: [][]byte{raw}, end: errAgain}); err == nil; {
				_, err = e.Open(src, &in, e.pool, 1000)
			}
			if err == errAgain || err == io.EOF {
				t.Fatalf("got %v", err)
			}
			if !e.Owed() {
				t.Error("no alert is owed")
			}
			if err := e.Seal(&out, e.pool, &none, 0); err != nil {
				t.Error(err)
			}
			e.flush(&out)
			var alert tls.AlertError
			if _, err := p.Read(make([]byte, 1)); err == nil || errors.As(err, &alert) {
				t.Errorf("the peer reads %v", err)
			}
			if _, again := e.Open(e.sock, &in, e.pool, 1000); again != err {
				t.Errorf("then %v, after %v", again, err)
			}
			var src buf.Chain
			src.Append(e.pool, []byte("x"))
			if err := e.Seal(&out, e.pool, &src, 1); err == nil {
				t.Error("bytes are sealed after a fatal alert")
			}
		})
	}
}

// Small pieces leave in one record, large ones in records of 16 kB.
func TestRecordsAreFilled(t *testing.T) {
	s := newSite(t)
	client := s.client(t, nil)
	e, _ := connect(t, Server(s.server(t, nil), errAgain), asClient(client))
	for _, c := range []struct{ pieces, want []int }{
		{[]int{10}, []int{10}},
		{[]int{300, 200}, []int{500}},
		{[]int{300, 65536}, []int{4096, 16384, 16384, 16384, 12588}},
		{[]int{100, 100, 100, 3000}, []int{3300}},
		{[]int{65536}, []int{16384, 16384, 16384, 16384}},
		{[]int{5000, 5000}, []int{5000, 5000}},
	} {
		var src, out buf.Chain
		total := 0
		for _, n := range c.pieces {
			b := e.pool.Get(n)
			b.Room()
			b.Fill(n)
			src.Push(b)
			total += n
		}
		if err := e.Seal(&out, e.pool, &src, total); err != nil {
			t.Fatal(err)
		}
		if src.Len() != 0 {
			t.Errorf("%d bytes are left", src.Len())
		}
		var got []int
		for out.Len() > 0 {
			n := payload(out.Pull(e.pool, headerLen))
			got = append(got, n-17) // the type and the tag of 1.3
			out.Skip(e.pool, headerLen+n)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("pieces %v: records of %v, want %v", c.pieces, got, c.want)
		}
	}
}
