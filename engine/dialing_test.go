package engine

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
	"golang.org/x/net/http2"
)

const patience = 10 * time.Second

// owner notes what becomes of a dial.
type owner struct {
	w    *Worker
	told chan string
	conn func(c *ClientConn)
}

func (o *owner) Connected(c *ClientConn) {
	o.told <- "connected"
	if o.conn != nil {
		o.conn(c)
	}
}
func (o *owner) DialFailed(err error)        { o.told <- err.Error() }
func (o *owner) Answered(c *ClientConn)      { o.told <- "answered" }
func (o *owner) Gone(c *ClientConn, _ error) { o.told <- "gone" }

// collects is a receiver that keeps what comes.
type collects struct {
	w    *Worker
	told chan string
	text []byte
}

func (r *collects) ReceiveHead(_ *Stream, h *message.Head, end bool) { r.w.Heads.Put(h) }
func (r *collects) ReceiveInterim(*Stream, *message.Head)            {}
func (r *collects) ReceiveData(_ *Stream, src *buf.Chain, n int, end bool) {
	r.text = append(r.text, src.Pull(r.w.Bufs, n)[:n]...)
	src.Skip(r.w.Bufs, n)
}
func (r *collects) ReceiveEnd(*Stream, *message.Fields) { r.told <- string(r.text) }
func (r *collects) Drained(*Stream)                     {}
func (r *collects) Failed(_ *Stream, err error)         { r.told <- err.Error() }

// stopped is a worker whose loop does not run yet: until it does, the test may use it as if it were on it.
func stopped(t *testing.T) (w *Worker, run func()) {
	t.Helper()
	l, err := loop.New(loop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w = NewWorker(l, 0)
	return w, func() {
		go l.Run()
		t.Cleanup(func() {
			l.Stop()
			<-l.Done()
		})
	}
}

// greeter accepts one connection, says something, and closes it if it is told to.
func greeter(t *testing.T, says []byte, ends bool) (addr netip.AddrPort, said chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said = make(chan struct{})
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write(says)
		if ends {
			c.Close()
		}
		close(said)
		if !ends {
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), said
}

func hear(t *testing.T, told chan string) string {
	t.Helper()
	select {
	case s := <-told:
		return s
	case <-time.After(patience):
		t.Fatal("nothing was told")
		return ""
	}
}

// An upstream speaks first, and ends, before the loop has heard that it was reached: all of it is announced at once.
func TestAnUpstreamSpeaksBeforeTheLoopHasHeardOfIt(t *testing.T) {
	w, run := stopped(t)
	told := make(chan string, 10)
	addr, said := greeter(t, []byte("220 welcome"), true)
	o := &owner{w: w, told: make(chan string, 10)}
	o.conn = func(c *ClientConn) {
		if _, err := c.Request(nil, false, &collects{w: w, told: told}); err != nil {
			told <- err.Error()
		}
	}
	if err := w.Dial(addr, &DialConfig{Protocols: Raw}, o, w.Loop.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	<-said
	run()
	if got := hear(t, o.told); got != "connected" {
		t.Fatal(got)
	}
	if got := hear(t, told); got != "220 welcome" {
		t.Errorf("got %q", got)
	}
}

// The same of an upstream whose SETTINGS are there at once.
func TestSettingsComeWithTheConnection(t *testing.T) {
	for _, ends := range []bool{false, true} {
		w, run := stopped(t)
		addr, said := greeter(t, []byte{0, 0, 0, byte(http2.FrameSettings), 0, 0, 0, 0, 0}, ends)
		o := &owner{w: w, told: make(chan string, 10)}
		cfg := &DialConfig{Protocols: HTTP2, H2: h2.NewLimits(h2.Limits{})}
		if err := w.Dial(addr, cfg, o, w.Loop.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		<-said
		run()
		if got := hear(t, o.told); got != "connected" {
			t.Fatal(got)
		}
		if ends {
			if got := hear(t, o.told); got != "gone" {
				t.Error(got)
			}
		}
	}
}

// What the socket takes is progress, whatever TLS or windows make of it; and a stream that waits for its turn is not stalled.
func TestWhoWaitsForItsTurnIsNotStalled(t *testing.T) {
	w, run := stopped(t)
	c := &h2Server{}
	limits := h2.NewLimits(h2.Limits{})
	c.codec.Init(limits)
	c.w, c.user, c.config, c.port = w, c, &ServerConfig{H2: limits, SendTimeout: time.Second, BodyWindow: time.Hour}, &port{w: w, listener: &Listener{quota: new(Quota)}}
	c.streams = make(map[uint32]*Stream)
	c.timer.Init(c)
	var failed []string
	r := &failing{&failed}
	feed := func(b []byte) {
		c.in.Append(w.Bufs, b)
		for {
			h := w.Heads.Get()
			ev, err := c.codec.Next(&c.in, &c.out, w.Bufs, h)
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == message.GotHead {
				s := w.newLaned(c, ev.Stream)
				s.receiver, s.received = r, true
				c.streams[ev.Stream] = s
				answer := w.Heads.Get()
				answer.Status, answer.Length = 200, message.UnknownLength
				if err := c.sendHead(s, answer, false); err != nil {
					t.Fatal(err)
				}
				w.Heads.Put(answer)
				var body buf.Chain
				body.Append(w.Bufs, make([]byte, 100<<10))
				if err := s.SendData(&body, body.Len()); err != nil {
					t.Fatal(err)
				}
			}
			w.Heads.Put(h)
			if ev.Kind == message.None {
				return
			}
		}
	}
	preface := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	settings := []byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0, 0} // windows of 256 kB
	wide := []byte{0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 16, 0, 0}          // and of 1 MB
	get := func(id byte) []byte {                                   // GET http://a/
		return []byte{0, 0, 6, 1, 5, 0, 0, 0, id, 0x82, 0x84, 0x86, 0x41, 1, 'a'}
	}
	feed(preface)
	feed(settings)
	feed(wide)
	feed(get(1))
	feed(get(3))
	now := mono.Time(time.Hour)
	for range 5 { // the first of them waits in the wire's chain, the other for its turn behind it
		c.took++ // the socket takes a little
		c.look(now)
		now = now.Add(time.Minute)
	}
	if len(failed) > 0 || len(c.streams) != 2 {
		t.Errorf("%v failed, %d are left", failed, len(c.streams))
	}
	// A window that is shut is the client's doing.
	feed([]byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0})
	for range 3 {
		c.took++
		c.look(now)
		now = now.Add(time.Minute)
	}
	if len(failed) == 0 {
		t.Error("none failed")
	}
	c.codec.Release(w.Bufs)
	c.out.Release(w.Bufs)
	c.in.Release(w.Bufs)
	if n := w.Bufs.InUse(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
	w.Loop.Stop()
	run()
}

// failing notes that streams failed.
type failing struct{ list *[]string }

func (r *failing) ReceiveHead(*Stream, *message.Head, bool)             {}
func (r *failing) ReceiveInterim(*Stream, *message.Head)                {}
func (r *failing) ReceiveData(_ *Stream, src *buf.Chain, _ int, _ bool) {}
func (r *failing) ReceiveEnd(*Stream, *message.Fields)                  {}
func (r *failing) Drained(*Stream)                                      {}
func (r *failing) Failed(_ *Stream, err error)                          { *r.list = append(*r.list, err.Error()) }
