package h2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// road drives a codec over a net.Conn, one goroutine for the codec and one that reads for it, until the peer closes.
type road struct {
	conn    net.Conn
	p       *buf.Pool
	in, out buf.Chain
	h       message.Head
	c       *conn
	event   func(e message.Event) // is given every event, and takes the bytes of GotData
	idle    func()                // is called when there is nothing more to read
}

func (d *road) run() error {
	pieces, written := make(chan []byte), make(chan error, 1)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 5000)
			n, err := d.conn.Read(b)
			if n > 0 {
				pieces <- b[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	var sending []byte
	send := func() {
		if d.c.Flush(&d.out, d.p, 1<<16); sending != nil || d.out.Len() == 0 {
			return
		}
		sending = []byte{}
		for _, piece := range d.out.Pieces(make([][]byte, 0, 100)) {
			sending = append(sending, piece...)
		}
		d.out.Skip(d.p, len(sending))
		go func(b []byte) { _, err := d.conn.Write(b); written <- err }(sending)
	}
	for {
		send()
		select {
		case b, ok := <-pieces:
			if !ok {
				return d.c.EOF()
			}
			d.in.Append(d.p, b)
			for {
				e, err := d.c.next(&d.in, &d.out, d.p, &d.h)
				if err != nil {
					return err
				}
				if e.Kind == message.None {
					break
				}
				d.event(e)
			}
			d.idle()
		case err := <-written:
			if sending = nil; err != nil {
				return err
			}
		}
	}
}

func (d *road) take(n int) (b []byte) {
	for n > 0 {
		part := d.in.Front()[:min(n, len(d.in.Front()))]
		b = append(b, part...)
		n -= len(part)
		d.in.Skip(d.p, len(part))
	}
	return b
}

// onlyHTTP2 is HTTP/2 by prior knowledge.
func onlyHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// pipeListener accepts what is in its channel.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	if c := <-l.conns; c != nil {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.conns) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return new(net.UnixAddr) }

// Go's client, many requests at a time, each echoed with its trailers.
func TestServerWithGoClient(t *testing.T) {
	ours, theirs := net.Pipe()
	var c Server
	c.Init(standard)
	d := &road{conn: ours, p: buf.NewPool(0), c: &c.conn, idle: func() {}}
	c.Start(&d.out, d.p)
	d.event = func(e message.Event) {
		var src buf.Chain
		switch e.Kind {
		case message.GotHead:
			h := message.Head{Status: 200, Length: d.h.Length}
			h.Add([]byte("x-path"), d.h.PathBytes())
			if c.AppendHead(&d.out, d.p, e.Stream, &h, e.End) != nil {
				t.Error(e)
			}
		case message.GotData:
			src.Append(d.p, d.take(e.N))
			if err := c.AppendData(&d.out, d.p, e.Stream, &src, e.N); err != nil {
				t.Error(err)
			}
			c.Took(&d.out, d.p, e.Stream, e.N)
			if e.End && c.AppendEnd(&d.out, d.p, e.Stream, nil) != nil {
				t.Error(e)
			}
		case message.GotEnd:
			if c.AppendEnd(&d.out, d.p, e.Stream, nil) != nil {
				t.Error(e)
			}
		case message.GotTrailers:
			if c.AppendEnd(&d.out, d.p, e.Stream, &d.h.Fields) != nil {
				t.Error(e)
			}
		}
	}
	done := make(chan error)
	go func() { done <- d.run() }()

	transport := &http.Transport{Protocols: onlyHTTP2(), DialContext: func(context.Context, string, string) (net.Conn, error) { return theirs, nil }}
	client, err := transport.NewClientConn(context.Background(), "http", "exam.test:80")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			body := strings.Repeat(fmt.Sprint(i), i*i*100)
			r, _ := http.NewRequestWithContext(context.Background(), "POST", fmt.Sprintf("http://exam.test/%d", i), io.MultiReader(strings.NewReader(body)))
			if i%2 == 0 {
				r.Trailer = http.Header{"X-Tail": {fmt.Sprint(i)}}
			}
			response, err := client.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(response.Body)
			if err != nil || string(got) != body || response.Header.Get("x-path") != fmt.Sprintf("/%d", i) {
				t.Errorf("%d: %d of %d bytes, %v", i, len(got), len(body), err)
			}
			if i%2 == 0 && response.Trailer.Get("x-tail") != fmt.Sprint(i) {
				t.Errorf("%d: trailers %v", i, response.Trailer)
			}
		})
	}
	wg.Wait()
	theirs.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ours.Close()
	c.Release(d.p)
}

// Go's server, as many requests at a time as it allows, with bodies larger than its windows.
func TestClientWithGoServer(t *testing.T) {
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	l := &pipeListener{conns: make(chan net.Conn, 1)}
	l.conns <- theirs
	server := &http.Server{Protocols: onlyHTTP2(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Tail")
		w.WriteHeader(103)
		io.Copy(w, r.Body)
		w.Header().Set("X-Tail", r.URL.Path)
	})}
	go func() {
		defer close(served)
		server.Serve(l)
	}()
	var c Client
	c.Init(standard, "http")
	d := &road{conn: ours, p: buf.NewPool(0), c: &c.conn}
	c.Start(&d.out, d.p)
	const requests = 300
	said, heard := map[uint32][]byte{}, map[uint32][]byte{}
	opened, answered, interim := 0, 0, 0
	d.idle = func() {
		for opened < requests && c.Settled() && c.Room() > 0 && c.QueuedTotal() < 1<<20 {
			opened++
			h := new(message.Head)
			h.Method, h.Path, h.Authority = h.StoreString("POST"), h.StoreString(fmt.Sprintf("/%d", opened)), h.StoreString("exam.test")
			body := bytes.Repeat([]byte(fmt.Sprint(opened)), opened*opened%70000)
			if h.Length = int64(len(body)); opened%2 == 0 {
				h.Length = message.UnknownLength
			}
			id, err := c.Open(&d.out, d.p, h, false)
			if err != nil {
				t.Error(err)
			}
			said[id] = body
			var src buf.Chain
			src.Append(d.p, body)
			if c.AppendData(&d.out, d.p, id, &src, len(body)) != nil || c.AppendEnd(&d.out, d.p, id, nil) != nil {
				t.Error("not sent")
			}
		}
	}
	d.event = func(e message.Event) {
		switch e.Kind {
		case message.GotInterim:
			interim++
		case message.GotData:
			heard[e.Stream] = append(heard[e.Stream], d.take(e.N)...)
			c.Took(&d.out, d.p, e.Stream, e.N)
		case message.GotTrailers:
			if v, _ := d.h.Field([]byte("x-tail")); string(v) != fmt.Sprintf("/%d", (e.Stream+1)/2) {
				t.Errorf("stream %d ends with %q", e.Stream, v)
			}
		case message.GotReset, message.GotGoAway:
			t.Errorf("%+v", e)
		}
		if e.End {
			if !bytes.Equal(said[e.Stream], heard[e.Stream]) {
				t.Errorf("stream %d: %d of %d bytes", e.Stream, len(heard[e.Stream]), len(said[e.Stream]))
			}
			if answered++; answered == requests {
				go ours.Close()
			}
		}
	}
	if err := d.run(); err != nil && answered < requests {
		t.Error(err)
	}
	if answered != requests || interim != requests || c.Outstanding() != 0 {
		t.Errorf("%d answers, %d interim, %d open", answered, interim, c.Outstanding())
	}
	server.Close()
	<-served
	c.Release(d.p)
	d.in.Release(d.p)
	d.out.Release(d.p)
	if d.p.InUse() != 0 {
		t.Errorf("%d bytes of chunks were lost", d.p.InUse())
	}
}
