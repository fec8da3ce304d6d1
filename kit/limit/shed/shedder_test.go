package shed_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	servers "github.com/yumen-io/yumen/kit/internal/servers/health"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/limit/shed"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is one that tests put under pressure.
type process struct {
	wait   atomic.Int64
	memory atomic.Uint64
	ns     atomic.Int64
	asked  atomic.Int32
}

func (p *process) measure() (time.Duration, float64) {
	p.asked.Add(1)
	return time.Duration(p.wait.Load()), math.Float64frombits(p.memory.Load())
}

func (p *process) now() time.Time { return time.Unix(1_800_000_000, p.ns.Load()) }

// is has things stand so from a second later on.
func (p *process) is(wait time.Duration, memory float64) {
	p.wait.Store(int64(wait))
	p.memory.Store(math.Float64bits(memory))
	p.ns.Add(int64(time.Second))
}

func must(t testing.TB, p *process, cfg shed.Config) *shed.Shedder {
	t.Helper()
	if p != nil {
		cfg.Measure, cfg.Clock = p.measure, p.now
	}
	s, err := shed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// given is which share of a priority's requests is given up, in percent.
func given(s *shed.Shedder, p limit.Priority) (percent int) {
	const n = 2000
	for range n {
		if s.Allow(p) != nil {
			percent++
		}
	}
	return int(math.Round(float64(percent) * 100 / n))
}

func TestTheLessImportantGoFirst(t *testing.T) {
	for _, c := range []struct {
		situation                   string
		wait                        time.Duration
		memory                      float64
		low, normal, high, critical int
	}{
		{"nothing to do", 0, 0, 0, 0, 0, 0},
		{"below both", 10 * time.Millisecond, 0.85, 0, 0, 0, 0},
		{"an eighth by waits", 15 * time.Millisecond, 0.5, 50, 0, 0, 0},
		{"an eighth by memory", time.Millisecond, 0.8625, 50, 0, 0, 0},
		{"half", 30 * time.Millisecond, 0, 100, 100, 0, 0},
		{"five eighths", 35 * time.Millisecond, 0.9, 100, 100, 50, 0},
		{"full", time.Second, 0, 100, 100, 100, 100},
		{"full by memory", 0, 1.2, 100, 100, 100, 100},
	} {
		p := &process{}
		s := must(t, p, shed.Config{})
		p.is(c.wait, c.memory)
		for priority, want := range map[limit.Priority]int{limit.Low: c.low, limit.Normal: c.normal, limit.High: c.high, limit.Critical: c.critical,
			limit.Low - 1: c.low, limit.Critical + 1: c.critical} {
			if got := given(s, priority); got < want-5 || got > want+5 || (want == 0 || want == 100) && got != want {
				t.Errorf("%s: %d%% of %s are given up, want %d%%", c.situation, got, priority, want)
			}
		}
		if n := p.asked.Load(); n != 1 {
			t.Errorf("%s: measured %d times in one moment", c.situation, n)
		}
	}
}

func TestPressureRisesAtOnceAndFallsSlowly(t *testing.T) {
	p := &process{}
	s := must(t, p, shed.Config{Recovery: 4 * time.Second})
	p.is(time.Second, 0)
	s.Allow(limit.Normal)
	for _, want := range []float64{1, 0.75, 0.5, 0.25, 0, 0} {
		if got := s.Stats().Pressure; math.Abs(got-want) > 1e-9 {
			t.Errorf("the pressure is %v, want %v", got, want)
		}
		p.is(0, 0)
		s.Allow(limit.Normal)
	}
}

func TestSettingsThatMeanNothing(t *testing.T) {
	for want, cfg := range map[string]shed.Config{
		"WaitFrom: -1ns":             {WaitFrom: -1},
		"WaitFrom: 1µs":              {WaitFrom: time.Microsecond},
		"WaitTo: 5ms is not above":   {WaitTo: 5 * time.Millisecond},
		"WaitTo: 1m0s":               {WaitTo: time.Minute},
		"MemoryFrom: 1.5":            {MemoryFrom: 1.5, MemoryTo: 2},
		"MemoryFrom: NaN":            {MemoryFrom: math.NaN()},
		"MemoryTo: 0.5 is not above": {MemoryTo: 0.5},
		"MemoryTo: NaN":              {MemoryTo: math.NaN()},
		"Recovery: -1ns":             {Recovery: -1},
		"Mode: 7":                    {Mode: 7},
	} {
		if _, err := shed.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

func TestShadowGivesNothingUp(t *testing.T) {
	p := &process{}
	var would int
	s := must(t, p, shed.Config{Mode: limit.Shadow, OnDecision: func(d shed.Decision) {
		if !d.Allowed {
			would++
		}
	}})
	p.is(time.Second, 0)
	if n := given(s, limit.Critical); n != 0 || would != 2000 {
		t.Errorf("%d%% are given up, %d would have been", n, would)
	}
	if err := s.Set(shed.Config{}); err != nil {
		t.Fatal(err)
	}
	if n := given(s, limit.Critical); n != 100 {
		t.Errorf("%d%% are given up once it is in force", n)
	}
	if _, refused := s.Of(limit.Critical); refused != 4000 || s.Stats().Refused != 4000 {
		t.Errorf("%+v", s.Stats())
	}
	if err := s.Set(shed.Config{Mode: 7}); err == nil {
		t.Error("what means nothing is set")
	}
}

// Whatever this machine does meanwhile, the numbers are numbers.
func TestThisProcessIsMeasured(t *testing.T) {
	s := must(t, nil, shed.Config{Mode: limit.Shadow})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				s.Allow(limit.Normal)
			}
		})
	}
	all.Wait()
	if st := s.Stats(); !(st.Pressure >= 0 && st.Pressure <= 1) || !(st.Memory >= 0) || st.Wait < 0 || st.Allowed+st.Refused != 8000 {
		t.Errorf("%+v", st)
	}
}

func TestAnswersOfAServerThatHasTooMuchToDo(t *testing.T) {
	p := &process{}
	s := must(t, p, shed.Config{})
	byHeader := func(r *http.Request) limit.Priority {
		priority, _ := limit.ParsePriority(r.Header.Get("X-Priority"))
		return priority
	}
	server := httptest.NewServer(s.Middleware(byHeader)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })))
	defer server.Close()
	p.is(30*time.Millisecond, 0) // half
	for priority, want := range map[string]string{"": "503 4", "low": "503 4", "high": "200 ", "critical": "200 "} {
		r, _ := http.NewRequest("GET", server.URL, nil)
		r.Header.Set("X-Priority", priority)
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := resp.Status[:4] + resp.Header.Get("Retry-After"); got != want {
			t.Errorf("%s: %s, want %s", priority, got, want)
		}
		if resp.StatusCode == 503 && string(text) != "The service has more to do than it can.\nreason: overloaded\n" {
			t.Errorf("%s: %s", priority, text)
		}
	}
	err := s.Allow(limit.Low)
	var e *shed.Error
	if !errors.Is(err, limit.ErrRefused) || !errors.As(err, &e) || !e.NotSent() || !strings.Contains(err.Error(), "pressure 50%, 100% of low") {
		t.Errorf("%v", err)
	}
}

func TestCallsOfAServerThatHasTooMuchToDo(t *testing.T) {
	p := &process{}
	s := must(t, p, shed.Config{})
	byMethod := func(_ context.Context, method string) limit.Priority {
		if strings.HasSuffix(method, "/Watch") {
			return limit.Critical
		}
		return limit.Normal
	}
	for _, priority := range []shed.PriorityFunc{byMethod, nil} {
		c := servers.Dial(t, nil, []grpc.ServerOption{grpc.UnaryInterceptor(s.UnaryServer(priority)), grpc.StreamInterceptor(s.StreamServer(priority))})
		p.is(30*time.Millisecond, 0)
		var md metadata.MD
		_, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.Trailer(&md))
		st := status.Convert(err)
		if st.Code() != codes.Unavailable || !strings.HasSuffix(st.Message(), "(overloaded)") || strings.Join(md.Get("grpc-retry-pushback-ms"), "") != "3500" ||
			len(st.Details()) != 1 || st.Details()[0].(*errdetails.RetryInfo).RetryDelay.AsDuration() != 3500*time.Millisecond {
			t.Errorf("%v %v", err, md)
		}
		stream, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		if want := priority == nil; (status.Code(err) == codes.Unavailable) != want {
			t.Errorf("a stream: %v", err)
		}
	}
}

// Run with
//
//	go test ./kit/limit/shed -run - -bench . -benchmem -cpu 1,2
func BenchmarkAllow(b *testing.B) {
	s := must(b, nil, shed.Config{Mode: limit.Shadow})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Allow(limit.Normal)
		}
	})
}
