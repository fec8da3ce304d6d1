package breaker

import (
	"math"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

const (
	// ringSeconds are kept: a minute.
	ringSeconds = 60
	// quarantine is how many seconds a second must be followed by, without anything that speaks against the service, before it
	// counts as healthy. An incident that comes slowly would otherwise teach that it is normal.
	quarantine = 10
	// treesPerSecond are renewed in each, of fifty: what a healthy minute has taught them counts within another half.
	treesPerSecond = 2
	// joinMax is how many seconds of few requests are joined at most; after them the volume is too low to say anything.
	joinMax = 10
	// evidenceDecay is how fast suspicion fades: evidence of a second that was good is worth half in the next.
	evidenceDecay = 0.5
)

// second is one bucket of the ring.
type second struct {
	vector  vector
	suspect bool // it spoke against the service
}

// detector learns how a service looks when it is well, and tells when it does not. The zero value knows nothing.
type detector struct {
	current Counts // the second that has not ended
	began   mono.Time

	ring  [ringSeconds]second
	first int // number of the oldest second that was not promoted to the reservoir
	next  int // number of the second to come

	reservoir reservoir
	forest    forest
	random    generator

	last     Features
	score    float64
	evidence float64
	top      Feature
}

func (d *detector) init(seed uint64, now mono.Time) {
	*d = detector{random: generator(seed), began: now}
}

// forget begins to learn anew.
func (d *detector) forget(now mono.Time) { d.init(d.random.next(), now) }

// interrupt drops what is not yet known to be healthy: it led to an opening, or something else did.
func (d *detector) interrupt(now mono.Time) {
	d.current, d.began, d.first, d.evidence = Counts{}, now, d.next, 0
}

// add takes in counts, and ends a second when its time has come. quiet: what the second says is no evidence.
func (d *detector) add(now mono.Time, c *Counts, cfg *Adaptive, quiet bool) {
	d.current.merge(c)
	age := now.Sub(d.began)
	if age < time.Second {
		return
	}
	total := d.current.Total()
	if total < uint32(cfg.Volume) && age < joinMax*time.Second {
		return
	}
	if total >= uint32(cfg.Volume) {
		d.end(total, cfg, quiet)
	}
	d.current, d.began = Counts{}, now
}

// end judges the second that is complete.
func (d *detector) end(total uint32, cfg *Adaptive, quiet bool) {
	c := &d.current
	d.last = Features{total, c.Latency.Quantile(0.95), ratio(c.Failures, total), ratio(c.Timeouts, total)}
	v := d.vector(&d.last)
	d.score, d.top = 0, 0
	known := d.reservoir.n >= cfg.Learn && d.forest.grown == treesMax
	suspect := false
	if known {
		d.score = d.forest.score(&v)
		above := d.score - cfg.Score
		if above > 0 {
			d.top = d.contributor(&v)
			// A second unlike the others in a good way is none of our business.
			suspect = v[d.top] > d.reservoir.worst[d.top]+reach[d.top]/4
		}
		switch {
		case quiet:
			d.evidence = 0
		case suspect:
			d.evidence += above
		default:
			d.evidence *= evidenceDecay
		}
	}
	d.ring[d.next%ringSeconds] = second{v, suspect}
	d.next++
	d.promote()
	d.reservoir.summarise(Feature(d.next % int(features)))
	if d.forest.grown < treesMax {
		// Until all are there, more at a time: learning should not take longer than the reservoir does.
		d.forest.renew(2*treesPerSecond, &d.reservoir, &d.random)
		return
	}
	d.forest.renew(treesPerSecond, &d.reservoir, &d.random)
}

// vector is features as the forest sees them. Ratios of few requests are drawn towards the usual one: of twenty requests, one
// failure is 5 % and says little.
func (d *detector) vector(f *Features) vector {
	const prior = 10 // requests
	n := float64(f.Total)
	draw := func(share, usual float64) float64 { return (share*n + usual*prior) / (n + prior) }
	return vector{
		math.Log(float64(max(f.P95, time.Millisecond))),
		draw(f.ErrorRatio, d.reservoir.median[FeatureErrorRatio]),
		draw(f.TimeoutRatio, d.reservoir.median[FeatureTimeoutRatio]),
	}
}

// contributor returns the feature whose return to its usual value would lower the score most.
func (d *detector) contributor(v *vector) (top Feature) {
	best := math.Inf(1)
	for f := range features {
		usual := *v
		usual[f] = d.reservoir.median[f]
		if s := d.forest.score(&usual); s < best {
			best, top = s, f
		}
	}
	return top
}

// promote puts those seconds into the reservoir that were followed by enough good ones.
func (d *detector) promote() {
	if d.ring[(d.next-1)%ringSeconds].suspect {
		// Whatever led here is under suspicion too.
		d.first = d.next
		return
	}
	for ; d.first < d.next-quarantine; d.first++ {
		d.reservoir.add(d.ring[d.first%ringSeconds].vector, &d.random)
	}
}

// bad tells whether the evidence is enough.
func (d *detector) bad(cfg *Adaptive) bool { return d.evidence >= cfg.Evidence }

// limits are what a probe may be like: the share of failures and the latency beyond all healthy seconds.
func (d *detector) limits() (failures float64, slow time.Duration, known bool) {
	r := &d.reservoir
	if r.n == 0 {
		return 0, 0, false
	}
	return r.worst[FeatureErrorRatio] + reach[FeatureErrorRatio]/2,
		time.Duration(math.Exp(r.worst[FeatureP95] + reach[FeatureP95]/2)), true
}

// typical is the middle value of a feature in healthy seconds, in its own unit.
func (d *detector) typical(f Feature) float64 {
	v := d.reservoir.median[f]
	if f == FeatureP95 && d.reservoir.n > 0 {
		return math.Exp(v)
	}
	return v
}
