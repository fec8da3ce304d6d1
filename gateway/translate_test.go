package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

// shout is a translator that writes all in capitals, both ways, and adds a "?" to the request and a "!" to the answer. It
// refuses a request that has a "#", and an answer that has one.
type shout struct {
	whole, holds bool
	body         buf.Chain // of a request that has to be whole
	released     *atomic.Int64
}

func capitals(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) (refused bool) {
	b := bytes.ToUpper(in.Pull(p, n)[:n])
	in.Skip(p, n)
	out.Append(p, b)
	return bytes.IndexByte(b, '#') >= 0
}

func (s *shout) Whole() bool { return s.whole }

func (s *shout) RequestBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool, end bool) *gateway.Respond {
	to := out
	if s.whole {
		to = &s.body
	}
	if n > 0 && capitals(in, n, to, p) {
		return &gateway.Respond{Status: 422, Body: []byte("no # in requests")}
	}
	if end {
		s.body.MoveTo(out)
		out.AppendString(p, "?")
	}
	return nil
}

func (s *shout) ResponseHead(h *message.Head) (bool, *gateway.Respond) {
	if h.Status == 418 {
		return false, &gateway.Respond{Status: 599, Body: []byte("no pots")}
	}
	h.Length = message.UnknownLength
	h.AddString("X-Shout", "yes")
	return s.holds, nil
}

func (s *shout) ResponseBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) *gateway.Respond {
	if capitals(in, n, out, p) {
		return &gateway.Respond{Status: 598, Body: []byte("no # in answers")}
	}
	return nil
}

func (s *shout) ResponseEnd(_ *message.Fields, out *buf.Chain, p *buf.Pool) (*message.Fields, *gateway.Respond) {
	out.AppendString(p, "!")
	return nil, nil
}

func (s *shout) Explain(e gateway.Explanation) *gateway.Respond {
	return &gateway.Respond{Status: e.Status, Body: fmt.Appendf(nil, "explained: %s %d", e.Reason, e.Code)}
}

func (s *shout) Break(e gateway.Explanation, out *buf.Chain, p *buf.Pool) bool {
	out.AppendString(p, "broken: "+e.Reason)
	return true
}

func (s *shout) Release(p *buf.Pool) {
	s.body.Release(p)
	s.released.Add(1)
}

// shouting is a gateway whose requests are all shouted. A path that begins so makes the translator such: /whole, /held.
func shouting(released *atomic.Int64, endpoints ...string) settings {
	s := usual(endpoints...)
	s.routes[0].filters = []gateway.Hooks{{Name: "shout", Request: func(x *gateway.Exchange) gateway.Verdict {
		path := string(x.Request.PathBytes())
		if path == "/answer" {
			return x.Answer(&gateway.Respond{Status: 597, Body: []byte("answered")})
		}
		x.Request.Length = message.UnknownLength
		x.Translate(&shout{whole: strings.HasPrefix(path, "/whole"), holds: strings.Contains(path, "held"), released: released})
		return gateway.GoOn
	}}}
	return s
}

// sayer is an upstream that says what its path asks for.
func sayer(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex()
	body, _ := io.ReadAll(r.Body)
	switch {
	case strings.HasSuffix(r.URL.Path, "pot"):
		w.WriteHeader(418)
	case strings.HasSuffix(r.URL.Path, "hash"):
		io.WriteString(w, "a # b")
	case strings.HasSuffix(r.URL.Path, "later"):
		io.WriteString(w, "good")
		w.(http.Flusher).Flush()
		if string(body) == "GO?" || r.URL.Path == "/held-later" {
			io.WriteString(w, "then #")
		}
	case strings.HasSuffix(r.URL.Path, "cut"):
		w.WriteHeader(200)
		if !strings.Contains(r.URL.Path, "held") {
			io.WriteString(w, "part")
		}
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	default:
		fmt.Fprintf(w, "%s %s length %d", r.Method, body, r.ContentLength)
	}
}

func TestBodiesAreTranslated(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(sayer))
	defer u.Close()
	var released atomic.Int64
	asked := 0
	r := start(t, shouting(&released, u.Listener.Addr().String()))
	f := func(method, path, body, want string) {
		t.Helper()
		asked++
		req, err := http.NewRequest(method, "http://"+r.addr+path, strings.NewReader(body))
		check(t, err)
		resp, err := http.DefaultClient.Do(req)
		check(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		got := fmt.Sprintf("%d %s %s%s", resp.StatusCode, text, resp.Header.Get("X-Shout"), resp.Header.Get("X-Yumen-Reason"))
		if err != nil {
			got += " cut"
		}
		if got != want {
			t.Errorf("%s %s: got %s, want %s", path, body, got, want)
		}
	}
	f("POST", "/x", "hello", "200 POST HELLO? LENGTH -1! yes")
	f("GET", "/x", "", "200 GET ? LENGTH -1! yes")
	f("POST", "/whole", "hello", "200 POST HELLO? LENGTH 6! yes")
	f("GET", "/whole", "", "200 GET ? LENGTH 1! yes")
	f("GET", "/held", "", "200 GET ? LENGTH -1! yes")
	f("POST", "/whole", "a#", "422 no # in requests translation")
	f("POST", "/x", "a#", "422 no # in requests translation")
	f("GET", "/pot", "", "599 no pots translation")
	f("GET", "/held-pot", "", "599 no pots translation")
	f("GET", "/held-later", "", "200 GOODTHEN #broken: translation yes")
	f("GET", "/cut", "", "200 PARTbroken: upstream_closed yes")
	f("GET", "/held-cut", "", "502 explained: upstream_closed 14 upstream_closed")
	f("GET", "/answer", "", "597 answered translation")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if released.Load() != int64(asked)-1 { // one was answered before it had any
		t.Errorf("%d translators were released, of %d", released.Load(), asked-1)
	}
}

// A client that waits to be asked for its body is asked, though the upstream knows nothing of it yet.
func TestAWholeBodyIsAskedFor(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(sayer))
	defer u.Close()
	var released atomic.Int64
	for _, front := range speeches[:2] {
		s := shouting(&released, u.Listener.Addr().String())
		s.server.Protocols = engine.HTTP1 | engine.HTTP2
		r := start(t, s)
		client, base := front.client(t, r.addr, nil)
		client.Transport.(*http.Transport).ExpectContinueTimeout = patience
		req, err := http.NewRequest("POST", base+"/whole", strings.NewReader("hello"))
		check(t, err)
		req.Header.Set("Expect", "100-continue")
		resp, err := client.Do(req)
		check(t, err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := "POST HELLO? LENGTH 6!"; string(text) != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", front.name, text, err, want)
		}
	}
}

// once is an upstream that closes its first connections when a whole request is there, and then answers what it got.
func once(t *testing.T, closes int) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if closes--; closes >= 0 {
			panic(http.ErrAbortHandler)
		}
		w.Write(body)
	}))
	u.Listener.Close()
	u.Listener = l
	u.Start()
	t.Cleanup(u.Close)
	return l.Addr().String()
}

// What a translator made of a request is kept and sent again, and the client's method tells whether that is safe.
func TestTranslatedRequestsAreSentAgain(t *testing.T) {
	f := func(method string, closes int, endpoint func(addr string) []string, wantStatus int, want string) {
		t.Helper()
		var released atomic.Int64
		s := shouting(&released, endpoint(once(t, closes))...)
		s.routes[0].retry = retry.Config{Attempts: 3, BackoffBase: -1}
		hook := s.routes[0].filters[0].Request
		s.routes[0].filters[0].Request = func(x *gateway.Exchange) gateway.Verdict {
			x.Request.Method = x.Request.StoreString("POST") // as a filter does that makes a call of it
			return hook(x)
		}
		line := logged(t, s, func(r *running) {
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			req, err := http.NewRequest(method, "http://"+r.addr+"/whole", strings.NewReader("hello"))
			check(t, err)
			resp, err := client.Do(req)
			check(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if resp.StatusCode != wantStatus || string(text) != want || err != nil {
				t.Errorf("%s after %d: got %d %s %v, want %d %s", method, closes, resp.StatusCode, text, err, wantStatus, want)
			}
		})
		if !strings.Contains(line, `"method":"`+method+`"`) {
			t.Errorf("the log has %s", line)
		}
	}
	itself := func(addr string) []string { return []string{addr} }
	f("PUT", 2, itself, 200, "HELLO?!")
	f("POST", 1, itself, 502, "explained: upstream_closed 14")
	f("POST", 0, func(addr string) []string { return []string{addr, refusing(t)} }, 200, "HELLO?!")
}
