package observe

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bench is a process whose clock and CPU time the test moves.
type bench struct {
	p    *Profiler
	at   time.Time
	used time.Duration
	fail error
}

func newBench(t *testing.T, cfg ProfilerConfig) *bench {
	t.Helper()
	b := &bench{at: time.Unix(1_800_000_000, 0)}
	cfg.Dir = filepath.Join(t.TempDir(), "profiles")
	cfg.Clock = func() time.Time { return b.at }
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.used = func() time.Duration { return b.used }
	cfg.cpus = 2
	cfg.start = func(_ context.Context, f *os.File, d time.Duration) error {
		b.at = b.at.Add(d)
		if _, err := f.Write(make([]byte, 1000)); err != nil {
			return err
		}
		return b.fail
	}
	var err error
	b.p, err = NewProfiler(cfg)
	must(t, err)
	return b
}

// pass lets time go by with a part of the two CPUs in use.
func (b *bench) pass(d time.Duration, cpu float64) {
	b.at = b.at.Add(d)
	b.used += time.Duration(cpu * 2 * float64(d))
}

func (b *bench) files(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(b.p.cfg.Dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestASpikeOfTheCPUIsProfiledOncePerInterval(t *testing.T) {
	b := newBench(t, ProfilerConfig{FilesMax: 4})
	b.p.Check(t.Context())
	story := []struct {
		d    time.Duration
		cpu  float64
		want bool
	}{
		{10 * time.Second, 0.79, false}, {10 * time.Second, 0.81, true}, {10 * time.Second, 0.9, false}, {9 * time.Minute, 0.1, false},
		{time.Minute, 0.9, true}, {time.Hour, 0.9, true},
	}
	for i, s := range story {
		b.pass(s.d, s.cpu)
		if got := b.p.Check(t.Context()); got != s.want {
			t.Fatalf("step %d: %v", i, got)
		}
	}
	names := b.files(t)
	if len(names) != 4 || !strings.HasSuffix(names[0], "-cpu.cpu.pprof") || !strings.HasSuffix(names[1], "-cpu.heap.pprof") {
		t.Fatal(names)
	}
	if s := b.p.Stats(); s.Profiles != 3 || s.Held != 1 || s.Failures != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestASpikeOfLatencyIsProfiled(t *testing.T) {
	b := newBench(t, ProfilerConfig{LatencyAbove: 100 * time.Millisecond, NoCPU: true})
	for range 99 {
		b.p.Observe(time.Second)
	}
	if b.p.Check(t.Context()) {
		t.Fatal("99 requests are too few")
	}
	for range 990 {
		b.p.Observe(time.Millisecond)
	}
	for range 9 {
		b.p.Observe(time.Second)
	}
	if b.p.Check(t.Context()) {
		t.Fatalf("nine of a thousand: %+v", b.p.Stats())
	}
	for range 980 {
		b.p.Observe(time.Millisecond)
	}
	for range 20 {
		b.p.Observe(time.Second)
	}
	if !b.p.Check(t.Context()) {
		t.Fatalf("%+v", b.p.Stats())
	}
	if got := b.p.Stats().Latency; got < time.Second || got > 1125*time.Millisecond {
		t.Fatal(got)
	}
}

func TestBucketsHoldTheirLatencies(t *testing.T) {
	last := -1
	for us := int64(0); us < 1<<40; us += 1 + us/17 {
		d := time.Duration(us) * time.Microsecond
		n := bucketOf(d)
		if n < last || upTo(n) < d || us > 8 && upTo(n) > d+d/7 {
			t.Fatalf("%s is in bucket %d, which goes up to %s", d, n, upTo(n))
		}
		last = n
	}
	if n := bucketOf(1<<63 - 1); n >= bucketCount {
		t.Fatal(n)
	}
	bucketOf(-1)
}

func TestTheDirectoryKeepsItsBounds(t *testing.T) {
	b := newBench(t, ProfilerConfig{BytesMax: 1 << 20, FilesMax: 1000})
	big := filepath.Join(b.p.cfg.Dir, "20000101T000000.000-cpu.cpu.pprof")
	must(t, os.WriteFile(big, make([]byte, 1<<20), 0o600))
	foreign := filepath.Join(b.p.cfg.Dir, "notes.txt")
	must(t, os.WriteFile(foreign, nil, 0o600))
	must(t, os.WriteFile(filepath.Join(b.p.cfg.Dir, "unfinished-1"), nil, 0o600))
	b.p.Check(t.Context())
	b.pass(10*time.Second, 1)
	if !b.p.Check(t.Context()) {
		t.Fatal("no profile")
	}
	if names := b.files(t); len(names) != 3 || names[2] != "notes.txt" {
		t.Fatal(names)
	}
}

func TestAProfileThatFailsLeavesNothing(t *testing.T) {
	b := newBench(t, ProfilerConfig{})
	b.fail = errors.New("disk full")
	b.p.Check(t.Context())
	b.pass(10*time.Second, 1)
	if b.p.Check(t.Context()) {
		t.Fatal("it did not fail")
	}
	if names := b.files(t); len(names) != 1 || !strings.HasSuffix(names[0], ".heap.pprof") {
		t.Fatal(names)
	}
	if s := b.p.Stats(); s.Failures != 1 {
		t.Fatalf("%+v", s)
	}
}

// The real thing: this process, a CPU profile of 100 ms.
func TestARealProfile(t *testing.T) {
	dir := t.TempDir()
	p, err := NewProfiler(ProfilerConfig{Dir: dir, Duration: 100 * time.Millisecond, CPUAbove: 1e-9, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Run(ctx) // the first look
	for n := 0; n < 1_000_000 && cpuUsed() == p.lastUsed; n++ {
	}
	if !p.Check(t.Context()) {
		t.Fatalf("%+v", p.Stats())
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pprof"))
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		if len(text) < 20 || text[0] != 0x1f || text[1] != 0x8b {
			t.Errorf("%s has %d bytes and is no profile", f, len(text))
		}
	}
	if len(files) != 2 {
		t.Fatal(files)
	}
}

func TestQuotas(t *testing.T) {
	for text, want := range map[string]float64{"max 100000\n": 8, "150000 100000\n": 1.5, "": 8, "0 100000": 8, "x y": 8, "1600000 100000": 8} {
		if got := quotaOf(text, 8); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestTheAdminPort(t *testing.T) {
	m, err := NewMetrics(MetricsConfig{})
	must(t, err)
	h := Admin(m)
	for path, want := range map[string]string{
		"/metrics": "go_goroutines", "/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "TestTheAdminPort", "/debug/pprof/heap?gc=1": "\x1f\x8b",
		"/debug/pprof/profile?seconds=0.01": "\x1f\x8b", "/debug/pprof/trace?seconds=0.01": "go 1.",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if body, _ := io.ReadAll(w.Body); w.Code != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d, %.200q", path, w.Code, body)
		}
	}
	for path, want := range map[string]int{"/debug/pprof/nothing": 404, "/debug/pprof/profile?seconds=1e9": 400, "/debug/pprof/profile?seconds=x": 400, "/debug": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	// Nothing of it is where the world may look.
	if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", "/debug/pprof/", nil)); pattern != "" {
		t.Error(pattern)
	}
}
