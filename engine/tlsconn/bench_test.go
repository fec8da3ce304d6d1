package tlsconn

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
)

// joined is two ends of ours, without a socket in between: what one seals the other opens.
type joined struct {
	from, to     *Conn
	pool         *buf.Pool
	src, mid, in buf.Chain
}

func join(t testing.TB, v string) *joined {
	s := newSite(t)
	server := Server(s.server(t, func(o *ServerOptions) { o.Parameters = version(v) }), errAgain)
	client := Client(s.client(t, func(o *ClientOptions) { o.Parameters = version(v) }), errAgain)
	a, b := rawPair(t)
	h := NewHandshaker(HandshakerConfig{})
	_, one := begin(t, h, server, a)
	_, other := begin(t, h, client, b)
	if err := <-one; err != nil {
		t.Fatal(err)
	}
	if err := <-other; err != nil {
		t.Fatal(err)
	}
	j := &joined{from: client, to: server, pool: buf.NewPool(0)}
	var in buf.Chain
	client.Open(b, &in, j.pool, 1) // the tickets
	return j
}

// Recv makes the sealed bytes a Source.
func (j *joined) Recv(p []byte) (int, error) {
	if j.mid.Len() == 0 {
		return 0, errAgain
	}
	n := copy(p, j.mid.Front())
	j.mid.Skip(j.pool, n)
	return n, nil
}

func (j *joined) pass(t testing.TB, b []byte) {
	j.src.Append(j.pool, b)
	if err := j.from.Seal(&j.mid, j.pool, &j.src, len(b)); err != nil {
		t.Fatal(err)
	}
	got := 0
	for got < len(b) {
		n, err := j.to.Open(j, &j.in, j.pool, 64<<10)
		if err != nil && err != errAgain {
			t.Fatal(err)
		}
		got += n
		j.in.Skip(j.pool, n)
	}
}

var sizes = []int{200, 4 << 10, 16 << 10, 64 << 10}

func BenchmarkRecord(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			j := join(b, "1.3")
			text := bulk(size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				j.pass(b, text)
			}
		})
	}
}

// The same with crypto/tls at both ends of net.Pipe.
func BenchmarkRecordOfCryptoTLS(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newSite(b)
			near, far := net.Pipe()
			server, client := tls.Server(far, s.server(b, func(o *ServerOptions) { o.Tickets = nil })), tls.Client(near, s.client(b, nil))
			go server.Handshake()
			if err := client.Handshake(); err != nil {
				b.Fatal(err)
			}
			text, room := bulk(size), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			go func() {
				for {
					if _, err := client.Write(text); err != nil {
						return
					}
				}
			}()
			for b.Loop() {
				if _, err := io.ReadFull(server, room); err != nil {
					b.Fatal(err)
				}
			}
			near.Close()
		})
	}
}

// Both ends are in the figure.
func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name   string
		resume bool
	}{{"full", false}, {"resumed", true}} {
		b.Run(c.name, func(b *testing.B) {
			s := newSite(b)
			server := s.server(b, nil)
			client := s.client(b, func(o *ClientOptions) {
				if !c.resume {
					o.SessionsMax = -1
				}
			})
			h, pool := NewHandshaker(HandshakerConfig{}), buf.NewPool(0)
			b.ReportAllocs()
			for b.Loop() {
				a, theirs := rawPair(b)
				_, one := begin(b, h, Server(server, errAgain), a)
				cc := Client(client, errAgain)
				_, other := begin(b, h, cc, theirs)
				if err := <-one; err != nil {
					b.Fatal(err)
				}
				if err := <-other; err != nil {
					b.Fatal(err)
				}
				var in buf.Chain
				cc.Open(theirs, &in, pool, 1)
				cc.Release(pool)
				a.close()
				theirs.close()
			}
		})
	}
}

// The same with crypto/tls at both ends of a pair of sockets.
func BenchmarkHandshakeOfCryptoTLS(b *testing.B) {
	s := newSite(b)
	server, client := s.server(b, nil), s.client(b, func(o *ClientOptions) { o.SessionsMax = -1 })
	b.ReportAllocs()
	for b.Loop() {
		ours, theirs := sockets(b)
		near, err := net.FileConn(os.NewFile(uintptr(ours.number()), "near"))
		if err != nil {
			b.Fatal(err)
		}
		go tls.Server(near, server).Handshake()
		if err := tls.Client(theirs, client).Handshake(); err != nil {
			b.Fatal(err)
		}
		near.Close()
		theirs.Close()
	}
}

// What an idle connection keeps on the heap, with a request behind it; 2 kB of it are the test's own. See Conn.
func TestAnIdleConnectionIsSmall(t *testing.T) {
	const n, heapMax = 100, 10 << 10
	s := newSite(t)
	for _, v := range []string{"1.2", "1.3"} {
		server := s.server(t, func(o *ServerOptions) { o.Parameters = version(v) })
		client := s.client(t, func(o *ClientOptions) { o.SessionsMax = -1 })
		h := NewHandshaker(HandshakerConfig{})
		pool := buf.NewPool(0)
		idle := make([]*Conn, 0, n)
		one := func() {
			ours, theirs := rawPair(t)
			c := Server(server, errAgain)
			_, result := begin(t, h, c, ours)
			p := Client(client, errAgain)
			_, theirResult := begin(t, h, p, theirs)
			if err := <-theirResult; err != nil {
				t.Fatal(err)
			}
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			var src, out, in buf.Chain
			src.Append(pool, bulk(400))
			if err := p.Seal(&out, pool, &src, 400); err != nil {
				t.Fatal(err)
			}
			theirs.Send(out.Front())
			out.Release(pool)
			if n, err := c.Open(ours, &in, pool, 1000); n != 400 || err != nil {
				t.Fatal(n, err)
			}
			in.Release(pool)
			ours.close()
			theirs.close()
			idle = append(idle, c)
		}
		one()
		before := heap()
		for range n - 1 {
			one()
		}
		each := (heap() - before) / (n - 1)
		t.Logf("%s: %d bytes of heap each", v, each)
		if each > heapMax {
			t.Errorf("%s: an idle connection holds %d bytes of heap, want at most %d", v, each, heapMax)
		}
		if got := pool.InUse(); got != 0 {
			t.Errorf("idle connections hold %d bytes of chunks", got)
		}
		runtime.KeepAlive(idle)
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
