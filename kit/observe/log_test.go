package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLog(t testing.TB, cfg LogConfig) *Log {
	t.Helper()
	l, err := NewLog(cfg)
	must(t, err)
	t.Cleanup(func() { _ = l.Close(context.Background()) })
	return l
}

var span = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0xab, 15: 1}, SpanID: trace.SpanID{0xcd, 7: 2}})

func TestTheHandlerDoesWhatSlogWants(t *testing.T) {
	var out *bytes.Buffer
	var l *Log
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		out = new(bytes.Buffer)
		l = newLog(t, LogConfig{Output: out})
		return l.Logger().Handler()
	}, func(t *testing.T) map[string]any {
		must(t, l.Close(t.Context()))
		got := map[string]any{}
		must(t, json.Unmarshal(out.Bytes(), &got))
		return got
	})
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	l := newLog(t, LogConfig{Output: &out})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	logger := l.Logger()
	logger.DebugContext(ctx, "not written")
	logger.With("a", 1).WithGroup("g").With("b", "x\n\"").WithGroup("h").ErrorContext(ctx, "all kinds", "s", "t", "i", -1, "u", uint64(1<<63), "f", 0.5,
		"t", true, "d", time.Second, "e", errors.New("bad"), "nil", nil, slog.Group("", "in", "line"), slog.Group("o", "k", 1), slog.Group("none"))
	var broken *brokenError
	logger.WithGroup("empty").Info("a nil error", slog.Group("x", "err", error(broken)))
	must(t, l.Close(t.Context()))
	text := out.String()
	for _, line := range strings.SplitAfter(text, "\n") {
		if i := strings.Index(line, `,"time":"`); i >= 0 {
			text = strings.Replace(text, line, line[:i]+line[strings.Index(line, `","msg"`)+1:], 1)
		}
	}
	want := `{"level":"error","msg":"all kinds","a":1,"trace_id":"ab000000000000000000000000000001","span_id":"cd00000000000002",` +
		`"g":{"b":"x\n\"","h":{"s":"t","i":-1,"u":9223372036854775808,"f":0.5,"t":true,"d":1,"e":"bad","nil":null,"in":"line","o":{"k":1}}}}` + "\n" +
		`{"level":"info","msg":"a nil error","empty":{"x":{"err":"an error whose text cannot be had: runtime error: invalid memory address or nil pointer dereference"}}}` + "\n"
	if text != want {
		t.Fatalf("got\n%swant\n%s", text, want)
	}
}

type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

func TestALineCostsNoAllocation(t *testing.T) {
	l := newLog(t, LogConfig{Output: io.Discard})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	logger := l.Logger().With("service", "orders")
	n := testing.AllocsPerRun(1000, func() {
		logger.LogAttrs(ctx, slog.LevelInfo, "an order was placed", slog.String("order", "17"), slog.Int64("n", 3), slog.Duration("took", time.Second), slog.Bool("ok", true))
	})
	if n > 0 && !raceEnabled {
		t.Fatalf("%v allocations", n)
	}
}

// stuck is an output that takes nothing until it is let go.
type stuck struct {
	mu      sync.Mutex
	entered chan struct{}
	release chan struct{}
	got     bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(b)
}

func TestWhatASlowOutputCannotTakeIsCountedAndSaid(t *testing.T) {
	out := &stuck{entered: make(chan struct{}, 1), release: make(chan struct{})}
	l := newLog(t, LogConfig{Output: out, BufferBytes: 4096})
	l.Logger().Info("first")
	<-out.entered
	for range 1000 {
		l.Logger().Info(strings.Repeat("x", 100))
	}
	s := l.Stats()
	if s.Lines+s.Dropped != 1001 || s.Lines < 10 || s.Lines > 50 {
		t.Fatalf("%+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	l.Logger().Info("after the end")
	close(out.release)
	must(t, l.Close(t.Context()))
	if got := out.got.String(); uint64(strings.Count(got, "\n")) != s.Lines+1 || !strings.Contains(got, `"msg":"log lines were dropped","dropped":`) {
		t.Fatal(got)
	}
	if l.Stats().Dropped != s.Dropped+1 {
		t.Fatalf("%+v", l.Stats())
	}
	if _, err := NewLog(LogConfig{BufferBytes: 1}); err == nil || !strings.Contains(err.Error(), "BufferBytes") {
		t.Fatal(err)
	}
}

func BenchmarkLog(b *testing.B) {
	l := newLog(b, LogConfig{Output: io.Discard})
	logger := l.Logger().With("service", "orders")
	ctx := trace.ContextWithSpanContext(b.Context(), span)
	b.ReportAllocs()
	for b.Loop() {
		logger.LogAttrs(ctx, slog.LevelInfo, "an order was placed", slog.String("order", "17"), slog.Int64("n", 3), slog.Duration("took", time.Second), slog.Bool("ok", true))
	}
}
