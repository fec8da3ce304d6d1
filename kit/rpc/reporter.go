package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/loadaware"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/orca"
	"google.golang.org/protobuf/encoding/protowire"
)

// ReporterConfig of a Reporter. The zero value is good.
type ReporterConfig struct {
	// Interval is for how long a measurement is used, however many ask: 0 means 250 ms; 10 ms to 10 s.
	Interval time.Duration
	// CPU and Memory, where set, are asked instead of the process: shares in use, 0 to 1. They are called by one goroutine
	// at a time, no more often than Interval, and must not block. A service that is limited by something else, such as
	// its connections to a database, reports that here.
	CPU, Memory func() float64
	// NoTrailers leaves reports out of answers; probes are answered all the same. Set it where orca.CallMetricsServerOption
	// is used with this Reporter as its provider: an answer must have one report. (That option adds one where the handler
	// has asked for orca.CallMetricsRecorderFromContext, and there only.)
	NoTrailers bool
}

// Load is what a server says of itself.
type Load struct {
	CPU, Memory float64       // shares in use, 0 to 1
	InFlight    int64         // calls being handled, streams included
	Latency     time.Duration // of unary calls lately, a geometric mean; 0 before the first
	QPS, EPS    float64       // calls and failures a second
}

// Reporter measures the load of a server. It has no goroutine: it measures when it is asked. Its methods are safe for
// concurrent use, and the path of a call takes no lock.
type Reporter struct {
	cfg   ReporterConfig
	usage usage

	inFlight       atomic.Int64
	calls, failed  atomic.Uint64
	latency        word
	next           atomic.Int64 // mono.Time at which the measurement is too old
	latest         atomic.Pointer[measured]
	lastAt         mono.Time // of the goroutine that measures
	lastCalls      uint64
	lastFailed     uint64
	cpu, qps, eps  float64
	measuredBefore bool
}

// measured is a measurement and its report as it goes into trailers.
type measured struct {
	load    Load
	trailer metadata.MD
}

// rateSmoothing is the time in which processor and rates follow a change two thirds of its way: a collection of garbage
// is no news, a second of work is.
const rateSmoothing = time.Second

// NewReporter returns a Reporter, or an error that names the field that is wrong.
func NewReporter(cfg ReporterConfig) (*Reporter, error) {
	preset(&cfg.Interval, 250*time.Millisecond)
	if cfg.Interval < 10*time.Millisecond || cfg.Interval > 10*time.Second {
		return nil, fmt.Errorf("rpc: Interval is %v, it must be between 10ms and 10s", cfg.Interval)
	}
	r := &Reporter{cfg: cfg}
	if cfg.CPU == nil || cfg.Memory == nil {
		u, err := newUsage()
		if err != nil {
			return nil, errors.Join(errors.New("rpc: the load of this process cannot be measured, set CPU and Memory"), err)
		}
		r.usage = u
	}
	r.measure(mono.Now())
	return r, nil
}

// ServerOptions count calls and, unless NoTrailers is set, add a report to the trailer of each answer, in the form of ORCA,
// which gRPC's own weighted_round_robin reads, too. Give them to grpc.NewServer before interceptors of your own, so
// that these count as work.
func (r *Reporter) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(r.unary), grpc.ChainStreamInterceptor(r.stream)}
}

// ownMethod tells calls that say nothing of the service's work.
func ownMethod(method string) bool {
	return method == loadMethod || strings.HasPrefix(method, "/grpc.health.v1.Health/")
}

func (r *Reporter) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if ownMethod(info.FullMethod) {
		return handle(ctx, in)
	}
	began := mono.Now()
	ended := false
	r.inFlight.Add(1)
	defer func() {
		if !ended { // it panics
			r.end(true)
		}
	}()
	out, err := handle(ctx, in)
	ended = true
	now := mono.Now()
	r.end(isFailure(err))
	r.latency.change(func(a float64) float64 {
		return float64(loadaware.Average(a).Learn(now.Sub(began), loadaware.StepServer))
	})
	if !r.cfg.NoTrailers {
		_ = grpc.SetTrailer(ctx, r.current(now).trailer) // it fails when the call is over, and nobody reads it then
	}
	return out, err
}

func (r *Reporter) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	if ownMethod(info.FullMethod) {
		return handle(srv, s)
	}
	r.inFlight.Add(1)
	err = errors.New("panic")
	defer func() { r.end(isFailure(err)) }()
	err = handle(srv, s)
	if !r.cfg.NoTrailers {
		s.SetTrailer(r.current(mono.Now()).trailer)
	}
	return err
}

func (r *Reporter) end(failed bool) {
	r.inFlight.Add(-1)
	r.calls.Add(1)
	if failed {
		r.failed.Add(1)
	}
}

// Load is the latest measurement, with in-flight and latency as of now.
func (r *Reporter) Load() Load {
	l := r.current(mono.Now()).load
	l.InFlight = r.inFlight.Load()
	l.Latency = loadaware.Average(r.latency.load()).Duration()
	return l
}

// ServerMetrics makes a Reporter an orca.ServerMetricsProvider.
func (r *Reporter) ServerMetrics() *orca.ServerMetrics {
	l := r.Load()
	return &orca.ServerMetrics{CPUUtilization: l.CPU, MemUtilization: l.Memory, AppUtilization: -1, QPS: l.QPS, EPS: l.EPS,
		Utilization: map[string]float64{}, RequestCost: map[string]float64{},
		NamedMetrics: map[string]float64{latencyMetric: milliseconds(l.Latency)}}
}

// current measures if it is time to and nobody does so already.
func (r *Reporter) current(now mono.Time) *measured {
	next := r.next.Load()
	if int64(now) >= next && r.next.CompareAndSwap(next, math.MaxInt64) {
		r.measure(now)
	}
	return r.latest.Load()
}

func (r *Reporter) measure(now mono.Time) {
	l := Load{InFlight: r.inFlight.Load(), Latency: loadaware.Average(r.latency.load()).Duration()}
	dt := now.Sub(r.lastAt)
	follow := 1 - math.Exp(-float64(dt)/float64(rateSmoothing))
	cpu, memory := r.cfg.CPU, r.cfg.Memory
	if cpu == nil {
		cpu = func() float64 { return r.usage.cpu(dt) }
	}
	if memory == nil {
		memory = r.usage.memory
	}
	used, calls, failed := share(cpu()), r.calls.Load(), r.failed.Load()
	if r.measuredBefore && dt > 0 {
		r.cpu += (used - r.cpu) * follow
		r.qps += (float64(calls-r.lastCalls)/dt.Seconds() - r.qps) * follow
		r.eps += (float64(failed-r.lastFailed)/dt.Seconds() - r.eps) * follow
	} else if r.cfg.CPU != nil {
		r.cpu = used
	}
	r.measuredBefore, r.lastAt, r.lastCalls, r.lastFailed = true, now, calls, failed
	l.CPU, l.Memory, l.QPS, l.EPS = r.cpu, share(memory()), r.qps, r.eps
	r.latest.Store(&measured{load: l, trailer: metadata.MD{orcaTrailer: {string(encode(&l))}}})
	r.next.Store(int64(now.Add(r.cfg.Interval)))
}

// orcaTrailer is the key under which gRPC's clients look for a report (gRFC A51).
const orcaTrailer = "endpoint-load-metrics-bin"

// encode writes an xds.data.orca.v3.OrcaLoadReport. It is written once for many answers, which orca's own interceptor
// would encode one by one.
func encode(l *Load) (b []byte) {
	double := func(field protowire.Number, v float64) {
		if v != 0 {
			b = protowire.AppendTag(b, field, protowire.Fixed64Type)
			b = protowire.AppendFixed64(b, math.Float64bits(v))
		}
	}
	double(1, l.CPU)
	double(2, l.Memory)
	double(6, l.QPS)
	double(7, l.EPS)
	if l.Latency > 0 { // named_metrics, a map: its entry is a message of key and value
		whole := b
		b = nil
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendString(b, latencyMetric)
		double(2, milliseconds(l.Latency))
		whole = protowire.AppendTag(whole, 8, protowire.BytesType)
		b = protowire.AppendBytes(whole, b)
	}
	return b
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// share makes a number one between 0 and 1; what is none is 0.
func share(x float64) float64 {
	if !(x > 0) {
		return 0
	}
	return min(x, 1)
}
