package chain

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Recovery is what becomes of a panic: 500 or INTERNAL for the client, with the trace's id to report it by and nothing of what went
// wrong; one line with the stack in the log; a failure for the breaker. An answer that had begun is cut off. http.ErrAbortHandler
// goes on to net/http, whose way to do that it is.
type Recovery struct {
	// Off leaves panics alone: net/http logs them and goes on, gRPC ends the program.
	Off bool
	// OnPanic is told of each, before it is answered, with the chain's context. Nil: nobody is.
	OnPanic func(ctx context.Context, call *Call, panicked any)
	// LinesMax is how many are logged in a second; what is beyond is counted, and told in the next line. 0: 10, more than people
	// read, and 160 kB.
	LinesMax int
}

const (
	panicLinesDefault = 10
	stackBytesMax     = 16 << 10 // some hundred calls deep
)

func (c *Chain) readRecovery() error {
	r := &c.cfg.Recovery
	if r.LinesMax < 0 {
		return bad("Recovery.LinesMax: %d is below 0", r.LinesMax)
	}
	if r.LinesMax == 0 {
		r.LinesMax = panicLinesDefault
	}
	return nil
}

// panicked counts, tells and logs. It runs in the deferred call, where the stack still has the frames of the panic.
func (c *Chain) panicked(ctx context.Context, call *Call, with any) {
	c.stats.panics.Add(1)
	if tell := c.cfg.Recovery.OnPanic; tell != nil {
		tell(ctx, call, with)
	}
	ok, left := c.panicLines.take(c.now().Unix(), int64(c.cfg.Recovery.LinesMax))
	if !ok {
		return
	}
	attrs := []slog.Attr{
		slog.String("protocol", call.protocol), slog.String("route", call.method),
		slog.String("panic", fmt.Sprint(with)), slog.String("stack", stack()),
	}
	if left > 0 {
		attrs = append(attrs, slog.Int64("not_logged", left))
	}
	c.log.LogAttrs(ctx, slog.LevelError, "a handler panicked", attrs...)
}

// budget is so many lines a second.
type budget struct {
	second, used, left atomic.Int64
}

// take returns whether there is one, and how many there were not for since the last. A second that begins for two at once may give
// one line more.
func (b *budget) take(second, most int64) (ok bool, left int64) {
	if was := b.second.Load(); was != second && b.second.CompareAndSwap(was, second) {
		b.used.Store(0)
	}
	if b.used.Add(1) > most {
		b.left.Add(1)
		return false, 0
	}
	return true, b.left.Swap(0)
}

const panicText = "Something went wrong here."

// writePanic answers. What the handler has said of the body it did not write does not hold for this one.
func writePanic(w http.ResponseWriter, ctx context.Context) {
	h := w.Header()
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Cache-Control"} {
		delete(h, name)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "%s\nreason: %s\n", panicText, ReasonPanic)
	if id := traceOf(ctx); id != "" {
		fmt.Fprintf(w, "trace: %s\n", id)
	}
}

// panicStatus is the same for gRPC.
func panicStatus(ctx context.Context) error {
	if id := traceOf(ctx); id != "" {
		return status.Errorf(codes.Internal, "%s (%s, trace %s)", panicText, ReasonPanic, id)
	}
	return status.Errorf(codes.Internal, "%s (%s)", panicText, ReasonPanic)
}

func traceOf(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}
