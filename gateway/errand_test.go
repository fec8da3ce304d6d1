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
