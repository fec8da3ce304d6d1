package rpc

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/registry"
	"github.com/yumen-io/yumen/policy/loadaware"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

// endpoint is what a connection knows of one server. It is kept by its addresses: pickers come and go, and a server that a
// resolver drops and names again is the same.
type endpoint struct {
	key string // its addresses

	// Of the balancer, under its lock.
	member   *loadaware.Member
	instance *registry.Instance // nil: static
	goneAt   mono.Time          // 0: it is in the resolver's list
	recorded record             // what the history says of it last
	ready    bool               // can be given calls
	settled  bool               // has been ready, or failed to be: before that it is neither healthy nor not

	probed balancer.SubConn // nil: it is not being probed
	stop   context.CancelFunc

	// Of calls and probes, each an atomic word.
	inFlight, streams     atomic.Int64
	calls, failed         atomic.Uint64
	own, ratio, failures  word         // loadaware.Average, the same, and a share
	learntAt, progressAt  atomic.Int64 // mono.Time
	load                  atomic.Uint64
	loadAt                atomic.Int64 // mono.Time; 0: no report yet
	saidLatency           atomic.Int64 // ns; 0: not reported
	probeFailures, noStat atomic.Int32
	probes                atomic.Uint64
	roundTrip             atomic.Int64 // ns, of the last good probe
	saidInFlight          atomic.Int64
}

// word is a float64 that goroutines share.
type word struct{ bits atomic.Uint64 }

func (w *word) load() float64 { return math.Float64frombits(w.bits.Load()) }

func (w *word) change(f func(float64) float64) {
	for {
		old := w.bits.Load()
		next := math.Float64bits(f(math.Float64frombits(old)))
		if next == old || w.bits.CompareAndSwap(old, next) { // a server that never fails is not written to for that
			return
		}
	}
}

// keyOf names an endpoint by its addresses, in whatever order.
func keyOf(e resolver.Endpoint) string {
	if len(e.Addresses) == 1 {
		return e.Addresses[0].Addr
	}
	addresses := make([]string, len(e.Addresses))
	for i, a := range e.Addresses {
		addresses[i] = a.Addr
	}
	slices.Sort(addresses)
	return strings.Join(addresses, ",")
}

// begin counts a call in.
func (e *endpoint) begin(now mono.Time, stream bool) {
	if stream {
		e.streams.Add(1)
		return
	}
	if e.inFlight.Add(1) == 1 {
		e.progressAt.Store(int64(now))
	}
}

// end counts it out and learns from it.
func (e *endpoint) end(began, now mono.Time, stream bool, info *balancer.DoneInfo) {
	if stream {
		e.streams.Add(-1)
	} else {
		e.inFlight.Add(-1)
	}
	if info.Err == nil && !info.BytesSent && !info.BytesReceived {
		return // the connection went before the call came to be
	}
	e.calls.Add(1)
	if r, ok := info.ServerLoad.(loadReport); ok {
		e.heard(now, r)
	}
	if info.BytesReceived || info.Err == nil {
		touch(&e.progressAt, now)
	}
	failed := isFailure(info.Err)
	if failed {
		e.failed.Add(1)
	}
	code := status.Code(info.Err)
	if code != codes.Canceled && (failed || e.failures.bits.Load() != 0) {
		e.failures.change(func(share float64) float64 { return loadaware.LearnFailure(share, failed) })
	}
	if stream {
		return
	}
	took := now.Sub(began)
	if (failed || code == codes.Canceled) && took < loadaware.Average(e.own.load()).Duration() {
		return // how fast something fails says nothing; only that it took longer than usual would be news
	}
	touch(&e.learntAt, now)
	e.own.change(func(a float64) float64 { return float64(loadaware.Average(a).Learn(took, loadaware.StepAlone)) })
	if said := time.Duration(e.saidLatency.Load()); said > 0 {
		e.ratio.change(func(a float64) float64 {
			return float64(loadaware.Average(a).LearnRatio(took, said, loadaware.StepRatio))
		})
	}
}

// touchEvery is how exactly it is known when something was last heard of an endpoint: what looks at it counts in tens of milliseconds. A
// busy endpoint's words are so left alone by most calls, and stay in the caches of all processors.
const touchEvery = time.Millisecond

func touch(at *atomic.Int64, now mono.Time) {
	if now.Sub(mono.Time(at.Load())) >= touchEvery {
		at.Store(int64(now))
	}
}

// isFailure tells whether an error is the server's. Handlers that return plain errors answer with Unknown, so that counts:
// where all servers do it alike no weight changes by it.
func isFailure(err error) bool {
	if err == nil {
		return false
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Unknown, codes.DataLoss,
		codes.Unimplemented:
		return true
	}
	return false
}

// loadReport is what an ORCA report offers, in trailers of calls; its type is xds.data.orca.v3.OrcaLoadReport.
type loadReport interface {
	GetCpuUtilization() float64
	GetApplicationUtilization() float64
	GetMemUtilization() float64
	GetNamedMetrics() map[string]float64
}

// heard takes in a report that came with a call. One without any number says nothing.
func (e *endpoint) heard(now mono.Time, r loadReport) {
	cpu, mem := max(r.GetCpuUtilization(), r.GetApplicationUtilization()), r.GetMemUtilization()
	ms := r.GetNamedMetrics()[latencyMetric]
	if cpu == 0 && mem == 0 && ms == 0 {
		return
	}
	e.told(now, cpu, mem, ms)
}

// told takes in what the server says of itself. What it cannot mean is ignored.
func (e *endpoint) told(now mono.Time, cpu, mem, latencyMS float64) {
	if !(cpu >= 0) || !(mem >= 0) {
		return
	}
	e.load.Store(uint64(math.Float32bits(float32(min(cpu, 1))))<<32 | uint64(math.Float32bits(float32(min(mem, 1)))))
	e.loadAt.Store(int64(now))
	if latencyMS > 0 && latencyMS < float64(time.Hour/time.Millisecond) {
		e.saidLatency.Store(max(int64(latencyMS*1e6), 1))
	}
}

// facts gathers what the core wants to know.
func (e *endpoint) facts(now mono.Time, s *loadaware.Settings) loadaware.Facts {
	f := loadaware.Facts{Base: 100, Ready: e.ready, CPU: -1, Memory: -1, Failures: e.failures.load(),
		ProbeFailures: int(e.probeFailures.Load())}
	if e.instance != nil && e.instance.Weight > 0 {
		f.Base = float64(e.instance.Weight)
	}
	if at := mono.Time(e.loadAt.Load()); at > 0 {
		load := e.load.Load()
		f.CPU, f.Memory = float64(math.Float32frombits(uint32(load>>32))), float64(math.Float32frombits(uint32(load)))
		f.LoadAge = now.Sub(at)
	}
	said := time.Duration(e.saidLatency.Load())
	switch ratio := loadaware.Average(e.ratio.load()); {
	case said > 0 && ratio.Known() && f.LoadAge <= s.LoadMemory:
		f.Latency = ratio.Of(said)
	default:
		f.Latency = loadaware.Average(e.own.load()).Duration()
	}
	if at := mono.Time(e.learntAt.Load()); at > 0 {
		f.LatencyAge = now.Sub(at)
	}
	if e.inFlight.Load() > 0 {
		f.Stalled = now.Sub(mono.Time(e.progressAt.Load()))
	}
	return f
}

// unlearn forgets what calls have told.
func (e *endpoint) unlearn() {
	for _, w := range [...]*word{&e.own, &e.ratio, &e.failures} {
		w.change(func(float64) float64 { return 0 })
	}
	e.learntAt.Store(0)
}

// renew forgets everything: another process serves there now. The caller holds the balancer's lock.
func (e *endpoint) renew() {
	e.unlearn()
	e.saidLatency.Store(0)
	e.loadAt.Store(0)
	e.probeFailures.Store(0)
	e.noStat.Store(0)
	e.member.Chill()
}

func isStream(ctx context.Context) bool { return ctx != nil && ctx.Value(streamKey{}) != nil }
