package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/balance"
)

// asking is a filter that asks the cluster itself, of a copy of each request, before it lets the request pass: the answer is shown
// in X-Asked.
type asking struct {
	w       gateway.Wake
	status  int
	body    strings.Builder
	failed  error
	sent    gateway.Sent
	answers *atomic.Int64
}

func (a *asking) AnswerHead(h *message.Head) { a.status = h.Status }

func (a *asking) AnswerData(src *buf.Chain, n int, p *buf.Pool) {
	a.body.Write(src.Pull(p, n)[:n])
	src.Skip(p, n)
}

func (a *asking) AnswerEnd(*message.Fields) { a.answer() }

func (a *asking) AnswerFailed(err error) {
	a.failed = err
	a.answer()
}

func (a *asking) answer() {
	a.answers.Add(1)
	said := fmt.Sprint(a.status, " ", a.body.String())
	if a.failed != nil {
		said += " " + a.failed.(*gateway.Failure).Reason
	}
	a.w.Soon(func(x *gateway.Exchange) gateway.Verdict {
		x.Request.AddString("X-Asked", said)
		return gateway.GoOn
	})
}

// errands is a gateway whose filter asks so, with a body.
func errands(upstream string, answers, done *atomic.Int64, timeout time.Duration) settings {
	s := usual(upstream)
	s.routes[0].filters = []gateway.Hooks{{Name: "ask",
		Request: func(x *gateway.Exchange) gateway.Verdict {
			var h message.Head
			x.Request.CopyRequest(&h)
			h.Method = h.StoreString("POST")
			h.AddString("X-Errand", "yes")
			a := &asking{w: x.Suspend(), answers: answers}
			x.Keep(a)
			a.sent = x.Send(gateway.Errand{Head: &h, Body: []byte("may I?"), Timeout: timeout, Answers: a})
			return gateway.Waiting
		},
		Done: func(x *gateway.Exchange) {
			done.Add(1)
			x.Kept().(*asking).sent.Cancel()
		},
	}}
	return s
}

func TestTheGatewayAsksForItself(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Errand") == "" {
			fmt.Fprintf(w, "asked: %s; %s %s", r.Header.Get("X-Asked"), r.Method, body)
			return
		}
		switch r.URL.Path {
		case "/no":
			w.WriteHeader(403)
		case "/cut":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/slow":
			<-r.Context().Done()
			return
		case "/large":
			io.WriteString(w, strings.Repeat("x", 1000))
		}
		fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	}))
	defer u.Close()
	var answers, done atomic.Int64
	r := start(t, errands(u.Listener.Addr().String(), &answers, &done, 30*time.Millisecond))
	r.wants(t, "GET", "/yes", "", "200  asked: 200 /yes may I?; GET")
	r.wants(t, "PUT", "/yes", "body", "200  asked: 200 /yes may I?; PUT body")
	r.wants(t, "GET", "/no", "", "200  asked: 403 /no may I?; GET")
	r.wants(t, "GET", "/cut", "", "200  asked: 200  upstream_closed; GET")
	r.wants(t, "GET", "/slow", "", "200  asked: 0  request_timeout; GET")
	r.wants(t, "GET", "/large", "", "200  asked: 200 "+strings.Repeat("x", 1000))
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if n := r.metric(t, "yumen_requests_started_total"); n != 6 {
		t.Errorf("%v requests are counted, want those of clients alone: 6", n)
	}
	// A client that leaves takes its errand with it.
	answers.Store(0)
	done.Store(0)
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	check(t, c.SetLinger(0))
	c.Close()
	r.nothingHeld(t)
	if done.Load() > 1 {
		t.Errorf("%d exchanges ended", done.Load())
	}
}

func TestAnErrandThatNobodyTakes(t *testing.T) {
	var answers, done atomic.Int64
	r := start(t, errands(refusing(t), &answers, &done, time.Second))
	r.wants(t, "GET", "/", "", "502 connect_failed")
	if answers.Load() != 1 {
		t.Errorf("%d answers to one errand", answers.Load())
	}
}

// leaving is somebody who has heard enough of an answer at one of its stations, and ends the errand then and there.
type leaving struct {
	at    string
	sent  gateway.Sent
	heard chan string
}

func (l *leaving) hear(what string) {
	l.heard <- what
	if what == l.at {
		l.sent.Cancel()
	}
}

func (l *leaving) AnswerHead(*message.Head) { l.hear("head") }

func (l *leaving) AnswerData(src *buf.Chain, n int, p *buf.Pool) {
	src.Skip(p, n)
	l.hear("data")
}

func (l *leaving) AnswerEnd(*message.Fields) { l.hear("end") }
func (l *leaving) AnswerFailed(error)        { l.hear("failed") }

// An errand may be ended in the middle of a call that tells of its answer: nothing more is told.
func TestAnErrandIsEndedWhileItsAnswerComes(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Errand") == "" {
			return
		}
		switch r.URL.Path {
		case "/empty":
		case "/short":
			io.WriteString(w, "short")
		case "/long":
			for range 100 {
				io.WriteString(w, strings.Repeat("x", 10_000))
			}
		case "/cut":
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	defer u.Close()
	heard := make(chan string, 1000)
	s := usual(u.Listener.Addr().String())
	s.routes[0].filters = []gateway.Hooks{{Name: "ask", Request: func(x *gateway.Exchange) gateway.Verdict {
		var h message.Head
		x.Request.CopyRequest(&h)
		h.AddString("X-Errand", "yes")
		at, _ := h.Field([]byte("X-At"))
		l := &leaving{at: string(at), heard: heard}
		l.sent = x.Send(gateway.Errand{Head: &h, Answers: l})
		return gateway.GoOn
	}}}
	r := start(t, s)
	f := func(path, at, want string) {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+r.addr+path, nil)
		check(t, err)
		req.Header.Set("X-At", at)
		resp, err := http.DefaultClient.Do(req)
		check(t, err)
		resp.Body.Close()
		got := <-heard
		for last := got; last != at; {
			last = <-heard
			got += " " + last
		}
		http.DefaultClient.CloseIdleConnections()
		r.nothingHeld(t)
		for len(heard) > 0 {
			got += " " + <-heard
		}
		if got != want {
			t.Errorf("%s, ended at %s: heard %s, want %s", path, at, got, want)
		}
	}
	for range 3 { // exchanges are used again
		f("/empty", "head", "head")
		f("/empty", "end", "head end")
		f("/short", "head", "head")
		f("/short", "data", "head data")
		f("/short", "end", "head data end")
		f("/long", "head", "head")
		f("/long", "data", "head data")
		f("/cut", "failed", "head failed")
	}
}

// A call that is broken off has not ended, whoever made it.
func TestACallOfOurOwnThatIsCutFails(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Errand") != "" {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	defer u.Close()
	heard := make(chan string, 10)
	s := usual(u.Listener.Addr().String())
	s.routes[0].filters = []gateway.Hooks{{Name: "ask", Request: func(x *gateway.Exchange) gateway.Verdict {
		var h message.Head
		x.Request.CopyRequest(&h)
		h.Method = h.StoreString("POST")
		h.AddString("X-Errand", "yes")
		h.AddString("Content-Type", "application/grpc")
		x.Send(gateway.Errand{Head: &h, Answers: &leaving{heard: heard}})
		return gateway.GoOn
	}}}
	r := start(t, s)
	r.wants(t, "GET", "/", "", "200")
	if head, end := <-heard, <-heard; head != "head" || end != "failed" {
		t.Errorf("heard %s, %s", head, end)
	}
}

// An errand's endpoint is chosen by the request that it is sent for, also where that is by a part of its path.
func TestAnErrandGoesByTheKeyOfItsRequest(t *testing.T) {
	var byErrand, byRequest atomic.Int64
	var list []string
	for i := range 8 {
		u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Errand") != "" {
				byErrand.Store(int64(i))
			} else {
				byRequest.Store(int64(i))
			}
		}))
		t.Cleanup(u.Close)
		list = append(list, u.Listener.Addr().String())
	}
	var answers, done atomic.Int64
	s := errands("", &answers, &done, time.Second)
	s.endpoints = list
	s.balance.Algorithm = balance.Maglev
	s.routes[0].spec.Path = "/:id"
	s.routes[0].key = &gateway.Key{By: gateway.ByPathParam, Name: "id"}
	r := start(t, s)
	for i := range 20 {
		r.wants(t, "GET", fmt.Sprint("/", i), "", "200")
		if byErrand.Load() != byRequest.Load() {
			t.Errorf("/%d: the errand went to %d, the request to %d", i, byErrand.Load(), byRequest.Load())
		}
	}
}
