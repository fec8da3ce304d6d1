package observe

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LogConfig is how a Log is made. The zero value is for a server: JSON to stderr from info on.
type LogConfig struct {
	// Output is written by one goroutine. Default: os.Stderr. It stays the caller's to close.
	Output io.Writer
	// Level is the lowest that is written; a *slog.LevelVar may be changed at any time. Default: slog.LevelInfo.
	Level slog.Leveler
	// BufferBytes bounds what waits for Output, beyond which lines are dropped and counted: 4 kB to 256 MiB. Default: 4 MiB.
	BufferBytes int
}

// LogStats are counts since the Log was made.
type LogStats struct {
	Lines       uint64 // taken
	Dropped     uint64 // not taken, because Output is slower than the lines come, or after Close
	WriteErrors uint64 // of Output; what it did not take is lost
}

// Log writes lines of JSON, with the trace of the context that they are logged with:
//
//	{"level":"info","time":"2026-01-02T03:04:05.123Z","msg":"...","trace_id":"...","span_id":"...","key":"value"}
//
// Durations are seconds, as in metrics.
// Whoever logs copies its line into memory and goes on; one goroutine writes. All methods may be called by any goroutine.
type Log struct {
	out    io.Writer
	max    int
	logger *slog.Logger

	mu struct {
		sync.Mutex // for the copy of a line, some ten nanoseconds
		filling    []byte
		dropped    uint64 // that Output has not been told of
		closed     bool
	}
	wake  chan struct{}
	ended chan struct{}

	lines, dropped, writeErrors atomic.Uint64
}

// NewLog makes a Log and starts its goroutine, which Close ends.
func NewLog(cfg LogConfig) (*Log, error) {
	if cfg.Output == nil {
		cfg.Output = os.Stderr
	}
	if cfg.Level == nil {
		cfg.Level = slog.LevelInfo
	}
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = 4 << 20
	}
	if cfg.BufferBytes < 4096 || cfg.BufferBytes > 256<<20 {
		return nil, fmt.Errorf("observe: log: BufferBytes is %d and must be 4096 to %d", cfg.BufferBytes, 256<<20)
	}
	l := &Log{out: cfg.Output, max: cfg.BufferBytes, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "msg", EncodeTime: zapcore.RFC3339NanoTimeEncoder,
		EncodeDuration: zapcore.SecondsDurationEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
	})
	// The handler asks the level; the core takes what it is given.
	core := zapcore.NewCore(encoder, l, zapcore.Level(-128))
	l.logger = slog.New(&handler{core: core, level: cfg.Level})
	go l.run()
	return l, nil
}

// Logger is what programs log to.
func (l *Log) Logger() *slog.Logger { return l.logger }

// Stats are for metrics.
func (l *Log) Stats() LogStats {
	return LogStats{Lines: l.lines.Load(), Dropped: l.dropped.Load(), WriteErrors: l.writeErrors.Load()}
}

// Write takes a line. It is for the encoder; a program writes through Logger.
func (l *Log) Write(line []byte) (int, error) {
	l.mu.Lock()
	if l.mu.closed || len(l.mu.filling)+len(line) > l.max {
		l.mu.dropped++
		l.mu.Unlock()
		l.dropped.Add(1)
		return len(line), nil
	}
	l.mu.filling = append(l.mu.filling, line...)
	select { // under the lock, because Close closes the channel
	case l.wake <- struct{}{}:
	default:
	}
	l.mu.Unlock()
	l.lines.Add(1)
	return len(line), nil
}

// Sync is part of zapcore.WriteSyncer and does nothing: Close is what waits.
func (l *Log) Sync() error { return nil }

// Close writes what waits. When ctx ends before Output has taken it, Close returns, and the goroutine ends with Output.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.mu.closed {
		l.mu.closed = true
		close(l.wake)
	}
	l.mu.Unlock()
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) run() {
	defer close(l.ended)
	var writing []byte
	for open := true; open; {
		_, open = <-l.wake
		l.mu.Lock()
		writing, l.mu.filling = l.mu.filling, writing[:0]
		dropped := l.mu.dropped
		l.mu.dropped = 0
		l.mu.Unlock()
		if dropped > 0 {
			writing = fmt.Appendf(writing, `{"level":"warn","msg":"log lines were dropped","dropped":%d}`+"\n", dropped)
		}
		if len(writing) == 0 {
			continue
		}
		if _, err := l.out.Write(writing); err != nil {
			l.writeErrors.Add(1)
		}
	}
}

// handler is slog's side of a zap core. It has no reflection and no boxing for the kinds that slog knows, and borrows its
// fields from a pool, so that a line costs no allocation of its own.
type handler struct {
	core  zapcore.Core // with the attributes that came before any group
	level slog.Leveler
	tail  []zapcore.Field // groups that are open and what is in them: no core can put trace ids before those
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// scratch is what one line borrows.
type scratch struct {
	fields []zapcore.Field
	ids    traceIDs
}

var scratches = sync.Pool{New: func() any { return &scratch{fields: make([]zapcore.Field, 0, 16)} }}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	s := scratches.Get().(*scratch)
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		s.ids = traceIDs{trace: sc.TraceID(), span: sc.SpanID()}
		s.fields = append(s.fields, zapcore.Field{Type: zapcore.InlineMarshalerType, Interface: &s.ids})
	}
	s.fields = append(s.fields, h.tail...)
	r.Attrs(func(a slog.Attr) bool {
		s.fields = appendAttr(s.fields, a)
		return true
	})
	for n := len(s.fields); n > 0 && s.fields[n-1].Type == zapcore.NamespaceType; n-- {
		s.fields = s.fields[:n-1] // groups without anything in them
	}
	err := h.core.Write(zapcore.Entry{Level: zapLevel(r.Level), Time: r.Time, Message: r.Message}, s.fields)
	clear(s.fields)
	s.fields = s.fields[:0]
	scratches.Put(s)
	return err
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var fields []zapcore.Field
	for _, a := range attrs {
		fields = appendAttr(fields, a)
	}
	if len(fields) == 0 {
		return h
	}
	if len(h.tail) == 0 {
		return &handler{core: h.core.With(fields), level: h.level}
	}
	return &handler{core: h.core, level: h.level, tail: append(slices.Clip(h.tail), fields...)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{core: h.core, level: h.level, tail: append(slices.Clip(h.tail), zap.Namespace(name))}
}

func zapLevel(l slog.Level) zapcore.Level {
	switch {
	case l >= slog.LevelError:
		return zapcore.ErrorLevel
	case l >= slog.LevelWarn:
		return zapcore.WarnLevel
	case l >= slog.LevelInfo:
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}

// appendAttr adds an attribute as slog wants it: resolved, an empty one left out, a group without a name in line.
func appendAttr(fields []zapcore.Field, a slog.Attr) []zapcore.Field {
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() == slog.KindAny && v.Any() == nil {
		return fields
	}
	switch v.Kind() {
	case slog.KindString:
		return append(fields, zapcore.Field{Key: a.Key, Type: zapcore.StringType, String: v.String()})
	case slog.KindInt64:
		return append(fields, zapcore.Field{Key: a.Key, Type: zapcore.Int64Type, Integer: v.Int64()})
	case slog.KindUint64:
		return append(fields, zapcore.Field{Key: a.Key, Type: zapcore.Uint64Type, Integer: int64(v.Uint64())})
	case slog.KindFloat64:
		return append(fields, zap.Float64(a.Key, v.Float64()))
	case slog.KindBool:
		return append(fields, zap.Bool(a.Key, v.Bool()))
	case slog.KindDuration:
		return append(fields, zapcore.Field{Key: a.Key, Type: zapcore.DurationType, Integer: int64(v.Duration())})
	case slog.KindTime:
		return append(fields, zap.Time(a.Key, v.Time()))
	case slog.KindGroup:
		group := v.Group()
		if a.Key == "" {
			for _, b := range group {
				fields = appendAttr(fields, b)
			}
			return fields
		}
		if !hasAny(group) {
			return fields
		}
		return append(fields, zapcore.Field{Key: a.Key, Type: zapcore.ObjectMarshalerType, Interface: groupOf(group)})
	}
	if err, ok := v.Any().(error); ok {
		return append(fields, errorField(a.Key, err))
	}
	return append(fields, zap.Any(a.Key, v.Any()))
}

// errorField calls Error here: a nil pointer in an error must not end the program that reports it.
func errorField(key string, err error) (f zapcore.Field) {
	defer func() {
		if p := recover(); p != nil {
			f = zap.String(key, fmt.Sprintf("an error whose text cannot be had: %v", p))
		}
	}()
	return zap.String(key, err.Error())
}

func hasAny(group []slog.Attr) bool {
	return slices.ContainsFunc(group, func(a slog.Attr) bool { return len(appendAttr(nil, a)) > 0 })
}

// groupOf writes a group as an object.
type groupOf []slog.Attr

func (g groupOf) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	for _, a := range g {
		for _, f := range appendAttr(nil, a) {
			f.AddTo(enc)
		}
	}
	return nil
}

// traceIDs are written in line, from arrays in place of strings.
type traceIDs struct {
	trace trace.TraceID
	span  trace.SpanID
	text  [32]byte
}

func (t *traceIDs) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	hex.Encode(t.text[:], t.trace[:])
	enc.AddByteString("trace_id", t.text[:])
	hex.Encode(t.text[:], t.span[:])
	enc.AddByteString("span_id", t.text[:16])
	return nil
}

// clockOf is the clock of a config.
func clockOf(f func() time.Time) func() time.Time {
	if f == nil {
		return time.Now
	}
	return f
}
