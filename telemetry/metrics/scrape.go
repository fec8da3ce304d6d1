package metrics

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector is the Registry as Prometheus's registry sees it.
type collector Registry

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector: one scrape. Scrapes may overlap.
//
// Words that are known beforehand are shown with a zero from the start, so that the first increase is seen. Routes,
// their status classes and clusters are shown once they have something to show: ten thousand routes that nobody asks
// for would be a page of zeros.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	r := (*Registry)(c)
	s := scrape{r: r, out: out}

	r.mu.Lock()
	routes := r.mu.routes.all(r.noRoute, r.otherRoutes)
	clusters := r.mu.clusters.all(r.otherClusters)
	var foldedRoutes, foldedClusters int
	if n := len(r.mu.views); n > 0 {
		foldedRoutes, foldedClusters = r.mu.views[n-1].foldedRoutes, r.mu.views[n-1].foldedClusters
	}
	r.mu.Unlock()

	for _, sr := range routes {
		s.route(sr)
	}
	s.emit(famRoutesFolded, float64(foldedRoutes))
	for _, sr := range clusters {
		s.cluster(sr)
	}
	s.emit(famClustersFolded, float64(foldedClusters))
	s.loops()
	s.control()
}

// all lists the live series by name, and the fixed ones, which have no user to live by. The caller holds the
// registry's mu.
func (s *seriesSet[T]) all(fixed ...*series[T]) []*series[T] {
	list := slices.Grow(fixed, len(s.live))
	for _, sr := range s.live {
		list = append(list, sr)
	}
	return list
}

// scrape is one pass over all counters.
type scrape struct {
	r   *Registry
	out chan<- prometheus.Metric
}

// emit sends one counter or gauge. Labels of a family are fixed and values are valid UTF-8, so it cannot fail.
func (s *scrape) emit(fam int, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(s.r.descs[fam], families[fam].kind, value, labels...)
}

// emitHistogram sends one histogram.
func (s *scrape) emitHistogram(fam int, sc *scale, d *distribution, labels ...string) {
	buckets := make(map[float64]uint64, len(sc.le))
	var count uint64
	for i, n := range d.cells {
		count += n
		if i < len(sc.le) {
			buckets[sc.le[i]] = count
		}
	}
	s.out <- prometheus.MustNewConstHistogram(s.r.descs[fam], count, float64(d.sum)/sc.unit, buckets, labels...)
}

func (s *scrape) route(sr *series[Route]) {
	var (
		byClass  [len(classes)]uint64
		duration distribution
		in, out  uint64
	)
	for i := range sr.shards {
		rt := &sr.shards[i]
		for class := range rt.cells {
			for bucket := range rt.cells[class] {
				n := rt.cells[class][bucket].Load() // once: rows and columns must be sums of the same numbers
				byClass[class] += n
				duration.cells[bucket] += n
			}
		}
		duration.sum += rt.duration.Load()
		in += rt.bytesIn.Load()
		out += rt.bytesOut.Load()
	}
	if byClass == [len(classes)]uint64{} {
		return
	}
	name := sr.name
	for class, n := range byClass {
		if n > 0 {
			s.emit(famRequests, float64(n), name, classes[class])
		}
	}
	s.emitHistogram(famRequestDuration, requestScale, &duration, name)
	s.emit(famRequestBytes, float64(in), name)
	s.emit(famResponseBytes, float64(out), name)
}

func (s *scrape) cluster(sr *series[Cluster]) {
	var (
		latency, queue    distribution
		attempts, retries [wordsMax]uint64

		opened, reused, ejected, dropped uint64
		open, idle                       int64
	)
	for i := range sr.shards {
		c := &sr.shards[i]
		latency.add(&c.latency)
		queue.add(&c.queue)
		for w := range wordsMax {
			attempts[w] += c.attempts[w].Load()
			retries[w] += c.retries[w].Load()
		}
		ejected += c.ejected.Load()
		dropped += c.dropped.Load()
		// What a connection does later is read earlier, so that a difference is never negative.
		closedIdle := c.closedIdle.Load()
		closed := c.closed.Load()
		used := c.reused.Load()
		parked := c.parked.Load()
		born := c.opened.Load()
		idle += int64(parked - used - closedIdle)
		open += int64(born - closed)
		opened += born
		reused += used
	}
	if opened+ejected+dropped+queue.count() == 0 && attempts == [wordsMax]uint64{} && retries == [wordsMax]uint64{} {
		return
	}
	name := sr.name
	for w, word := range s.r.config.Outcomes {
		s.emit(famAttempts, float64(attempts[w]), name, word)
	}
	for w, word := range s.r.config.Verdicts {
		s.emit(famRetries, float64(retries[w]), name, word)
	}
	s.emitHistogram(famLatency, requestScale, &latency, name)
	s.emitHistogram(famQueue, requestScale, &queue, name)
	s.emit(famUpConnsOpened, float64(opened), name)
	s.emit(famUpConnsReused, float64(reused), name)
	s.emit(famUpConnsOpen, float64(open), name)
	s.emit(famUpConnsIdle, float64(idle), name)
	s.emit(famEjections, float64(ejected), name)
	s.emit(famOutcomesDropped, float64(dropped), name)
}

// loops shows what the shards hold. The order of reading makes the balance: a loop counts the beginning of a thing
// before its end, so reading the end first and the beginning after it never finds more ends than beginnings.
func (s *scrape) loops() {
	r := s.r
	var (
		started, finished, accepted, gone uint64

		closes   = make([]uint64, len(r.config.CloseReasons))
		rejects  = make([]uint64, len(r.config.RejectLimits))
		reasons  = make([]uint64, len(r.config.Reasons))
		refusals = make([]uint64, len(r.config.Refusals))
	)
	shards := append(slices.Clone(r.loops), r.control)
	for i, sh := range shards {
		finished += sh.n.requestsFinished.Load()
		started += sh.n.requestsStarted.Load()
		addTo(closes, sh.closes)
		accepted += sh.n.connsAccepted.Load()
		addTo(rejects, sh.rejects)
		addTo(reasons, sh.reasons)
		addTo(refusals, sh.refusals)

		if sh == r.control {
			continue // it has no turns
		}
		loop := strconv.Itoa(i)
		var turns, events distribution
		turns.add(&sh.n.turns)
		events.add(&sh.n.events)
		s.emitHistogram(famTurns, turnScale, &turns, loop)
		s.emitHistogram(famTurnEvents, eventScale, &events, loop)
	}
	for _, n := range closes {
		gone += n
	}
	s.emit(famRequestsStarted, float64(started))
	s.emit(famRequestsRunning, float64(int64(started-finished)))
	s.emit(famConnsAccepted, float64(accepted))
	s.emit(famConnsOpen, float64(int64(accepted-gone)))
	s.emitWords(famConnsClosed, r.config.CloseReasons, closes)
	s.emitWords(famConnsRejected, r.config.RejectLimits, rejects)
	s.emitWords(famAnswers, r.config.Reasons, reasons)
	s.emitWords(famRefusals, r.config.Refusals, refusals)
}

func (s *scrape) emitWords(fam int, words []string, values []uint64) {
	for i, word := range words {
		s.emit(fam, float64(values[i]), word)
	}
}

func (s *scrape) control() {
	r := s.r
	s.emit(famRevision, float64(r.revision.Load()))
	for i, word := range reloadWords {
		s.emit(famReloads, float64(r.reloads[i].Load()), word)
	}
	s.emit(famLastReload, float64(r.lastReload.Load())/float64(time.Second))
	s.emit(famBuild, 1, r.build...)

	sources := r.sources.Load()
	if sources.Loop != nil {
		for i := range r.loops {
			s.loop(strconv.Itoa(i), sources.Loop(i))
		}
	}
	if sources.AccessLog != nil {
		l := sources.AccessLog()
		s.emit(famLogRecords, float64(l.Written), "written")
		s.emit(famLogRecords, float64(l.Dropped), "dropped")
		s.emit(famLogRecords, float64(l.Lost), "lost")
		s.emit(famLogRecords, float64(l.Skipped), "skipped")
	}
	if sources.Endpoints != nil {
		s.endpoints(sources.Endpoints)
	}
	if sources.Handshakes != nil {
		client, upstream := sources.Handshakes()
		s.handshakes("client", client)
		s.handshakes("upstream", upstream)
	}
	if sources.Guards != nil {
		s.guards(sources.Guards)
	}
	if sources.Splits != nil {
		s.splits(sources.Splits)
	}
	if sources.Certificates != nil {
		s.certificates(sources.Certificates())
	}
	if sources.Discovery != nil {
		s.discovery(sources.Discovery())
	}
}

// guardsMax bounds the guards with numbers of their own: filters without a name are one for each route.
const guardsMax = 1000

func (s *scrape) guards(source func(yield func(Guard) bool)) {
	type key struct{ name, kind, mode string }
	listed := make(map[key]bool)
	for g := range source {
		k := key{validLabel(g.Name), g.Kind, g.Mode}
		if listed[k] || len(listed) >= guardsMax {
			continue
		}
		listed[k] = true
		g.Outcomes(func(outcome string, n uint64) {
			s.emit(famGuardDecisions, float64(n), k.name, k.kind, k.mode, outcome)
		})
		if g.Numbers != nil {
			g.Numbers(func(number string, value float64) { s.emit(famGuardNumbers, value, k.name, k.kind, number) })
		}
	}
}

// splitsMax bounds the splits with numbers of their own: filters without a name are one for each route, and have up to sixteen
// variants.
const splitsMax = 100

func (s *scrape) splits(source func(yield func(Split) bool)) {
	listed := make(map[string]bool)
	for p := range source {
		name := validLabel(p.Name)
		if listed[name] || len(listed) >= splitsMax {
			continue
		}
		listed[name] = true
		p.Each(func(variant, status string, n uint64) { s.emit(famSplitRequests, float64(n), name, variant, status) })
		p.Weights(func(variant string, share float64) { s.emit(famSplitWeights, share, name, variant) })
	}
}

func (s *scrape) handshakes(side string, h Handshakes) {
	for _, r := range []struct {
		result string
		n      uint64
	}{
		{"done", h.Done}, {"resumed", h.Resumed}, {"failed", h.Failed}, {"refused", h.Refused}, {"displaced", h.Displaced}, {"challenge", h.Challenges},
	} {
		s.emit(famHandshakes, float64(r.n), side, r.result)
	}
	s.emit(famHandshakesRunning, float64(h.Running), side)
	s.emit(famHandshakesWaiting, float64(h.Waiting), side)
}

func (s *scrape) certificates(list []Certificate) {
	slices.SortStableFunc(list, func(a, b Certificate) int { return a.Ends.Compare(b.Ends) })
	type key struct{ path, name string }
	listed := make(map[key]bool)
	for _, c := range list {
		k := key{validLabel(c.Path), validLabel(c.Name)}
		if listed[k] || len(listed) >= certificatesMax {
			continue // named twice, as endpoints may be; the one that ends first is shown
		}
		listed[k] = true
		s.emit(famCertificateEnds, float64(c.Ends.Unix()), k.path, k.name)
	}
	s.emit(famCertificatesFolded, float64(len(list)-len(listed)))
}

// discoveryMax bounds the services with numbers of their own: a document may have very many clusters.
const discoveryMax = 1000

func (s *scrape) discovery(list []Discovery) {
	type key struct{ cluster, service string }
	listed := make(map[key]bool)
	for _, d := range list {
		k := key{validLabel(d.Cluster), validLabel(d.Service)}
		if listed[k] || len(listed) >= discoveryMax {
			continue
		}
		listed[k] = true
		s.emit(famDiscoveryState, 1, k.cluster, k.service, d.State)
		s.emit(famDiscoveryAge, d.For.Seconds(), k.cluster, k.service)
		s.emit(famDiscoveryEndpoints, float64(d.Endpoints), k.cluster, k.service)
		s.emit(famDiscoveryMissing, float64(d.Missing), k.cluster, k.service)
	}
}

func (s *scrape) loop(name string, l Loop) {
	s.emit(famStaleEvents, float64(l.StaleEvents), name)
	s.emit(famMailboxWakes, float64(l.MailboxWakes), name)
	s.emit(famAcceptsExhausted, float64(l.AcceptsExhausted), name)
	s.emit(famAcceptsRefused, float64(l.AcceptsRefused), name)
	s.emit(famAcceptPauses, float64(l.AcceptPauses), name)
	s.emit(famConnsMoved, float64(l.ConnectionsMoved), name)
	s.emit(famConnsDelayed, float64(l.ConnectionsDelayed), name)
	s.emit(famConnsStarved, float64(l.ConnectionsStarved), name)
}

func (s *scrape) endpoints(source func(yield func(Endpoint) bool)) {
	type key struct{ cluster, address string }
	type totals struct{ healthy, unhealthy int }
	var (
		listed     = make(map[key]bool)
		byCluster  = make(map[string]*totals)
		folded     int
		truthValue = map[bool]float64{true: 1}
	)
	for e := range source {
		cluster, address := validLabel(e.Cluster), validLabel(e.Address)
		t := byCluster[cluster]
		if t == nil {
			if len(byCluster) >= s.r.config.ClusterLimit {
				cluster = labelOther
			}
			if t = byCluster[cluster]; t == nil {
				t = new(totals)
				byCluster[cluster] = t
			}
		}
		if e.Healthy {
			t.healthy++
		} else {
			t.unhealthy++
		}
		k := key{cluster, address}
		if listed[k] || len(listed) >= s.r.config.EndpointLimit {
			folded++ // also when named twice: one label set is shown once, or the scrape would be in error
			continue
		}
		listed[k] = true
		s.emit(famEndpointHealthy, truthValue[e.Healthy], cluster, address)
	}
	for cluster, t := range byCluster {
		s.emit(famClusterEndpoints, float64(t.healthy), cluster, "healthy")
		s.emit(famClusterEndpoints, float64(t.unhealthy), cluster, "unhealthy")
	}
	s.emit(famEndpointsFolded, float64(folded))
}
