package breaker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/breaker"
	servers "github.com/yumen-io/yumen/kit/internal/servers/health"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestAClientSparesAServerThatFails(t *testing.T) {
	var status, asked atomic.Int32
	status.Store(503)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
	}))
	defer s.Close()
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 3, Probes: 1, Ramp: []float64{}})
	c := &http.Client{Transport: b.RoundTripper(s.Client().Transport, nil)}
	get := func() error {
		resp, err := c.Get(s.URL)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for range 3 {
		if err := get(); err != nil {
			t.Fatal(err)
		}
	}
	var e *breaker.Error
	if err := get(); !errors.As(err, &e) || e.Decision.Numbers.Failures != 3 {
		t.Errorf("%v", err)
	}
	if _, err := c.Post(s.URL, "text/plain", strings.NewReader("x")); !errors.Is(err, breaker.ErrOpen) {
		t.Error(err)
	}
	if asked.Load() != 3 {
		t.Errorf("the server was asked %d times", asked.Load())
	}
	status.Store(404) // which is an answer
	h.advance(5 * time.Second)
	if err := get(); err != nil {
		t.Error(err)
	}
	h.advance(time.Second)
	if err := get(); err != nil || state(b) != breaker.Closed {
		t.Errorf("%v, %v", err, state(b))
	}
}

func TestErrorsOfAClientThatCount(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer s.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	ask := func(b *breaker.Breaker, url string, patience time.Duration, cancel bool) {
		ctx, stop := context.WithTimeout(background, patience)
		if cancel {
			time.AfterFunc(patience/100, stop)
		}
		defer stop()
		r, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
		if _, err := b.RoundTripper(s.Client().Transport, nil).RoundTrip(r); err == nil {
			t.Error("an answer came")
		}
	}
	for _, c := range []struct {
		name     string
		url      string
		patience time.Duration
		cancel   bool
		want     breaker.State
	}{
		{"nobody listens", gone.URL, time.Minute, false, breaker.Open},
		{"a deadline", s.URL, 30 * time.Millisecond, false, breaker.Open},
		{"a cancel", s.URL, 10 * time.Second, true, breaker.Closed},
	} {
		b := must(t, nil, breaker.Config{Consecutive: 1})
		ask(b, c.url, c.patience, c.cancel)
		if state(b) != c.want {
			t.Errorf("%s: %v", c.name, state(b))
		}
	}
}

func TestHandlersThatFail(t *testing.T) {
	var bad atomic.Bool
	bad.Store(true)
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 2})
	s := httptest.NewServer(b.Middleware(func(r *http.Request) string { return r.URL.Path })(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panics" {
			panic(http.ErrAbortHandler)
		}
		if bad.Load() {
			w.WriteHeader(500)
		}
		w.(http.Flusher).Flush()
		io.WriteString(w, "hello")
	})))
	defer s.Close()
	for i, want := range []int{500, 500, 503} {
		resp, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("request %d: %d", i, resp.StatusCode)
		}
		if want == 503 && (resp.Header.Get("Retry-After") != "5" ||
			string(text) != "This service failed too often, and gets no requests for now.\nreason: breaker_open\n") {
			t.Errorf("%v %s", resp.Header, text)
		}
	}
	for range 2 {
		if _, err := s.Client().Post(s.URL+"/panics", "", nil); err == nil {
			t.Error("an answer came")
		}
	}
	resp, err := s.Client().Get(s.URL + "/panics")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 {
		t.Errorf("panics do not count: %d", resp.StatusCode)
	}
}

// moody is a server that answers with the code that mood holds.
func moody() (m *servers.Server, mood *atomic.Uint32) {
	mood = new(atomic.Uint32)
	say := func(context.Context) error { return status.Error(codes.Code(mood.Load()), "in a mood") } // nil of OK
	return &servers.Server{OnCheck: say, OnWatch: say}, mood
}

var check = &healthpb.HealthCheckRequest{}

func TestCallsThatCount(t *testing.T) {
	for _, c := range []struct {
		code codes.Code
		want breaker.State
	}{
		{codes.Unavailable, breaker.Open}, {codes.DeadlineExceeded, breaker.Closed}, {codes.NotFound, breaker.Closed}, {codes.Canceled, breaker.Closed},
		{codes.Internal, breaker.Closed}, {codes.OK, breaker.Closed},
	} {
		m, mood := moody()
		mood.Store(uint32(c.code))
		client, server := must(t, nil, breaker.Config{Consecutive: 2, TimeoutMin: time.Hour}), must(t, nil, breaker.Config{Consecutive: 1})
		stub := servers.Dial(t, m, []grpc.ServerOption{grpc.UnaryInterceptor(server.UnaryServer(nil))}, grpc.WithUnaryInterceptor(client.UnaryClient(nil)))
		for range 2 {
			stub.Check(background, check)
		}
		if state(client) != c.want {
			t.Errorf("%v: %v", c.code, state(client))
		}
		if c.want == breaker.Open {
			_, err := stub.Check(background, check)
			if !errors.Is(err, breaker.ErrOpen) || status.Code(err) != codes.Unavailable {
				t.Errorf("%v", err)
			}
		}
	}
}

func TestAServerThatRefusesSaysWhenToComeAgain(t *testing.T) {
	m, mood := moody()
	mood.Store(uint32(codes.Unavailable))
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 1})
	stub := servers.Dial(t, m, []grpc.ServerOption{grpc.UnaryInterceptor(b.UnaryServer(nil)), grpc.StreamInterceptor(b.StreamServer(nil))})
	stub.Check(background, check)
	var md metadata.MD
	_, err := stub.Check(background, check, grpc.Trailer(&md))
	st := status.Convert(err)
	if st.Code() != codes.Unavailable || !strings.HasSuffix(st.Message(), "(breaker_open)") || strings.Join(md.Get("grpc-retry-pushback-ms"), "") != "5000" {
		t.Errorf("%v %v", err, md)
	}
	if len(st.Details()) != 1 || st.Details()[0].(*errdetails.RetryInfo).RetryDelay.AsDuration() != 5*time.Second {
		t.Errorf("%v", st.Details())
	}
	for i, want := range []string{"in a mood", "(breaker_open)"} {
		stream, err := stub.Watch(background, check)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("stream %d: %v", i, err)
		}
	}
}

func TestStreamsOfAClientCountWhenTheyEnd(t *testing.T) {
	m, mood := moody()
	b := must(t, nil, breaker.Config{Consecutive: 1})
	stub := servers.Dial(t, m, nil, grpc.WithStreamInterceptor(b.StreamClient(nil)))
	ctx, cancel := context.WithCancel(background)
	stream, err := stub.Watch(ctx, check)
	if err != nil {
		t.Fatal(err)
	}
	stream.Recv()
	cancel()
	stream.Recv()
	if state(b) != breaker.Closed {
		t.Error("a cancel counted")
	}
	mood.Store(uint32(codes.Unavailable))
	stream, err = stub.Watch(background, check)
	if err != nil {
		t.Fatal(err)
	}
	stream.Recv()
	if _, err := stub.Watch(background, check); !errors.Is(err, breaker.ErrOpen) {
		t.Errorf("%v", err)
	}
}
