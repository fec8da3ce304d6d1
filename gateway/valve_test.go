package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// slowing lets answers leave at a rate.
func slowing(rate int64) gateway.Hooks {
	return gateway.Hooks{Name: "slow", Response: func(x *gateway.Exchange, h *message.Head) { x.SlowAnswer(rate) }}
}

// answering is an upstream that gives answers by their path.
func answering(t *testing.T) string {
	large := bytes.Repeat([]byte("0123456789abcde\n"), 10<<16)
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large": // of unknown length
			_, _ = w.Write(large)
		case "/sized":
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			_, _ = w.Write(large)
		case "/empty":
		case "/none":
			w.WriteHeader(204)
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			_, _ = w.Write(large[:3000])
			w.Header().Set("X-Sum", "7")
		case "/cut":
			_, _ = w.Write(large[:3000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/stop":
			_, _ = w.Write(large[:3000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, "small")
		}
	}))
	t.Cleanup(u.Close)
	return u.Listener.Addr().String()
}

// clientOf returns a client of HTTP/1, or of HTTP/2.
func clientOf(t *testing.T, h2 bool) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetUnencryptedHTTP2(h2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func TestSlowAnswersComeWhole(t *testing.T) {
	up := answering(t)
	var released atomic.Int64
	for _, c := range []struct {
		name  string
		hooks []gateway.Hooks
		more  int // bytes that filters add
	}{
		{"alone", []gateway.Hooks{slowing(200e6)}, 0},
		{"of two the slower counts", []gateway.Hooks{slowing(200e6), slowing(gateway.ValveRateMax)}, 0},
		{"with stages on either side", []gateway.Hooks{wrapping("o", &released, false, nil), slowing(200e6), wrapping("i", &released, false, nil)}, 1},
	} {
		s := usual(up)
		s.server.Protocols = engine.HTTP1 | engine.HTTP2
		s.routes[0].filters = c.hooks
		r := start(t, s)
		for _, h2 := range []bool{false, true} {
			client := clientOf(t, h2)
			for path, want := range map[string]int{"/large": 10 << 20, "/sized": 10 << 20, "/empty": 0, "/small": 5, "/trailer": 3000} {
				if c.more > 0 && want > 1<<20 { // the stages look at it again and again
					continue
				}
				resp, err := client.Get("http://" + r.addr + path)
				check(t, err)
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || c.more == 0 && len(got) != want || len(got) < want {
					t.Errorf("%s, %s, HTTP/2 %v: %d bytes, %v, want %d", c.name, path, h2, len(got), err, want)
				}
				if path == "/trailer" && resp.Trailer.Get("X-Sum") != "7" {
					t.Errorf("%s, HTTP/2 %v: the trailers are %v", c.name, h2, resp.Trailer)
				}
			}
			if c.more == 0 {
				for _, request := range []string{"HEAD /sized", "GET /none"} {
					method, path, _ := strings.Cut(request, " ")
					req, err := http.NewRequest(method, "http://"+r.addr+path, nil)
					check(t, err)
					resp, err := client.Do(req)
					check(t, err)
					resp.Body.Close()
					if method == "HEAD" && resp.ContentLength != 10<<20 || method == "GET" && resp.StatusCode != 204 {
						t.Errorf("%s: %d, %d bytes", request, resp.StatusCode, resp.ContentLength)
					}
				}
			}
			client.CloseIdleConnections()
		}
		r.nothingHeld(t)
	}
}

// What the gateway holds of a slow answer is bounded, however much its upstream has.
func TestASlowAnswerHoldsLittle(t *testing.T) {
	s := usual(answering(t))
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	s.routes[0].filters = []gateway.Hooks{slowing(4 << 10)}
	r := start(t, s)
	for _, h2 := range []bool{false, true} {
		client := clientOf(t, h2)
		for _, path := range []string{"/large", "/sized"} {
			resp, err := client.Get("http://" + r.addr + path)
			check(t, err)
			_, err = io.ReadFull(resp.Body, make([]byte, 1000))
			check(t, err)
			held := 0
			r.gateway.OnEach(func(w *gateway.Worker) { held = w.Engine().Bufs.InUse() })
			if held == 0 || held > 256<<10 {
				t.Errorf("%s, HTTP/2 %v: %d bytes are held", path, h2, held)
			}
			resp.Body.Close() // and the client is gone in the middle of it
		}
		client.CloseIdleConnections()
	}
	r.nothingHeld(t)
}

// The head of an answer comes at once, and each byte of it when its time has come, not all at the end.
func TestASlowAnswerComesBitByBit(t *testing.T) {
	s := usual(answering(t))
	s.routes[0].filters = []gateway.Hooks{slowing(100)}
	r := start(t, s)
	f := dial(t, r.addr)
	_, err := io.WriteString(f, "GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
	check(t, err)
	var pieces []string
	buffer := make([]byte, 1000)
	for text := ""; !strings.HasSuffix(text, "small"); {
		n, err := f.Read(buffer)
		check(t, err)
		pieces = append(pieces, string(buffer[:n]))
		text += string(buffer[:n])
	}
	if !strings.HasSuffix(pieces[0], "\r\n\r\n") || len(pieces) < 2 {
		t.Errorf("came as %q", pieces)
	}
	f.Close()
	r.nothingHeld(t)
}

// An answer that breaks off does so behind what came of it.
func TestASlowAnswerBreaksOffWhereItsUpstreamDid(t *testing.T) {
	s := usual(answering(t))
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	s.routes[0].filters = []gateway.Hooks{slowing(20_000)}
	lines := logged(t, s, func(r *running) {
		for _, h2 := range []bool{false, true} {
			client := clientOf(t, h2)
			resp, err := client.Get("http://" + r.addr + "/cut")
			check(t, err)
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil || len(got) != 3000 {
				t.Errorf("HTTP/2 %v: %d bytes, %v", h2, len(got), err)
			}
			client.CloseIdleConnections()
		}
	})
	if strings.Count(lines, `"reason":"upstream_closed"`)+strings.Count(lines, `"reason":"upstream_reset"`) != 2 || strings.Count(lines, `"bytes_out":3`) != 2 {
		t.Errorf("the log says %s", lines)
	}
}

// What the gateway holds is not the upstream's silence; what the upstream does not send is.
func TestTimeoutsOfSlowAnswers(t *testing.T) {
	up := answering(t)
	f := func(route routeSettings, rate int64, path, want string) {
		t.Helper()
		s := usual(up)
		route.spec, route.filters = s.routes[0].spec, []gateway.Hooks{slowing(rate)}
		s.routes[0] = route
		lines := logged(t, s, func(r *running) {
			resp, err := http.Get("http://" + r.addr + path)
			check(t, err)
			_, _ = io.ReadAll(resp.Body)
			resp.Body.Close()
			http.DefaultClient.CloseIdleConnections()
		})
		if got := strings.Contains(lines, `"reason":`); want == "" && got || want != "" && !strings.Contains(lines, `"reason":"`+want+`"`) {
			t.Errorf("%s: the log says %s", path, lines)
		}
	}
	short := 50 * time.Millisecond
	f(routeSettings{betweenBytes: short}, 9000, "/trailer", "") // a third of a second
	f(routeSettings{betweenBytes: short}, 30_000_000, "/large", "")
	f(routeSettings{betweenBytes: short}, 1e6, "/stop", "between_bytes_timeout")
	f(routeSettings{request: 2 * short}, 1000, "/large", "request_timeout")
	f(routeSettings{request: 2 * short}, 1000, "/trailer", "request_timeout") // the upstream has done its part
}

// The upstream's connection is free again when its answer is complete, not when the client has it.
func TestASlowAnswerLetsGoOfItsUpstream(t *testing.T) {
	s := usual(answering(t))
	s.routes[0].filters = []gateway.Hooks{slowing(100)}
	r := start(t, s)
	resp, err := http.Get("http://" + r.addr + "/trailer")
	check(t, err)
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		busy := 0
		for _, l := range r.group.Loads() {
			busy += l.InFlight
		}
		if busy == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the endpoint counts it as running")
		}
	}
	if n := r.metric(t, "yumen_requests_running"); n != 1 {
		t.Errorf("%v requests run, want the one that is slow", n)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// Answers of the gateway's own are slowed like others.
func TestAnAnswerOfOurOwnIsSlowed(t *testing.T) {
	s := usual()
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	s.routes[0].respond = &gateway.Respond{Status: 200, Body: bytes.Repeat([]byte("x"), 1<<20)}
	s.routes[0].filters = []gateway.Hooks{slowing(50e6)}
	r := start(t, s)
	for _, h2 := range []bool{false, true} {
		client := clientOf(t, h2)
		resp, err := client.Get("http://" + r.addr + "/")
		check(t, err)
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || len(got) != 1<<20 {
			t.Errorf("HTTP/2 %v: %d bytes, %v", h2, len(got), err)
		}
		client.CloseIdleConnections()
	}
	r.nothingHeld(t)
}
