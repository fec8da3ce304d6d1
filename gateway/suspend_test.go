package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// echoer is an upstream that says what it got.
func echoer(tb testing.TB) string {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	}))
	tb.Cleanup(u.Close)
	return u.Listener.Addr().String()
}

// filtered is a gateway all of whose requests pass these filters.
func filtered(tb testing.TB, hooks ...gateway.Hooks) settings {
	s := usual(echoer(tb))
	s.routes[0].filters = hooks
	return s
}

// wants sends a request and compares status, reason and body with what is wanted.
func (r *running) wants(t *testing.T, method, path, body, want string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+r.addr+path, strings.NewReader(body))
	check(t, err)
	resp, err := http.DefaultClient.Do(req)
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	got := strings.TrimSpace(fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("X-Yumen-Reason"), text))
	if !strings.HasPrefix(got, want) {
		t.Errorf("%s %s: got %q, want %q", method, path, got, want)
	}
}

func TestAnExchangeWaitsUntilItIsWoken(t *testing.T) {
	woken := make(chan gateway.Wake, 1)
	var done atomic.Int64
	r := start(t, filtered(t, gateway.Hooks{Name: "wait",
		Request: func(x *gateway.Exchange) gateway.Verdict {
			woken <- x.Suspend()
			return gateway.Waiting
		},
		Done: func(*gateway.Exchange) { done.Add(1) },
	}))
	// A megabyte is more than is held: the client has to wait with it, and none of it may be lost.
	body := strings.Repeat("b", 1<<20)
	go func() {
		for w := range woken {
			w.Post(func(x *gateway.Exchange) gateway.Verdict {
				if string(x.Request.PathBytes()) == "/no" {
					return x.Answer(&gateway.Respond{Status: 403, Body: []byte("no"), Reason: "told_so"})
				}
				return gateway.GoOn
			})
		}
	}()
	defer close(woken)
	r.wants(t, "POST", "/yes", body, "200  POST /yes "+body)
	r.wants(t, "GET", "/yes", "", "200  GET /yes")
	r.wants(t, "GET", "/no", "", "403 told_so no")
	r.wants(t, "POST", "/no", "small", "403 told_so no")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if done.Load() != 4 {
		t.Errorf("Done was called %d times for 4 requests", done.Load())
	}
}

// A wake that comes late must wake nobody: neither the exchange that is over, nor the next one in its memory.
func TestALateWakeWakesNobody(t *testing.T) {
	wakes := make(chan gateway.Wake, 2)
	var done, resumed atomic.Int64
	r := start(t, filtered(t, gateway.Hooks{Name: "wait",
		Request: func(x *gateway.Exchange) gateway.Verdict {
			if string(x.Request.PathBytes()) == "/go" {
				return gateway.GoOn
			}
			wakes <- x.Suspend()
			return gateway.Waiting
		},
		Done: func(x *gateway.Exchange) {
			if string(x.Request.PathBytes()) != "/go" {
				if first := done.Add(1) == 1; x.Outcome().ClientGone != first {
					t.Errorf("exchange %d: the outcome is %+v", done.Load(), x.Outcome())
				}
			}
		},
	}))
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	late := <-wakes
	check(t, c.SetLinger(0)) // a reset: who only closes his side may still read
	c.Close()
	for done.Load() == 0 { // Done is called on the loop when it sees the close
		r.gateway.OnEach(func(*gateway.Worker) {})
	}
	second := dial(t, r.addr)
	defer second.Close()
	fmt.Fprint(second, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	inTime := <-wakes
	then := func(*gateway.Exchange) gateway.Verdict { resumed.Add(1); return gateway.GoOn }
	late.Post(then)
	r.gateway.OnEach(func(*gateway.Worker) {})
	if resumed.Load() != 0 {
		t.Fatal("a late wake woke another exchange")
	}
	inTime.Post(then)
	if got := ask(t, second, "/go"); !strings.Contains(got, "200 OK") {
		t.Errorf("the exchange that was woken in time: %s", got)
	}
	inTime.Post(then) // a second time
	r.gateway.OnEach(func(*gateway.Worker) {})
	if resumed.Load() != 1 {
		t.Errorf("%d exchanges were woken, want 1", resumed.Load())
	}
}

func TestTheRoutesTimeGoesOnWhileAFilterWaits(t *testing.T) {
	s := filtered(t, gateway.Hooks{Name: "wait", Request: func(x *gateway.Exchange) gateway.Verdict {
		x.Suspend()
		return gateway.Waiting
	}})
	s.routes[0].request = 20 * time.Millisecond
	r := start(t, s)
	r.wants(t, "GET", "/", "", "504 request_timeout")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

func TestWaitingForATime(t *testing.T) {
	const pause = 10 * time.Millisecond
	var waited atomic.Int64
	r := start(t, filtered(t, gateway.Hooks{Name: "wait", Request: func(x *gateway.Exchange) gateway.Verdict {
		began := x.Now()
		return x.WaitUntil(began.Add(pause), func(x *gateway.Exchange) gateway.Verdict {
			waited.Store(int64(x.Now().Sub(began)))
			return gateway.GoOn
		})
	}}))
	r.wants(t, "POST", "/a", "body", "200  POST /a body")
	if got := time.Duration(waited.Load()); got < pause {
		t.Errorf("waited for %v, want at least %v", got, pause)
	}
}

// One exchange wakes another on its loop, without a word between threads.
func TestSoonWakesWithinTheLoop(t *testing.T) {
	var sleeping gateway.Wake
	slept := make(chan bool)
	r := start(t, filtered(t, gateway.Hooks{Name: "pair", Request: func(x *gateway.Exchange) gateway.Verdict {
		if string(x.Request.PathBytes()) == "/sleep" {
			sleeping = x.Suspend()
			close(slept)
			return gateway.Waiting
		}
		sleeping.Soon(func(*gateway.Exchange) gateway.Verdict { return gateway.GoOn })
		return gateway.GoOn
	}}))
	c := dial(t, r.addr)
	defer c.Close()
	fmt.Fprint(c, "GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n")
	<-slept
	r.wants(t, "GET", "/wake", "", "200  GET /wake")
	if got := ask(t, c, "/wake"); strings.Count(got, "200 OK") < 1 {
		t.Errorf("who was woken got %s", got)
	}
}

func TestWorkIsDoneElsewhere(t *testing.T) {
	full := false
	check := gateway.Hooks{Name: "work", Request: func(x *gateway.Exchange) gateway.Verdict {
		ok := false
		return x.Offload(func() { ok = true }, func(x *gateway.Exchange) gateway.Verdict {
			if !ok {
				return x.Answer(&gateway.Respond{Status: 500, Reason: "not_done"})
			}
			return gateway.GoOn
		})
	}}
	s := filtered(t, check)
	s.offload = func(work func()) bool {
		if full {
			return false
		}
		go work()
		return true
	}
	r := start(t, s)
	r.wants(t, "POST", "/a", "body", "200  POST /a body")
	r.gateway.OnEach(func(*gateway.Worker) { full = true })
	r.wants(t, "POST", "/a", "body", "503 work_queue_full")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// What came while a filter waited is translated like the rest.
func TestABodyThatCameEarlyIsTranslated(t *testing.T) {
	var released atomic.Int64
	wakes := make(chan gateway.Wake, 1)
	s := shouting(&released, echoer(t))
	translate := s.routes[0].filters[0]
	s.routes[0].filters = []gateway.Hooks{{Name: "wait", Request: func(x *gateway.Exchange) gateway.Verdict {
		wakes <- x.Suspend()
		return gateway.Waiting
	}}, translate}
	r := start(t, s)
	go func() {
		for w := range wakes {
			w.Post(func(*gateway.Exchange) gateway.Verdict { return gateway.GoOn })
		}
	}()
	defer close(wakes)
	for _, size := range []int{0, 5, 300 << 10} {
		body := strings.Repeat("b", size)
		r.wants(t, "POST", "/x", body, "200  POST /X "+strings.ToUpper(body)+"?!")
		r.wants(t, "POST", "/whole", body, "200  POST /WHOLE "+strings.ToUpper(body)+"?!")
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// What a filter keeps for one exchange is its own, and gone with it.
func TestFiltersKeepWhatTheyLike(t *testing.T) {
	type mine struct{ n int }
	keeper := func(n int) gateway.Hooks {
		return gateway.Hooks{Name: "keep",
			Request: func(x *gateway.Exchange) gateway.Verdict {
				if x.Kept() != nil {
					t.Error("something of another exchange is kept")
				}
				x.Keep(&mine{n})
				if n == 2 && string(x.Request.PathBytes()) == "/answer" {
					return x.Answer(&gateway.Respond{Status: 204, Reason: "kept"})
				}
				return gateway.GoOn
			},
			Response: func(x *gateway.Exchange, h *message.Head) {
				if k, ok := x.Kept().(*mine); ok {
					h.AddString("X-Kept", fmt.Sprint(k.n))
				} else {
					h.AddString("X-Kept", "none")
				}
			},
		}
	}
	r := start(t, filtered(t, keeper(1), keeper(2), keeper(3)))
	for path, want := range map[string]string{"/": "[3 2 1]", "/answer": "[none 2 1]"} {
		resp, err := http.Get("http://" + r.addr + path)
		check(t, err)
		resp.Body.Close()
		if got := fmt.Sprint(resp.Header["X-Kept"]); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// Who is woken before his time goes on then and not again.
func TestWokenBeforeTheTime(t *testing.T) {
	var late atomic.Int64
	wakes := make(chan gateway.Wake, 1)
	r := start(t, filtered(t, gateway.Hooks{Name: "wait", Request: func(x *gateway.Exchange) gateway.Verdict {
		if string(x.Request.PathBytes()) == "/soon" {
			x.SuspendUntil(x.Now().Add(time.Hour), nil).Soon(func(*gateway.Exchange) gateway.Verdict { return gateway.GoOn })
			return gateway.Waiting
		}
		wakes <- x.SuspendUntil(x.Now().Add(time.Millisecond), func(*gateway.Exchange) gateway.Verdict {
			late.Add(1)
			return gateway.GoOn
		})
		return gateway.Waiting
	}}))
	r.wants(t, "POST", "/soon", "body", "200  POST /soon body")
	r.wants(t, "POST", "/late", "body", "200  POST /late body")
	(<-wakes).Post(func(*gateway.Exchange) gateway.Verdict { late.Add(1); return gateway.GoOn })
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if late.Load() != 1 {
		t.Errorf("%d exchanges went on, want 1", late.Load())
	}
}

// Once the gateway answers, nobody waits any more: who wakes the exchange while its answer is on its way wakes nobody.
func TestAnAnswerEndsTheWait(t *testing.T) {
	const size = 16 << 20 // more than sockets hold
	wakes := make(chan gateway.Wake, 1)
	var woken atomic.Int64
	s := filtered(t, gateway.Hooks{Name: "late",
		Request: func(x *gateway.Exchange) gateway.Verdict {
			wakes <- x.Suspend()
			return gateway.Waiting
		},
		Failed: func(x *gateway.Exchange, f *gateway.Failure) gateway.Verdict {
			return x.Answer(&gateway.Respond{Status: 503, Reason: f.Reason, Body: []byte(strings.Repeat("x", size))})
		},
	})
	s.routes[0].request = 20 * time.Millisecond
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	first := make([]byte, 1)
	_, err := io.ReadFull(c, first)
	check(t, err)
	(<-wakes).Post(func(*gateway.Exchange) gateway.Verdict { woken.Add(1); return gateway.GoOn })
	r.gateway.OnEach(nothing)
	if woken.Load() != 0 {
		t.Error("an exchange that is being answered was woken")
	}
	check(t, c.SetLinger(0))
	c.Close()
	r.nothingHeld(t)
}

// collect is a stage that gives a body on when all of it has come, and wakes who waits for that.
type collect struct {
	all  buf.Chain
	wake gateway.Wake
}

func (s *collect) Data(in *buf.Chain, n int, _ *buf.Chain, p *buf.Pool) error {
	s.all.Take(p, in, n)
	return nil
}

func (s *collect) Flush(*buf.Chain, *buf.Pool) error { return nil }

func (s *collect) End(out *buf.Chain, _ *buf.Pool) error {
	s.all.MoveTo(out)
	s.wake.Soon(func(*gateway.Exchange) gateway.Verdict { return gateway.GoOn })
	return nil
}

func (s *collect) Release(p *buf.Pool, _ bool) { s.all.Release(p) }

// A client that was asked to wait with its body for one filter is asked for the rest of it by the next.
func TestABodyGoesOnForTheNextFilter(t *testing.T) {
	wakes := make(chan gateway.Wake, 1)
	r := start(t, filtered(t,
		gateway.Hooks{Name: "first", Request: func(x *gateway.Exchange) gateway.Verdict {
			wakes <- x.Suspend()
			return gateway.Waiting
		}},
		gateway.Hooks{Name: "second", Request: func(x *gateway.Exchange) gateway.Verdict {
			s := &collect{wake: x.Suspend()}
			check(t, x.AddRequestStage(s))
			return gateway.Waiting
		}}))
	go func() {
		w := <-wakes
		for r.held() < 64<<10 { // as much as is held before the client has to wait
			runtime.Gosched()
		}
		w.Post(func(*gateway.Exchange) gateway.Verdict { return gateway.GoOn })
	}()
	body := strings.Repeat("b", 1<<20)
	r.wants(t, "POST", "/", body, "200  POST / "+body)
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}
