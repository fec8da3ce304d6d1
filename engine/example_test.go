package engine_test

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
)

// greeter answers every request with a greeting: the smallest Handler.
type greeter struct{ w *engine.Worker }

func (g greeter) Open(s *engine.Stream, _ *engine.ServerConn, h *message.Head, _ bool) engine.Receiver {
	path := string(h.PathBytes())
	g.w.Heads.Put(h)
	g.answer(s, 200, "hello from "+path)
	return nil // answered: nothing that still comes is for us
}

func (g greeter) Refuse(s *engine.Stream, _ *engine.ServerConn, r *message.Refusal) {
	g.answer(s, r.Status, r.Text)
}

func (g greeter) OpenRaw(s *engine.Stream, _ *engine.ServerConn, _ []byte) engine.Receiver {
	panic("a listener that speaks HTTP has no connections of bytes")
}
func (g greeter) Violated(*engine.ServerConn, *message.Refusal) {}
func (g greeter) Opened()                                       {}
func (g greeter) Closed(engine.CloseReason)                     {}
func (g greeter) TurnedAway()                                   {}

func (g greeter) answer(s *engine.Stream, status int, text string) {
	h := g.w.Heads.Get()
	defer g.w.Heads.Put(h)
	h.Status, h.Length = status, int64(len(text))
	h.AddString("Content-Type", "text/plain; charset=utf-8")
	var body buf.Chain
	body.AppendString(g.w.Bufs, text)
	if err := s.SendHead(h, false); err != nil {
		s.Abort(err)
		return
	}
	if err := s.SendData(&body, len(text)); err != nil {
		s.Abort(err)
		return
	}
	if err := s.SendEnd(nil); err != nil {
		s.Abort(err)
	}
}

// The engine alone is an HTTP server: a loop, a worker on it, sockets and a handler.
func Example() {
	l, err := loop.New(loop.Config{})
	if err != nil {
		panic(err)
	}
	w := engine.NewWorker(l, 64<<20)
	go l.Run()

	sockets, err := engine.Bind("127.0.0.1:0", 1)
	if err != nil {
		panic(err)
	}
	listener, err := engine.Listen([]*engine.Worker{w}, sockets, engine.ListenerConfig{
		Name:     "greetings",
		Handlers: []engine.Handler{greeter{w}},
		Server: &engine.ServerConfig{
			H1:          h1.NewLimits(h1.Limits{}),
			HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute, SendTimeout: time.Minute,
			BodyRateMin: 240, BodyWindow: 5 * time.Second,
		},
	})
	if err != nil {
		panic(err)
	}

	resp, err := http.Get("http://" + sockets.Bound().String() + "/the/jade/gate")
	if err != nil {
		panic(err)
	}
	text, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(text))

	listener.Close()
	l.Stop()
	<-l.Done()
	// Output: 200 OK hello from /the/jade/gate
}
