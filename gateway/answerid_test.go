package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// Whoever asks "yumen why" needs the id of his request, which answers of upstreams say where the listener has them do so.
func TestWhichAnswersSayTheRequestsID(t *testing.T) {
	refuse := gateway.Hooks{Name: "refuse", Request: func(x *gateway.Exchange) gateway.Verdict {
		switch string(x.Request.PathBytes()) {
		case "/own":
			return x.Answer(&gateway.Respond{Status: 429, Reason: "test"})
		case "/stored":
			return x.Answer(&gateway.Respond{Status: 200, Stored: true, Fields: []gateway.Field{{Name: "X-Request-Id", Value: "kept"}}})
		}
		return gateway.GoOn
	}}
	var told atomic.Value // the upstream, of the request before
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told.Store(r.Header.Get("X-Request-Id"))
		switch {
		case r.URL.Path == "/theirs":
			w.Header()["X-Request-Id"] = []string{"theirs", "and another"}
		case r.Header.Get("Content-Type") == "application/grpc":
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			w.WriteHeader(200)
			w.Header().Set("Grpc-Status", "0")
		}
		fmt.Fprint(w, "hi")
	})
	const ours, none = "ours", ""
	for _, c := range []struct {
		answer     bool
		method     string
		path, kind string
		want       string
	}{
		{false, "GET", "/", "", none},
		{false, "GET", "/theirs", "", "theirs, and another"},
		{false, "GET", "/own", "", ours},
		{false, "GET", "/stored", "", "kept"},
		{true, "GET", "/", "", ours},
		{true, "HEAD", "/", "", ours},
		{true, "GET", "/theirs", "", ours},
		{true, "GET", "/own", "", ours},
		{true, "GET", "/stored", "", ours},
		{false, "POST", "/shop.Orders/Get", "application/grpc", none},
		{true, "POST", "/shop.Orders/Get", "application/grpc", ours},
		{true, "POST", "/own", "application/grpc", ours},
	} {
		for _, front := range speeches[:2] {
			if c.kind != "" && !front.two {
				continue
			}
			t.Run(fmt.Sprintf("%s %s %s, %v, %s", front.name, c.method, c.path, c.answer, c.kind), func(t *testing.T) {
				s := usual(front.serve(t, noCertificate, upstream))
				s.dial = front.dial(t, nil, nil)
				s.server.Protocols = engine.HTTP1 | engine.HTTP2
				s.listener.AnswerID, s.routes[0].filters = c.answer, []gateway.Hooks{refuse}
				client, base := front.client(t, start(t, s).addr, nil)
				req, err := http.NewRequest(c.method, base+c.path, nil)
				check(t, err)
				if c.kind != "" {
					req.Header.Set("Content-Type", c.kind)
				}
				told.Store("")
				resp, err := client.Do(req)
				check(t, err)
				_, err = io.Copy(io.Discard, resp.Body)
				check(t, err)
				resp.Body.Close()
				got := resp.Header["X-Request-Id"]
				switch {
				case c.want != ours:
					if text := strings.Join(got, ", "); text != c.want {
						t.Errorf("X-Request-ID %q, want %q", text, c.want)
					}
				case len(got) != 1 || len(got[0]) != 32 || told.Load() != "" && got[0] != told.Load():
					t.Errorf("X-Request-ID %q, and the upstream was told %q", got, told.Load())
				}
			})
		}
	}
}

// A filter of the route has the last word, as on every field.
func TestAFilterTakesTheIDOffAnAnswer(t *testing.T) {
	s := usual(startOrigin(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
	s.listener.AnswerID = true
	s.routes[0].filters = []gateway.Hooks{{Name: "off", Response: func(_ *gateway.Exchange, h *message.Head) { h.Remove(message.XRequestID) }}}
	resp, err := http.Get("http://" + start(t, s).addr)
	check(t, err)
	defer resp.Body.Close()
	if got := resp.Header["X-Request-Id"]; got != nil {
		t.Errorf("X-Request-ID %q", got)
	}
}
