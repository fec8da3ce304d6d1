package admission_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	servers "github.com/yumen-io/yumen/kit/internal/servers/health"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/limit/admission"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// one is a door with one place and no queue.
func one(t *testing.T) *admission.Door {
	return must(t, admission.Config{Fixed: 1, Queue: -1})
}

func TestAnswersOfAServerWithADoor(t *testing.T) {
	d := one(t)
	inside, leave := make(chan bool), make(chan bool)
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { inside <- true; <-leave })
	mux.HandleFunc("/panics", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		inside <- true
		<-leave
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	ask := func(r *http.Request) admission.Request {
		p, _ := limit.ParsePriority(r.Header.Get("X-Priority"))
		return admission.Request{Tenant: r.Header.Get("X-Tenant"), Priority: p}
	}
	s := httptest.NewServer(d.Middleware(ask)(mux))
	defer s.Close()
	get := func(path string) (int, http.Header, string) {
		resp, err := s.Client().Get(s.URL + path)
		if err != nil {
			return 0, nil, err.Error()
		}
		defer resp.Body.Close()
		text := ""
		if resp.StatusCode != 101 {
			b, _ := io.ReadAll(resp.Body)
			text = string(b)
		}
		return resp.StatusCode, resp.Header, text
	}
	done := make(chan int, 1)
	hold := func(path string) {
		go func() { code, _, _ := get(path); done <- code }()
		<-inside
	}
	hold("/slow")
	code, head, text := get("/")
	if code != 503 || head.Get("Retry-After") != "1" || text != "Too many requests of yours wait already.\nreason: admission_queue_full\n" {
		t.Errorf("%d %v %q", code, head, text)
	}
	leave <- true
	if code := <-done; code != 200 {
		t.Error(code)
	}
	if code, _, text := get("/panics"); code != 0 {
		t.Errorf("%d %s", code, text)
	}
	if code, _, text := get("/"); code != 200 || text != "hello" {
		t.Errorf("after a panic: %d %q", code, text)
	}
	hold("/upgrade") // which keeps no place
	if code, _, text := get("/"); code != 200 {
		t.Errorf("beside a connection that was taken over: %d %q", code, text)
	}
	leave <- true
	<-done
	if st := d.Stats(); st.Inside != 0 || st.Full != 1 {
		t.Errorf("%+v", st)
	}
}

func TestWhatCountsAsWork(t *testing.T) {
	for _, c := range []struct {
		status int
		counts bool
	}{{200, true}, {404, true}, {429, true}, {500, false}, {502, false}, {503, false}, {504, true}} {
		d := must(t, admission.Config{Fixed: 1})
		h := d.Middleware(nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(c.status) }))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		p := enter(t, d, admission.Request{})
		if counted := p.Decision.Service > 0; counted != c.counts {
			t.Errorf("%d: counts %t, want %t", c.status, counted, c.counts)
		}
		p.Leave(admission.Failed)
	}
	d := must(t, admission.Config{Fixed: 1})
	ctx, cancel := context.WithCancel(background)
	d.Middleware(nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	p := enter(t, d, admission.Request{})
	if p.Decision.Service > 0 {
		t.Error("what a client left counts")
	}
	p.Leave(admission.Failed)
}

func TestStreamsThatGiveTheirPlaceBackWithTheHead(t *testing.T) {
	d := must(t, admission.Config{Fixed: 1, Queue: -1, ToHead: true})
	leave := make(chan bool)
	s := httptest.NewServer(d.Middleware(nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-leave
	})))
	defer s.Close()
	var open []*http.Response
	for range 3 {
		resp, err := s.Client().Get(s.URL)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		open = append(open, resp)
	}
	close(leave)
	for _, r := range open {
		io.ReadAll(r.Body)
		r.Body.Close()
	}
}

func TestAClientHoldsAPlaceUntilTheAnswerEnds(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer s.Close()
	d := one(t)
	c := &http.Client{Transport: d.RoundTripper(s.Client().Transport, nil)}
	for range 2 {
		first, err := c.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Post(s.URL, "text/plain", strings.NewReader("x")); !errors.Is(err, limit.ErrRefused) {
			t.Errorf("a second at a time: %v", err)
		}
		first.Body.Close()
	}
	c.CloseIdleConnections()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c.Transport = d.RoundTripper(nil, nil)
	for range 3 {
		if _, err := c.Get(gone.URL); err == nil || errors.Is(err, limit.ErrRefused) {
			t.Errorf("an error keeps the place: %v", err)
		}
	}
	if st := d.Stats(); st.Inside != 0 {
		t.Errorf("%+v", st)
	}
}

var check = &healthpb.HealthCheckRequest{}

func TestCallsOfAServerWithADoor(t *testing.T) {
	d := one(t)
	byMethod := func(_ context.Context, method string) admission.Request { return admission.Request{Tenant: method} }
	c := servers.Dial(t, nil, []grpc.ServerOption{grpc.UnaryInterceptor(d.UnaryServer(byMethod)), grpc.StreamInterceptor(d.StreamServer(byMethod))})
	wants := func(err error, md metadata.MD) {
		t.Helper()
		st := status.Convert(err)
		if st.Code() != codes.Unavailable || st.Message() != "Too many requests of yours wait already. (admission_queue_full)" {
			t.Errorf("%v", err)
		}
		if got := strings.Join(md.Get("grpc-retry-pushback-ms"), ""); got != "1000" {
			t.Errorf("pushback %s", got)
		}
		if len(st.Details()) != 1 || st.Details()[0].(*errdetails.RetryInfo).RetryDelay.AsDuration() != time.Second {
			t.Errorf("details %v", st.Details())
		}
	}
	if _, err := c.Check(background, check); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	first, err := c.Watch(ctx, check)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Recv(); err != nil {
		t.Fatal(err)
	}
	var md metadata.MD
	_, err = c.Check(background, check, grpc.Trailer(&md))
	wants(err, md)
	second, err := c.Watch(ctx, check)
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Recv()
	wants(err, second.Trailer())
}

func TestCallsOfAClientWithADoor(t *testing.T) {
	d := one(t)
	var mood error
	c := servers.Dial(t, &servers.Server{OnCheck: func(context.Context) error { return mood }}, nil,
		grpc.WithUnaryInterceptor(d.UnaryClient(nil)), grpc.WithStreamInterceptor(d.StreamClient(nil)))
	for range 2 { // the place of a stream is given back when it has ended
		ctx, cancel := context.WithCancel(background)
		stream, err := c.Watch(ctx, check)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Check(background, check); !errors.Is(err, limit.ErrRefused) || status.Code(err) != codes.Unavailable {
			t.Errorf("a second at a time: %v", err)
		}
		if _, err := c.Watch(background, check); !errors.Is(err, limit.ErrRefused) {
			t.Errorf("a second stream at a time: %v", err)
		}
		cancel()
		if _, err := stream.Recv(); err == nil {
			t.Error("a stream went on")
		}
		if _, err := c.Check(background, check); err != nil {
			t.Error(err)
		}
	}
	for _, x := range []struct {
		code   codes.Code
		counts bool
	}{{codes.OK, true}, {codes.NotFound, true}, {codes.DeadlineExceeded, true}, {codes.Unavailable, false}, {codes.Internal, false}, {codes.Canceled, false}} {
		d := one(t)
		mood = status.Error(x.code, "in a mood")
		c := servers.Dial(t, &servers.Server{OnCheck: func(context.Context) error { return mood }}, []grpc.ServerOption{grpc.UnaryInterceptor(d.UnaryServer(nil))})
		c.Check(background, check)
		p := enter(t, d, admission.Request{})
		if counted := p.Decision.Service > 0; counted != x.counts {
			t.Errorf("%v: counts %t, want %t", x.code, counted, x.counts)
		}
		p.Leave(admission.Failed)
	}
}
