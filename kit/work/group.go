package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const (
	deadlineDefault = 30 * time.Second
	groupMaxDefault = 1024
	tracerName      = "github.com/yumen-io/yumen/kit/work"
)

// GroupConfig is the settings of a Group.
type GroupConfig struct {
	// Deadline of each task, from when it begins; 0 means 30 s.
	Deadline time.Duration
	// Max is how many run at a time, 1 to 1,000,000; 0 means 1024. More are refused.
	Max int
	// Tracer makes the spans; nil means otel.GetTracerProvider().
	Tracer trace.TracerProvider
	// OnEnd is called when a task has ended, with its name and error; nil means errors are logged.
	OnEnd  func(name string, took time.Duration, err error)
	Logger *slog.Logger // nil means slog.Default()
}

// Group is what goes on beside requests and after them, and whoever ends it. It is safe for concurrent use.
type Group struct {
	cfg   GroupConfig
	base  context.Context
	abort context.CancelFunc

	mu struct {
		sync.Mutex
		closed bool
		n      int
		idle   chan struct{} // closed when the last has ended after Shutdown; nil before
	}
}

// NewGroup makes a Group. The error names each field that is wrong and says what it wants.
func NewGroup(cfg GroupConfig) (*Group, error) {
	var wrong []error
	if cfg.Deadline == 0 {
		cfg.Deadline = deadlineDefault
	}
	if cfg.Deadline < 0 {
		wrong = append(wrong, fmt.Errorf("work: Deadline: %v is below 0", cfg.Deadline))
	}
	if cfg.Max == 0 {
		cfg.Max = groupMaxDefault
	}
	if cfg.Max < 1 || cfg.Max > queueMax {
		wrong = append(wrong, fmt.Errorf("work: Max: %d is not between 1 and %d", cfg.Max, queueMax))
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	g := &Group{cfg: cfg}
	g.base, g.abort = context.WithCancel(context.Background())
	return g, nil
}

// Task is something that goes on.
type Task struct {
	done chan struct{}
	err  error
}

// Done is closed when it has ended.
func (t *Task) Done() <-chan struct{} { return t.done }

// Wait waits until it has ended and returns its error, or that of ctx if this comes first.
func (t *Task) Wait(ctx context.Context) error {
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Go runs f in a goroutine that goes on when ctx ends, with all its values: trace, baggage, and what else it carries. f has a span called
// name, a child of ctx's and linked with it, and the Group's deadline. The error is ErrFull or ErrClosed.
func (g *Group) Go(ctx context.Context, name string, f func(context.Context) error) (*Task, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return nil, ErrClosed
	}
	if g.mu.n >= g.cfg.Max {
		return nil, ErrFull
	}
	g.mu.n++
	t := &Task{done: make(chan struct{})}
	go g.run(ctx, name, f, t)
	return t, nil
}

func (g *Group) run(ctx context.Context, name string, f func(context.Context) error, t *Task) {
	begun := time.Now()
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.Deadline)
	stop := context.AfterFunc(g.base, cancel)
	t.err = traced(own, g.cfg.Tracer, name, f)
	stop()
	cancel()
	close(t.done)
	if g.cfg.OnEnd != nil {
		g.cfg.OnEnd(name, time.Since(begun), t.err)
	} else if t.err != nil {
		logEnd(own, g.cfg.Logger, name, t.err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.n--; g.mu.n == 0 && g.mu.idle != nil {
		close(g.mu.idle)
		g.mu.idle = nil
	}
}

// Running is how many run now.
func (g *Group) Running() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.n
}

// Shutdown takes nothing more and waits until all have ended. If ctx ends first, their contexts are cancelled, and it returns ctx's
// error. It may be called more than once.
func (g *Group) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.mu.closed = true
	if g.mu.n == 0 {
		g.mu.Unlock()
		g.abort()
		return nil
	}
	if g.mu.idle == nil {
		g.mu.idle = make(chan struct{})
	}
	idle := g.mu.idle
	g.mu.Unlock()
	defer g.abort()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Go is Group.Go without a Group: with a deadline of 30 s and no bound, and an error is logged. Nobody can end it early, or wait for all; a
// service that is to stop in an orderly way has a Group.
func Go(ctx context.Context, name string, f func(context.Context) error) *Task {
	t := &Task{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadlineDefault)
		defer cancel()
		if t.err = traced(own, nil, name, f); t.err != nil {
			logEnd(own, nil, name, t.err)
		}
	}()
	return t
}

// traced calls f within a span.
func traced(ctx context.Context, provider trace.TracerProvider, name string, f func(context.Context) error) error {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	var opts []trace.SpanStartOption
	if trace.SpanContextFromContext(ctx).IsSampled() { // a link that nobody will see is not made
		opts = append(opts, trace.WithLinks(trace.LinkFromContext(ctx)))
	}
	ctx, span := provider.Tracer(tracerName).Start(ctx, name, opts...)
	defer span.End()
	err := guarded(func() error { return f(ctx) })
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	return err
}

func logEnd(ctx context.Context, logger *slog.Logger, name string, err error) {
	if logger == nil {
		logger = slog.Default()
	}
	var p *PanicError
	if errors.As(err, &p) {
		logger.ErrorContext(ctx, "a task panicked", "task", name, "panic", p.Value, "stack", string(p.Stack))
		return
	}
	logger.WarnContext(ctx, "a task failed", "task", name, "error", err)
}
