package rpc

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/orca"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestLimitsOfControlGroups(t *testing.T) {
	f := func(self string, files map[string]string, processors, memory float64) {
		t.Helper()
		root := t.TempDir()
		for name, text := range files {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		list := filepath.Join(root, "self")
		if err := os.WriteFile(list, []byte(self), 0o644); err != nil {
			t.Fatal(err)
		}
		p, m := groupLimits(list, root)
		if p != processors || m != memory {
			t.Errorf("%q: %v processors and %v bytes, want %v and %v", self, p, m, processors, memory)
		}
	}
	f("", nil, 0, 0)
	f("0::/\n", map[string]string{"cpu.max": "max 100000\n", "memory.max": "max\n"}, 0, 0)
	f("0::/\n", map[string]string{"cpu.max": "150000 100000\n", "memory.max": "1073741824\n"}, 1.5, 1<<30)
	f("0::/a/b\n", map[string]string{"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "cpu.max": "200000 100000"}, 0.5, 0)
	f("0::/a/b\n", map[string]string{"a/b/memory.max": "2000", "a/memory.max": "1000"}, 0, 1000)
	f("4:memory:/x\n3:cpu,cpuacct:/x\n", map[string]string{"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000",
		"memory/x/memory.limit_in_bytes": "9223372036854771712"}, 0, 0)
	f("4:memory:/x\n3:cpu,cpuacct:/x\n", map[string]string{"cpu/x/cpu.cfs_quota_us": "250000", "cpu/x/cpu.cfs_period_us": "100000",
		"memory/x/memory.limit_in_bytes": "4096"}, 2.5, 4096)
	f("nonsense\n0::/\n", map[string]string{"cpu.max": "a b c"}, 0, 0)
	f("0::/\n", map[string]string{"cpu.max": "5 0"}, 0, 0)
}

func TestAProcessMeasuresItself(t *testing.T) {
	r, err := NewReporter(ReporterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	l := r.Load()
	if l.Memory <= 0 || l.Memory >= 1 || l.CPU < 0 || l.CPU > 1 {
		t.Errorf("%+v", l)
	}
	x := 1.0
	until(t, "work shows", func() bool {
		for range 1_000_000 {
			x = math.Sqrt(x + 1)
		}
		return r.Load().CPU > 0.01
	})
}

var _ orca.ServerMetricsProvider = (*Reporter)(nil)

// A server may leave trailers to gRPC's own option, with what the application records beside.
func TestAServerWithOrcasOwnTrailers(t *testing.T) {
	s := &server{cfg: ReporterConfig{CPU: func() float64 { return 0.7 }, Memory: func() float64 { return 0.2 }, NoTrailers: true}}
	start(t, s)
	other := &server{name: "orca", bare: true}
	other.extra = []grpc.ServerOption{orca.CallMetricsServerOption(s.load)}
	record := func(ctx context.Context) error {
		orca.CallMetricsRecorderFromContext(ctx).SetRequestCost("rows", 3)
		return nil
	}
	other.wait.Store(&record)
	start(t, other)
	c := newClient(t, Config{ProbeInterval: -1})
	conn := dial(t, c, static(other))
	if _, err := work(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if e := endpointOf(c, other); math.Abs(e.CPU-0.7) > 1e-6 || math.Abs(e.Memory-0.2) > 1e-6 {
		t.Errorf("%+v", e)
	}
}

func TestAPanicInAHandlerIsCountedOut(t *testing.T) {
	r, err := NewReporter(ReporterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = r.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: workMethod}, func(context.Context, any) (any, error) { panic("mistake") })
	}()
	if l := r.Load(); l.InFlight != 0 || r.failed.Load() != 1 {
		t.Errorf("%+v, %d failed", l, r.failed.Load())
	}
}

func TestAProbeGetsWhatItIsPromised(t *testing.T) {
	s := &server{cfg: ReporterConfig{CPU: func() float64 { return 0.5 }, Memory: func() float64 { return 2 }}}
	start(t, s)
	c := newClient(t, Config{})
	conn := dial(t, c, static(s))
	if _, err := work(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	out := &structpb.Struct{}
	if err := conn.Invoke(t.Context(), "/yumen.kit.rpc.v1.Stats/Load", &emptypb.Empty{}, out); err != nil {
		t.Fatal(err)
	}
	if cpu, mem := out.Fields["cpu"].GetNumberValue(), out.Fields["memory"].GetNumberValue(); cpu != 0.5 || mem != 1 {
		t.Errorf("cpu %v, memory %v", cpu, mem)
	}
	if out.Fields["latency_ms"].GetNumberValue() <= 0 || out.Fields["in_flight"].GetNumberValue() != 0 {
		t.Errorf("%v", out)
	}
}

// What a server says is any number, and none may break a weight.
func TestReportsThatCannotBe(t *testing.T) {
	e := &endpoint{}
	for _, x := range []float64{math.NaN(), -1, math.Inf(-1)} {
		e.told(5, x, 0.5, 1)
		e.told(5, 0.5, x, 1)
	}
	if e.loadAt.Load() != 0 {
		t.Error("it is believed")
	}
	e.told(5, math.Inf(1), 7, math.NaN())
	f := e.facts(5, &newClient(t, Config{}).settings)
	if f.CPU != 1 || f.Memory != 1 || f.Latency != 0 || e.saidLatency.Load() != 0 {
		t.Errorf("%+v", f)
	}
	e.told(5, 0, 0, math.Inf(1))
	if e.saidLatency.Load() != 0 {
		t.Error("an infinite latency is believed")
	}
}
