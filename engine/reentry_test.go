package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// moody is a handler that does anything to any of its streams in every call.
type moody struct {
	w    *Worker
	rnd  *rand.Rand
	open []*moodyStream
}

type moodyStream struct {
	m        *moody
	s        *Stream
	answered bool
	ended    bool // its request has
}

var errMood = errors.New("a mood")

func (m *moody) Open(s *Stream, _ *ServerConn, h *message.Head, end bool) Receiver {
	m.w.Heads.Put(h)
	r := &moodyStream{m: m, s: s, ended: end}
	m.open = append(m.open, r)
	m.act()
	return r
}

func (m *moody) Refuse(s *Stream, _ *ServerConn, _ *message.Refusal) { s.Abort(errMood) }
func (m *moody) OpenRaw(s *Stream, _ *ServerConn, _ []byte) Receiver { return nil }
func (m *moody) Violated(*ServerConn, *message.Refusal)              {}
func (m *moody) Opened()                                             {}
func (m *moody) Closed(CloseReason)                                  {}
func (m *moody) TurnedAway()                                         {}

// act does up to three things, each to one of the open streams.
func (m *moody) act() {
	for range m.rnd.IntN(4) {
		if len(m.open) == 0 {
			return
		}
		r := m.open[m.rnd.IntN(len(m.open))]
		switch m.rnd.IntN(9) {
		case 0:
			r.s.Pause()
		case 1, 2:
			r.s.Resume()
		case 3:
			m.forget(r)
			r.s.Abort(errMood)
		case 4, 5:
			r.head()
		case 6, 7:
			r.head()
			r.data(1 + m.rnd.IntN(50_000))
		case 8:
			r.head()
			m.forget(r)
			if err := r.s.SendEnd(nil); err != nil {
				panic(err)
			}
		}
	}
}

func (m *moody) forget(r *moodyStream) {
	for i, have := range m.open {
		if have == r {
			m.open = append(m.open[:i:i], m.open[i+1:]...)
			return
		}
	}
	panic("a stream is told of that is over")
}

func (r *moodyStream) head() {
	if r.answered {
		return
	}
	r.answered = true
	h := r.m.w.Heads.Get()
	h.Status, h.Length = 200, message.UnknownLength
	if err := r.s.SendHead(h, false); err != nil {
		panic(err)
	}
	r.m.w.Heads.Put(h)
}

func (r *moodyStream) data(n int) {
	if r.s.Full() {
		return
	}
	var body buf.Chain
	body.Append(r.m.w.Bufs, make([]byte, n))
	if err := r.s.SendData(&body, n); err != nil {
		panic(err)
	}
	body.Release(r.m.w.Bufs)
}

func (r *moodyStream) ReceiveHead(*Stream, *message.Head, bool) {}
func (r *moodyStream) ReceiveInterim(*Stream, *message.Head)    {}

func (r *moodyStream) ReceiveData(s *Stream, src *buf.Chain, n int, end bool) {
	if s != r.s || r.ended {
		panic("data for somebody else")
	}
	src.Skip(r.m.w.Bufs, n)
	r.ended = end
	r.m.act()
}

func (r *moodyStream) ReceiveEnd(s *Stream, _ *message.Fields) {
	if s != r.s || r.ended {
		panic("an end for somebody else")
	}
	r.ended = true
	r.m.act()
}

func (r *moodyStream) Drained(s *Stream) {
	if s != r.s {
		panic("room for somebody else")
	}
	r.m.act()
}

func (r *moodyStream) Failed(s *Stream, err error) {
	if s != r.s {
		panic("a failure of somebody else")
	}
	r.m.forget(r)
	var refusal *message.Refusal
	if errors.As(err, &refusal) { // the stream can still answer, and has to be given up
		s.Abort(err)
	}
	r.m.act()
}

// Handlers answer, give up, pause and resume any of their streams from inside of any call about one of them: nobody is told of
// a stream that is over, and nothing is held in the end.
func TestHandlersDoAnythingInsideOfCalls(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			l, err := loop.New(loop.Config{})
			if err != nil {
				t.Fatal(err)
			}
			w := NewWorker(l, 0)
			go l.Run()
			m := &moody{w: w, rnd: rand.New(rand.NewPCG(seed, 3))}
			sockets, err := Bind("127.0.0.1:0", 1)
			if err != nil {
				t.Fatal(err)
			}
			addr := sockets.Bound().String()
			listener, err := Listen([]*Worker{w}, sockets, ListenerConfig{Handlers: []Handler{m}, Server: &ServerConfig{
				H1: h1.NewLimits(h1.Limits{}), H2: h2.NewLimits(h2.Limits{}), Protocols: HTTP2,
				HeadTimeout: time.Minute, IdleTimeout: time.Minute, SendTimeout: time.Minute, BodyWindow: time.Minute}})
			if err != nil {
				t.Fatal(err)
			}
			for n := range 6 {
				anyClient(t, addr, rand.New(rand.NewPCG(seed, uint64(10+n))))
			}
			for deadline := time.Now().Add(patience); ; runtime.Gosched() {
				left := make(chan string, 1)
				l.Post(func() {
					left <- fmt.Sprintf("%d connections, %d bytes, %d streams", w.Open(), w.Bufs.InUse(), len(m.open))
				})
				got := <-left
				if got == "0 connections, 0 bytes, 0 streams" && listener.Open() == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("left are %s", got)
				}
			}
			listener.Close()
			l.Stop()
			<-l.Done()
		})
	}
}

// anyClient opens streams, sends parts of bodies, opens windows, gives up, and leaves.
func anyClient(t *testing.T, addr string, rnd *rand.Rand) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = io.Copy(io.Discard, c) }()
	f := http2.NewFramer(c, nil)
	_, err = io.WriteString(c, http2.ClientPreface)
	f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(rnd.IntN(3) * 20_000)})
	var text bytes.Buffer
	enc := hpack.NewEncoder(&text)
	open := []uint32{}
	for i := 0; i < 300 && err == nil; i++ {
		next := uint32(2*i + 1)
		if rnd.IntN(4) == 0 && len(open) < 80 || len(open) == 0 {
			text.Reset()
			for _, field := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"},
				{Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}} {
				_ = enc.WriteField(field)
			}
			err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: next, BlockFragment: text.Bytes(), EndHeaders: true})
			open = append(open, next)
			continue
		}
		at := rnd.IntN(len(open))
		id := open[at]
		switch rnd.IntN(7) {
		case 0, 1, 2:
			err = f.WriteData(id, false, make([]byte, rnd.IntN(400)))
		case 3:
			err = f.WriteData(id, true, nil)
			open = append(open[:at], open[at+1:]...)
		case 4:
			err = f.WriteRSTStream(id, http2.ErrCodeCancel)
			open = append(open[:at], open[at+1:]...)
		case 5:
			err = f.WriteWindowUpdate(id, uint32(1+rnd.IntN(60_000)))
		case 6:
			err = f.WriteWindowUpdate(0, uint32(1+rnd.IntN(60_000)))
		}
	}
}
