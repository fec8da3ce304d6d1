// Package metrics counts what the data plane does and shows it to Prometheus, without the data plane ever waiting.
//
// Every loop has counters of its own, on cache lines of its own: a Shard for the loop itself, a Route and a Cluster for
// each name a configuration gives. The loop adds to them; a scrape loads all of them and adds up. A scrape posts
// nothing to a loop and takes no lock that a loop takes; all it costs a loop is fetching a line back that was read.
//
//	loop 0 --add--> Shard 0, Route[0], Cluster[0] --+
//	loop 1 --add--> Shard 1, Route[1], Cluster[1] --+--load--> scrape --> text
//	others --add--> Control, Route[n], Cluster[n] --+
//
// The package owns the names, types, labels and meaning of all families (family.go, and docs/reference/metrics.md made
// from it) and the limits that keep the number of series bounded. It deliberately has no global registry, no families
// made up at run time and no label whose values a client can choose. It does not know what a reason or a refusal is:
// the words come in Config.
//
// Native (sparse) histograms are not offered: the exposition of const histograms would need exponential buckets beside
// the classic ones, at twice the adds per request.
package metrics

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Labels that no route or cluster can take for itself.
const (
	labelOther = "_other" // everything beyond the limit
	labelNone  = "_none"  // requests that no route matched
)

// Registry holds all counters of a process. Its methods are for the control plane and may be called from any
// goroutine; the loops use the shards and views it hands out.
type Registry struct {
	// Frozen after New.
	config        Config
	loops         []*Shard
	control       *Shard
	noRoute       *series[Route]   // labelNone
	otherRoutes   *series[Route]   // labelOther
	otherClusters *series[Cluster] // labelOther
	build         []string         // label values of yumen_build_info
	descs         [familyCount]*prometheus.Desc
	page          http.Handler

	// Published by the control plane, loaded by the scrape.
	revision   atomic.Uint64
	lastReload atomic.Int64 // unix nanoseconds, 0 before the first
	reloads    [reloadResults]atomic.Uint64
	sources    atomic.Pointer[Sources]

	// Which series exist. Views change it, a scrape copies the lists; no loop comes here.
	mu struct {
		sync.Mutex
		routes   seriesSet[Route]
		clusters seriesSet[Cluster]
		views    []*View // live ones, oldest first
	}
}

// New returns a registry with a shard for each loop and no routes.
func New(config Config) (*Registry, error) {
	c, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	shards := c.Loops + 1
	r := &Registry{
		config:  c,
		control: newShard(&c),
		build:   []string{c.Version, c.Commit, runtime.Version()},
	}
	r.mu.routes = seriesSet[Route]{limit: c.RouteLimit, shards: shards, live: map[string]*series[Route]{}}
	r.mu.clusters = seriesSet[Cluster]{limit: c.ClusterLimit, shards: shards, live: map[string]*series[Cluster]{}}
	for range c.Loops {
		r.loops = append(r.loops, newShard(&c))
	}
	r.noRoute = r.mu.routes.add(labelNone)
	r.otherRoutes = r.mu.routes.add(labelOther)
	r.otherClusters = r.mu.clusters.add(labelOther)
	r.sources.Store(&Sources{})
	for i, f := range families {
		r.descs[i] = prometheus.NewDesc(f.name, f.help, f.labels, nil)
	}

	reg := prometheus.NewRegistry()
	for _, collector := range []prometheus.Collector{
		(*collector)(r),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(collector); err != nil {
			return nil, fmt.Errorf("metrics: registering a collector: %w", err)
		}
	}
	r.page = promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		// One bad series must not hide all others; it is counted in promhttp_metric_handler_errors_total.
		ErrorHandling: promhttp.ContinueOnError,
		Registry:      reg,
		// A scraper that gave up leaves its scrape running: two may overlap, a third is told 503.
		MaxRequestsInFlight: 2,
		// Compressing a page costs as much as making it, on the processors that the loops use.
		DisableCompression: true,
	})
	return r, nil
}

// Shard returns the counters of a loop, 0 <= loop < Config.Loops.
func (r *Registry) Shard(loop int) *Shard { return r.loops[loop] }

// Control returns the shard for everything that is not a loop. Any number of goroutines may add to it. Views know it as
// the loop Config.Loops.
func (r *Registry) Control() *Shard { return r.control }

// Handler serves the metrics in the text or OpenMetrics format.
func (r *Registry) Handler() http.Handler { return r.page }

// ReloadResult is how an attempt to change the configuration ended.
type ReloadResult int

// The results of a reload.
const (
	ReloadApplied    ReloadResult = iota // the new configuration runs
	ReloadRefused                        // it did not validate; the old one runs on
	ReloadFailed                         // it was valid but could not be put into effect; the old one runs on
	ReloadRolledBack                     // an earlier revision was put back

	reloadResults = iota
)

// reloadWords are the values of the label result.
var reloadWords = [reloadResults]string{"applied", "refused", "failed", "rolled_back"}

// Reloaded counts an attempt to change the configuration. revision is the one that runs now, at is the wall time.
func (r *Registry) Reloaded(result ReloadResult, revision uint64, at time.Time) {
	r.revision.Store(revision)
	r.lastReload.Store(at.UnixNano())
	r.reloads[result].Add(1)
}

// Endpoint is what a scrape shows of one endpoint.
type Endpoint struct {
	Cluster string
	Address string
	Healthy bool
}

// AccessLog is what became of the access log's records, each number since the start.
type AccessLog struct {
	Written uint64 // handed to the operating system
	Dropped uint64 // not taken because a ring was full
	Lost    uint64 // taken, and then not written because the sink failed
	Skipped uint64 // left out by sampling
}

// Loop is what a loop counts by itself, each number since its start.
type Loop struct {
	StaleEvents        uint64 // events dropped because their socket's slot had gone to another
	MailboxWakes       uint64 // turns begun because another goroutine posted
	AcceptsExhausted   uint64 // accepts that found no descriptor
	AcceptsRefused     uint64 // connections closed at once for want of descriptors
	AcceptPauses       uint64 // times it stopped accepting for a while
	ConnectionsMoved   uint64 // connections handed to another loop
	ConnectionsDelayed uint64 // connections that had to wait for what others from their address wasted
	ConnectionsStarved uint64 // connections that had to wait for memory
}

// Handshakes are TLS handshakes of one side since the start, each counted once, and now.
type Handshakes struct {
	Done       uint64 // in full
	Resumed    uint64 // went on with an earlier session
	Failed     uint64
	Refused    uint64 // found the queue full
	Displaced  uint64 // gave their place to others
	Challenges uint64 // answered an ACME authority
	Running    int
	Waiting    int
}

// Certificate is what a scrape shows of a certificate in use. One of Path and Name is given.
type Certificate struct {
	Path string // of its file
	Name string // the first, of one had by ACME
	Ends time.Time
}

// Discovery is how it stands with a service in etcd.
type Discovery struct {
	Cluster, Service, State string
	For                     time.Duration
	Endpoints, Missing      int
}

// Guard is what a scrape shows of one guard.
type Guard struct {
	Name, Kind, Mode string
	Outcomes         func(yield func(outcome string, n uint64))
	Numbers          func(yield func(number string, value float64)) // nil: none
}

// Split is what a scrape shows of one split of requests among variants.
type Split struct {
	Name    string
	Each    func(yield func(variant, status string, n uint64))
	Weights func(yield func(variant string, share float64))
}

// Sources are asked on every scrape, on the scraper's goroutine. A nil source shows nothing.
type Sources struct {
	// Endpoints yields every endpoint of every live cluster, each once. It may take its owner's lock, not a loop's.
	Endpoints func(yield func(Endpoint) bool)
	// Loop returns the numbers of a loop, 0 <= loop < Config.Loops.
	Loop func(loop int) Loop
	// AccessLog returns the access log's numbers.
	AccessLog func() AccessLog
	// Handshakes returns the numbers of the handshakes with clients, and of those with upstreams.
	Handshakes func() (client, upstream Handshakes)
	// Guards yields every guard of the configuration in force.
	Guards func(yield func(Guard) bool)
	// Splits yields every split of the configuration in force.
	Splits func(yield func(Split) bool)
	// Certificates returns every certificate in use, each once.
	Certificates func() []Certificate
	// Discovery returns every service in etcd whose instances are endpoints, once for each cluster.
	Discovery func() []Discovery
}

// SetSources replaces what is asked on a scrape; it is called once the parts that answer exist.
func (r *Registry) SetSources(s Sources) { r.sources.Store(&s) }

// validLabel makes a name fit to be a label's value; only its bytes outside UTF-8 can be unfit.
func validLabel(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
