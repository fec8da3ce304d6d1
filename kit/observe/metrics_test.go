package observe

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(w.Body)
	must(t, err)
	return string(text)
}

// A stranger sends a thousand paths, and somebody has made a label of the path.
func TestALabelThatGrowsIsCutOff(t *testing.T) {
	m, err := NewMetrics(MetricsConfig{SeriesMax: 10, NoRuntime: true})
	must(t, err)
	v, err := m.Counter("requests_total", "Requests.", "path", "status")
	must(t, err)
	for i := range 1000 {
		v.With(fmt.Sprint("/", i), "200").Inc()
	}
	v.With("/3", "200").Inc()
	v.With(strings.Repeat("x", 1000), "200").Inc()
	v.With("\xff", "200").Inc()
	text := scrape(t, m)
	if n := strings.Count(text, "\nrequests_total{"); n != 11 {
		t.Fatalf("%d series:\n%s", n, text)
	}
	for _, want := range []string{`requests_total{path="/3",status="200"} 2`, `requests_total{path="other",status="other"} 992`, `observe_series_refused_total{metric="requests_total"} 992`} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	path := "/3"
	if n := testing.AllocsPerRun(100, func() { v.With(path, "200").Inc() }); n != 0 {
		t.Errorf("%v allocations for a series that is there", n)
	}
	if n := testing.AllocsPerRun(100, func() { v.With("/999", "200").Inc() }); n != 0 {
		t.Errorf("%v allocations for one that is refused", n)
	}
}

func TestMetricsThatCannotBe(t *testing.T) {
	if _, err := NewMetrics(MetricsConfig{SeriesMax: -1}); err == nil {
		t.Error("SeriesMax")
	}
	m, err := NewMetrics(MetricsConfig{})
	must(t, err)
	_, err = m.Histogram("a_seconds", "A.", nil, "b")
	must(t, err)
	for name, labels := range map[string][]string{"a_seconds": {"b"}, "many": {"a", "b", "c", "d", "e", "f", "g"}, "bad": {"a-b\xff"}} {
		if _, err := m.Gauge(name, "X.", labels...); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	must(t, m.GaugeFunc("waiting", "W.", func() float64 { return 3 }))
	must(t, m.CounterFunc("done_total", "D.", func() float64 { return 4 }))
	if text := scrape(t, m); !strings.Contains(text, "\nwaiting 3\n") || !strings.Contains(text, "\ndone_total 4\n") || !strings.Contains(text, "go_goroutines") {
		t.Error(text)
	}
}

func BenchmarkVec(b *testing.B) {
	m, err := NewMetrics(MetricsConfig{})
	must(b, err)
	v, err := m.Counter("requests_total", "Requests.", "method", "route", "status")
	must(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			v.With("GET", "/orders/{id}", "200").Inc()
		}
	})
}
