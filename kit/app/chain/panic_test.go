package chain_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/observe"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func explode(_ context.Context, in string) (string, error) {
	var orders []string
	return orders[len(in)], nil
}

func TestAPanicIsLoggedOnceWithItsStack(t *testing.T) {
	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracing.Shutdown(context.Background()) })
	middleware, err := observe.NewMiddleware(observe.MiddlewareConfig{Tracing: tracing})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	w := start(t, chain.Config{Observe: middleware, Recovery: chain.Recovery{OnPanic: func(ctx context.Context, call *chain.Call, p any) {
		if told++; !trace.SpanContextFromContext(ctx).IsValid() || call.Method() == "" || p == nil {
			t.Error(call.Method(), p)
		}
	}}}, explode)
	parent := map[string]string{"Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}
	_, _, resp := w.post(t, "/orders", parent, "")
	text, _ := io.ReadAll(resp.Body)
	if want := "Something went wrong here.\nreason: panic\ntrace: 4bf92f3577b34da6a3ce929d0e0e4736\n"; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
	_, _, err = w.call(t.Context(), "Create", parent, "")
	if want := "Something went wrong here. (panic, trace 4bf92f3577b34da6a3ce929d0e0e4736)"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	list := w.log.take("a handler panicked")
	if len(list) != 2 || told != 2 || w.chain.Stats().Panics != 2 {
		t.Fatalf("%d lines, told %d, %+v", len(list), told, w.chain.Stats())
	}
	for _, line := range list {
		if s, _ := line["stack"].(string); !strings.Contains(s, "explode") || line["panic"] != "runtime error: index out of range [0] with length 0" {
			t.Errorf("%v", line)
		}
	}
}

func TestPanicsFloodNoLog(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	w := start(t, chain.Config{Clock: func() time.Time { return now }, Recovery: chain.Recovery{LinesMax: 2}, Breaker: chain.Breaker{Off: true}}, explode)
	for range 5 {
		w.call(t.Context(), "Create", nil, "")
	}
	now = now.Add(time.Second)
	w.call(t.Context(), "Create", nil, "")
	list := w.log.take("a handler panicked")
	if len(list) != 3 || list[2]["not_logged"] != 3.0 || w.chain.Stats().Panics != 6 {
		t.Errorf("%d lines, %v", len(list), list[len(list)-1]["not_logged"])
	}
}

// Half an answer must not look like a whole one.
func TestAnAnswerThatHadBegunIsCutOff(t *testing.T) {
	log := &lines{}
	c := must(t, chain.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))})
	s := httptest.NewUnstartedServer(c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100") // which a 500 would not have
		if r.URL.Path == "/begun" || r.URL.Path == "/abort" {
			w.Header().Del("Content-Length")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
		}
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("oh")
	})))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.Start()
	defer s.Close()
	for path, panics := range map[string]uint64{"/begun": 1, "/abort": 0} {
		before := c.Stats().Panics
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(text) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %q, %v", path, text, err)
		}
		if n := c.Stats().Panics - before; n != panics {
			t.Errorf("%s: %d panics", path, n)
		}
	}
	resp, err := http.Get(s.URL + "/fresh")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 500 || reasonIn(string(text)) != "panic" {
		t.Errorf("%d %q %v", resp.StatusCode, text, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestRecoveryOff(t *testing.T) {
	c := must(t, chain.Config{Recovery: chain.Recovery{Off: true}, Logger: slog.New(slog.DiscardHandler)})
	defer func() {
		if p := recover(); p != "oh" {
			t.Error(p)
		}
	}()
	r, _ := http.NewRequest("GET", "/", nil)
	c.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh") })).ServeHTTP(newRecorder(), r)
}
