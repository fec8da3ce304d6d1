package gateway_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// wrap is a stage that holds a line back until it is whole or flushed, and puts a mark around each piece.
type wrap struct {
	mark     string
	held     []byte
	released *atomic.Int64 // 1 for each that was not complete, 1000 for each that was
	fails    error
}

func (s *wrap) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	s.held = append(s.held, in.Pull(p, n)[:n]...)
	in.Skip(p, n)
	if s.fails != nil && bytes.Contains(s.held, []byte("#")) {
		return s.fails
	}
	for {
		line, rest, ok := bytes.Cut(s.held, []byte("\n"))
		if !ok {
			return nil
		}
		out.AppendString(p, s.mark+string(line)+s.mark+"\n")
		s.held = bytes.Clone(rest)
	}
}

func (s *wrap) Flush(out *buf.Chain, p *buf.Pool) error {
	if len(s.held) > 0 {
		out.AppendString(p, s.mark+string(s.held)+s.mark)
		s.held = nil
	}
	return nil
}

func (s *wrap) End(out *buf.Chain, p *buf.Pool) error {
	err := s.Flush(out, p)
	out.AppendString(p, "."+s.mark)
	return err
}

func (s *wrap) Release(_ *buf.Pool, complete bool) {
	if complete {
		s.released.Add(1000)
		return
	}
	s.released.Add(1)
}

// wrapping puts a stage into each answer, or with request into each request.
func wrapping(mark string, released *atomic.Int64, request bool, fails error) gateway.Hooks {
	stage := func() *wrap { return &wrap{mark: mark, released: released, fails: fails} }
	h := gateway.Hooks{Name: "wrap"}
	if request {
		h.Request = func(x *gateway.Exchange) gateway.Verdict {
			x.Request.Length = message.UnknownLength
			if err := x.AddRequestStage(stage()); err != nil {
				return x.Answer(&gateway.Respond{Status: 400, Reason: "bad_body"})
			}
			return gateway.GoOn
		}
		return h
	}
	h.Response = func(x *gateway.Exchange, h *message.Head) {
		h.Length = message.UnknownLength
		x.AddStage(stage())
	}
	return h
}

// A body passes the stages from the innermost filter outwards.
func TestAnswersPassTheirStages(t *testing.T) {
	var released atomic.Int64
	s := filtered(t, wrapping("o", &released, false, nil), wrapping("i", &released, false, nil))
	s.routes = append(s.routes, routeSettings{respond: &gateway.Respond{Status: 200, Body: []byte("own")}, filters: s.routes[0].filters})
	s.routes[1].spec.Name, s.routes[1].spec.Path = "own", "/own"
	large := bytes.Repeat([]byte("0123456\n"), 64<<10)
	s.routes = append(s.routes, routeSettings{respond: &gateway.Respond{Status: 200, Body: large}, filters: s.routes[0].filters[1:]})
	s.routes[2].spec.Name, s.routes[2].spec.Path = "large", "/large"
	r := start(t, s)
	r.wants(t, "GET", "/a", "", "200  oiGET /a i.io.o")
	r.wants(t, "POST", "/a", "1\n2\n3", "200  oiPOST /a 1io\noi2io\noi3i.io.o")
	r.wants(t, "GET", "/own", "", "200 respond oiowni.io.o")
	r.wants(t, "GET", "/large", "", "200 respond "+strings.Repeat("i0123456i\n", 64<<10)+".i")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if got := released.Load(); got != 7000 {
		t.Errorf("released %d, want 7 that were complete", got)
	}
}

// A filter may make a whole answer of one that has no body, as a cache does of 304 (Not Modified).
func TestAStageAddsABodyToAnAnswerWithoutOne(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }))
	defer u.Close()
	var released atomic.Int64
	wrap := wrapping("|", &released, false, nil)
	attach := wrap.Response
	wrap.Response = func(x *gateway.Exchange, h *message.Head) {
		h.Status = 200
		attach(x, h)
	}
	s := usual(u.Listener.Addr().String())
	s.routes[0].filters = []gateway.Hooks{wrap}
	lines := logged(t, s, func(r *running) {
		r.wants(t, "GET", "/", "", "200  .|")
		http.DefaultClient.CloseIdleConnections()
	})
	if !strings.Contains(lines, `"status":200`) || released.Load() != 1000 {
		t.Errorf("the log says %s; %d released", lines, released.Load())
	}
}

// An event goes out when it is there, not when the next one comes.
func TestWhatStagesHoldBackIsFlushed(t *testing.T) {
	var released atomic.Int64
	more := make(chan bool)
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		if !<-more {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "second")
	}))
	defer u.Close()
	s := usual(u.Listener.Addr().String())
	s.routes[0].filters = []gateway.Hooks{wrapping("|", &released, false, nil)}
	r := start(t, s)
	for _, goesOn := range []bool{true, false} {
		resp, err := http.Get("http://" + r.addr)
		check(t, err)
		first := make([]byte, 7)
		_, err = io.ReadFull(resp.Body, first)
		check(t, err)
		more <- goesOn
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := string(first) + " " + string(rest); goesOn && got != "|first| |second|.|" {
			t.Errorf("got %q", got)
		}
		if !goesOn && err == nil {
			t.Errorf("an answer that was cut looks complete: %q", rest)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if got := released.Load(); got != 1001 {
		t.Errorf("released %d, want one that was complete and one that was not", got)
	}
}

func TestAStageThatFailsCutsTheAnswer(t *testing.T) {
	var released atomic.Int64
	r := start(t, filtered(t, wrapping("|", &released, false, errors.New("broken"))))
	resp, err := http.Post("http://"+r.addr, "", strings.NewReader("a\n#"))
	if err == nil {
		text, cut := io.ReadAll(resp.Body)
		resp.Body.Close()
		if cut == nil {
			t.Errorf("got %d %q as if nothing had happened", resp.StatusCode, text)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if got := released.Load(); got != 1 {
		t.Errorf("released %d, want one that was not complete", got)
	}
}

func TestRequestsPassTheirStages(t *testing.T) {
	var released atomic.Int64
	late := &gateway.Failure{Status: 422, Reason: "number_sign", Text: "no number signs"}
	r := start(t, filtered(t, wrapping("o", &released, true, late), wrapping("i", &released, true, nil)))
	r.wants(t, "GET", "/a", "", "200  GET /a i.oi.i")
	r.wants(t, "POST", "/a", "1\n2", "200  POST /a io1oi\nio2o.oi.i")
	r.wants(t, "POST", "/a", "1\n#", "422 number_sign")
	// Where a turn passes without data, what there is of a line goes on.
	many := strings.Repeat("text\n", 100<<10)
	resp, err := http.Post("http://"+r.addr+"/a", "", strings.NewReader(many))
	check(t, err)
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	resp.Body.Close()
	if got := strings.NewReplacer("o", "", "i", "", ".", "").Replace(string(text)); got != "POST /a "+many {
		t.Errorf("%d bytes came of %d", len(text), len(many))
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// A body of the gateway's own is in memory once, however slow its clients are.
func TestALargeBodyOfOurOwnWaitsForItsClient(t *testing.T) {
	const size = 16 << 20 // more than sockets hold
	s := usual()
	s.routes[0].respond = &gateway.Respond{Status: 200, Body: bytes.Repeat([]byte("x"), size)}
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	first := make([]byte, 1)
	_, err := io.ReadFull(c, first)
	check(t, err)
	if held := r.held(); held > 512<<10 {
		t.Errorf("%d bytes are held for a client that reads slowly", held)
	}
	resp := ask(t, struct {
		io.Reader
		io.Writer
	}{io.MultiReader(bytes.NewReader(first), c), io.Discard}, "/")
	if n := strings.Count(resp, "x"); n < size {
		t.Errorf("%d bytes came of %d", n, size)
	}
	c.Close()
	// One that goes in the middle of it.
	c = dial(t, r.addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_, err = io.ReadFull(c, first)
	check(t, err)
	check(t, c.SetLinger(0))
	c.Close()
	r.nothingHeld(t)
}

// count is a stage that changes nothing and counts what passes it.
type count struct{ data, ended, released *atomic.Int64 }

func (s *count) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	s.data.Add(int64(n))
	out.Take(p, in, n)
	return nil
}

func (s *count) Flush(*buf.Chain, *buf.Pool) error { return nil }

func (s *count) End(out *buf.Chain, p *buf.Pool) error {
	s.ended.Add(1)
	return nil
}

func (s *count) Release(*buf.Pool, bool) { s.released.Add(1) }

// Stages are for bodies: what passes a tunnel is none.
func TestStagesLeaveTunnelsAlone(t *testing.T) {
	var data, ended, released, wrapped atomic.Int64
	s := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if agree(c, br) == nil {
			echo(c, br)
		}
	}))
	s.routes[0].filters = []gateway.Hooks{wrapping("|", &wrapped, false, nil), {Name: "count",
		Request: func(x *gateway.Exchange) gateway.Verdict {
			check(t, x.AddRequestStage(&count{&data, &ended, &released}))
			return gateway.GoOn
		}}}
	r := start(t, s)
	c, br := r.tunnel(t)
	for _, text := range []string{"one\n", "two\n", "three"} {
		fmt.Fprint(c, text)
		if got := read(t, br, len(text)); string(got) != text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	check(t, c.CloseWrite())
	if got, err := io.ReadAll(br); err != nil || len(got) > 0 {
		t.Errorf("%q came at the end, %v", got, err)
	}
	c.Close()
	r.nothingHeld(t)
	if data.Load() != 0 || ended.Load() != 1 || released.Load() != 1 || wrapped.Load() != 1 {
		t.Errorf("%d bytes and %d ends passed the request's stage, %d were released; %d of the answer's, want 1 that was not complete",
			data.Load(), ended.Load(), released.Load(), wrapped.Load())
	}
}

// An answer to HEAD has no body, whatever stages would add.
func TestStagesOfAnAnswerToHEAD(t *testing.T) {
	var released atomic.Int64
	s := filtered(t, wrapping("|", &released, false, nil))
	s.routes = append(s.routes, routeSettings{respond: &gateway.Respond{Status: 200, Body: []byte("own")}, filters: s.routes[0].filters})
	s.routes[1].spec.Name, s.routes[1].spec.Path = "own", "/own"
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	r := start(t, s)
	c := dial(t, r.addr)
	for _, path := range []string{"/", "/own", "/"} {
		fmt.Fprintf(c, "HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
	}
	fmt.Fprint(c, "GET /own HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	all, _ := readRest(bufio.NewReader(c))
	if n := strings.Count(string(all), "HTTP/1.1 200 OK"); n != 4 || strings.Count(string(all), "|") != 3 {
		t.Errorf("%d answers: %s", n, all)
	}
	f := clientFrames(t, r.addr)
	f.request(1, "HEAD", "/", true)
	if n, end := f.body(1); n != 0 || end != "end" {
		t.Errorf("%d bytes came, then %s", n, end)
	}
	f.Close()
	r.nothingHeld(t)
}

// What a filter does with the answer's head does not spoil the sentence that goes with it.
func TestFiltersWorkWhileASentenceWaits(t *testing.T) {
	template := gateway.Template{{Literal: "a long text that goes where the sentence was"}}
	s := filtered(t, gateway.Hooks{Name: "render", Response: func(x *gateway.Exchange, h *message.Head) {
		h.Add([]byte("X-Rendered"), x.Render(template))
	}})
	s.endpoints = []string{refusing(t)}
	r := start(t, s)
	r.wants(t, "GET", "/", "", "502 connect_failed the upstream refused the connection\nreason: connect_failed\n")
}

// refuse is a stage that takes nothing and fails.
type refuse struct{ err error }

func (s refuse) Data(*buf.Chain, int, *buf.Chain, *buf.Pool) error { return s.err }
func (s refuse) Flush(*buf.Chain, *buf.Pool) error                 { return nil }
func (s refuse) End(*buf.Chain, *buf.Pool) error                   { return nil }
func (s refuse) Release(*buf.Pool, bool)                           {}

// What a stage has left of a body when it fails is not taken for the connection's next bytes.
func TestAStageThatFailsLeavesTheConnectionAlone(t *testing.T) {
	s := filtered(t, gateway.Hooks{Name: "refuse", Request: func(x *gateway.Exchange) gateway.Verdict {
		if x.Request.IsMethod("PUT") {
			check(t, x.AddRequestStage(refuse{&gateway.Failure{Status: 422, Reason: "no_good", Text: "no good"}}))
		}
		return gateway.GoOn
	}})
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	r := start(t, s)
	f := clientFrames(t, r.addr)
	f.request(1, "PUT", "/", false)
	check(t, f.WriteData(1, false, []byte("\x00\x00\x00\x01\x00\x00\x00\x00\x00"))) // HEADERS of nobody
	f.wants("1 head 422 no_good")
	for {
		fr, err := f.next()
		if got := describe(fr, err); got == "1 reset NO_ERROR" {
			break
		} else if !strings.HasPrefix(got, "1 data") {
			t.Fatalf("got %s", got)
		}
	}
	f.request(3, "GET", "/", true)
	f.wants("3 head 200")
	f.Close()
	r.nothingHeld(t)
}

// A filter that cannot go on with an answer is no fault of the upstream.
func TestAStageThatFailsIsOurFault(t *testing.T) {
	var released atomic.Int64
	lines := logged(t, filtered(t, wrapping("|", &released, false, errors.New("broken"))), func(r *running) {
		for _, text := range []string{"a\n#", "a\n"} {
			if resp, err := http.Post("http://"+r.addr, "", strings.NewReader(text)); err == nil {
				_, _ = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
		}
		http.DefaultClient.CloseIdleConnections()
		r.nothingHeld(t)
		if got := r.metricLines(t, "yumen_upstream_attempts_total"); strings.Contains(got, "bad_response") {
			t.Errorf("the upstream's record says %s", got)
		}
	})
	if !strings.Contains(lines, `"reason":"body_filter_failed"`) || strings.Contains(lines, "bad_response") {
		t.Errorf("the log says %s", lines)
	}
}

// A client that waits for an answer to the first part of its body gets one: stages let it out.
func TestWhatStagesHoldBackOfARequestIsFlushed(t *testing.T) {
	var released atomic.Int64
	got := make(chan string, 10)
	s := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			b := make([]byte, 100)
			n, err := req.Body.Read(b)
			if n > 0 {
				got <- string(b[:n])
			}
			if err != nil {
				io.WriteString(c, "0\r\n\r\n")
				return
			}
		}
	}))
	s.routes[0].filters = []gateway.Hooks{wrapping("|", &released, true, nil)}
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	for _, part := range []string{"first", "second"} {
		fmt.Fprintf(c, "%x\r\n%s\r\n", len(part), part)
		select {
		case text := <-got:
			if text != "|"+part+"|" {
				t.Errorf("the upstream got %q", text)
			}
		case <-time.After(patience / 4):
			t.Fatalf("%s is held back", part)
		}
	}
	fmt.Fprint(c, "0\r\n\r\n")
	if answer, _ := readMessage(bufio.NewReader(c)); !strings.Contains(string(answer), "200 OK") {
		t.Errorf("the client got %s", answer)
	}
	c.Close()
	r.nothingHeld(t)
	if released.Load() != 1000 {
		t.Errorf("released %d, want 1 that was complete", released.Load())
	}
}

// What a translator has to say when an answer breaks off passes the stages like the rest of it.
func TestTheEndOfABrokenAnswerPassesItsStages(t *testing.T) {
	var released, wrapped atomic.Int64
	u := httptest.NewServer(http.HandlerFunc(sayer))
	defer u.Close()
	s := shouting(&released, u.Listener.Addr().String())
	s.routes[0].filters = append(s.routes[0].filters, wrapping("|", &wrapped, false, nil))
	r := start(t, s)
	resp, err := http.Get("http://" + r.addr + "/cut")
	check(t, err)
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if got := strings.ReplaceAll(string(body), "||", ""); err != nil || got != "|PARTbroken: upstream_closed|.|" {
		t.Errorf("got %q, %v", body, err)
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}
