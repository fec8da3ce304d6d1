package gateway_test

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// A client that asks for hundreds of things at once has them all, but not in one turn: others are served in between.
func TestOneConnectionHasItsShareOfATurn(t *testing.T) {
	const requests = 90
	begun := map[mono.Time]int{} // by turn
	s := usual()
	s.server.Protocols = engine.HTTP2
	s.routes[0].respond = &gateway.Respond{Status: 204}
	s.routes[0].filters = []gateway.Hooks{{Name: "count", Request: func(x *gateway.Exchange) gateway.Verdict {
		begun[x.Now()]++
		return gateway.GoOn
	}}}
	r := start(t, s)
	f := clientFrames(t, r.addr)
	var burst bytes.Buffer // all in one write
	wire := f.Framer
	f.Framer = http2.NewFramer(&burst, nil)
	for i := range uint32(requests) {
		f.request(2*i+1, "GET", "/", true)
	}
	f.Framer = wire
	_, err := f.Write(burst.Bytes())
	check(t, err)
	for ended := 0; ended < requests; {
		fr, err := f.next()
		if err != nil {
			t.Fatalf("after %d answers: %v", ended, err)
		}
		if fr.Header().StreamID != 0 {
			ended++
		}
	}
	f.Close()
	r.nothingHeld(t)
	r.gateway.OnEach(func(*gateway.Worker) {
		for _, n := range begun {
			if n > 16 {
				t.Errorf("%d requests began in one turn", n)
			}
		}
	})
}
