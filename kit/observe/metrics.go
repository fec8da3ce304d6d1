package observe

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsConfig is how Metrics are made.
type MetricsConfig struct {
	// SeriesMax is how many series a metric may have, beyond which what is new counts as "other": 1 to 10,000. Default: 1,000.
	SeriesMax int
	// NoRuntime leaves out the metrics of the Go runtime and of the process.
	NoRuntime bool
}

// Bounds of a metric, each with its reason.
const (
	labelsMax     = 6   // the key of a series is an array of so many
	labelBytesMax = 200 // a longer value is somebody's input, and nobody reads it in a graph
	other         = "other"
)

// Metrics is a Prometheus registry whose metrics cannot grow without bound: a path or a user that was taken for a label
// costs SeriesMax series and no more, and is seen in observe_series_refused_total. All methods may be called by any
// goroutine.
type Metrics struct {
	registry *prometheus.Registry
	max      int
	refused  *prometheus.CounterVec
}

// NewMetrics makes Metrics.
func NewMetrics(cfg MetricsConfig) (*Metrics, error) {
	if cfg.SeriesMax == 0 {
		cfg.SeriesMax = 1000
	}
	if cfg.SeriesMax < 1 || cfg.SeriesMax > 10_000 {
		return nil, fmt.Errorf("observe: metrics: SeriesMax is %d and must be 1 to 10000", cfg.SeriesMax)
	}
	m := &Metrics{registry: prometheus.NewRegistry(), max: cfg.SeriesMax, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "observe_series_refused_total", Help: "Observations that were counted as \"other\", because their metric has all the series it may have.",
	}, []string{"metric"})}
	m.registry.MustRegister(m.refused)
	if !cfg.NoRuntime {
		m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return m, nil
}

// Registry is the registry itself, for collectors that bound themselves.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// CounterFunc exports a number that only grows and that something else keeps, as the Stats of the kit's packages do:
//
//	err := metrics.CounterFunc("shard_redirected_total", "Writes that followed a slot.", func() float64 { return float64(r.Stats().Redirected) })
//
// f is called at each scrape, perhaps by several goroutines. The error is the registry's, for a name that is taken or bad.
func (m *Metrics) CounterFunc(name, help string, f func() float64) error {
	return m.registry.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
}

// GaugeFunc is CounterFunc for a number that goes up and down.
func (m *Metrics) GaugeFunc(name, help string, f func() float64) error {
	return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
}

// Counter makes a counter with up to 6 labels.
func (m *Metrics) Counter(name, help string, labels ...string) (*Vec[prometheus.Counter], error) {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	return newVec(m, name, labels, v, v.GetMetricWithLabelValues)
}

// Gauge makes a gauge with up to 6 labels.
func (m *Metrics) Gauge(name, help string, labels ...string) (*Vec[prometheus.Gauge], error) {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	return newVec(m, name, labels, v, v.GetMetricWithLabelValues)
}

// Histogram makes a histogram with up to 6 labels. Without buckets it has Prometheus's default ones, in seconds, and for
// servers that ask for them, native ones.
func (m *Metrics) Histogram(name, help string, buckets []float64, labels ...string) (*Vec[prometheus.Observer], error) {
	if buckets == nil {
		buckets = prometheus.DefBuckets
	}
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	}, labels)
	return newVec(m, name, labels, v, v.GetMetricWithLabelValues)
}

type labelValues [labelsMax]string

// Vec is a metric with labels.
type Vec[T any] struct {
	labels  int
	max     int
	make    func(...string) (T, error)
	refused prometheus.Counter
	other   func() T // made when it is first wanted

	series atomic.Pointer[map[labelValues]T] // never changed, only replaced
	adding sync.Mutex
}

func newVec[T any](m *Metrics, name string, labels []string, c prometheus.Collector, with func(...string) (T, error)) (*Vec[T], error) {
	if len(labels) > labelsMax {
		return nil, fmt.Errorf("observe: metric %s has %d labels and may have %d", name, len(labels), labelsMax)
	}
	if err := m.registry.Register(c); err != nil {
		return nil, fmt.Errorf("observe: metric %s: %w", name, err)
	}
	v := &Vec[T]{labels: len(labels), max: m.max, make: with, refused: m.refused.WithLabelValues(name)}
	v.series.Store(&map[labelValues]T{})
	v.other = sync.OnceValue(func() T {
		series, _ := with(slices.Repeat([]string{other}, len(labels))...) // fails for the wrong number of values alone
		return series
	})
	return v, nil
}

// With is the series of some values, in the order of the labels, or the one in which all values are "other": where the
// metric has all the series it may have, and for values that are too long or no UTF-8. It takes no lock and allocates
// nothing for a series that is there. It panics if there are more or fewer values than labels.
func (v *Vec[T]) With(values ...string) T {
	if len(values) != v.labels {
		panic(errors.New("observe: a metric was given another number of values than it has labels"))
	}
	var key labelValues
	copy(key[:], values)
	if s, ok := (*v.series.Load())[key]; ok {
		return s
	}
	return v.add(key)
}

// add finds what is not there. Its key stays on the stack unless a series is made.
func (v *Vec[T]) add(key labelValues) T {
	for _, s := range key[:v.labels] {
		if len(s) > labelBytesMax || !utf8.ValidString(s) {
			v.refused.Inc()
			return v.other()
		}
	}
	if len(*v.series.Load()) >= v.max { // before the lock: it stays true
		v.refused.Inc()
		return v.other()
	}
	v.adding.Lock()
	defer v.adding.Unlock()
	old := *v.series.Load()
	if s, ok := old[key]; ok {
		return s
	}
	if len(old) >= v.max {
		v.refused.Inc()
		return v.other()
	}
	return v.grow(old, key)
}

func (v *Vec[T]) grow(old map[labelValues]T, key labelValues) T {
	for i := range key[:v.labels] {
		key[i] = strings.Clone(key[i]) // may be a piece of something large
	}
	s, err := v.make(key[:v.labels]...)
	if err != nil {
		v.refused.Inc()
		return v.other()
	}
	grown := maps.Clone(old)
	grown[key] = s
	v.series.Store(&grown)
	return s
}
