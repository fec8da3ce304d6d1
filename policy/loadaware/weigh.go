package loadaware

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Facts are what a caller knows of an endpoint at the time of weighing.
type Facts struct {
	Base  float64 // its weight among equals, above 0
	Ready bool    // it can be given calls now
	// CPU and Memory are the shares in use, 0 to 1, as the endpoint reported them LoadAge ago; below 0: not known.
	CPU, Memory float64
	LoadAge     time.Duration
	// Latency is what its calls take, learnt last LatencyAge ago; 0: not known.
	Latency    time.Duration
	LatencyAge time.Duration
	// Stalled is for how long calls have been in flight without one of them being answered.
	Stalled time.Duration
	// Failures is the share of calls that failed, 0 to 1.
	Failures float64
	// ProbeFailures is how many probes have failed since the last good one.
	ProbeFailures int
}

// Member is an endpoint of a pool: its facts, which the caller writes, the state that goes from one weighing to the next, and
// the weight, which Weigh writes. It lives as long as the caller knows the endpoint.
type Member struct {
	Facts  Facts
	Weight Weight
	state  state
}

// state is in shares of base.
type state struct {
	seen   bool // weighed before, at the time at
	in     bool // had a weight then
	at     mono.Time
	load   float64
	loaded bool
	warm   float64 // 0 cold to 1 warm
	share  float64
}

// Chill makes the endpoint cold, as one that is new: its process has been replaced.
func (m *Member) Chill() { m.state.warm, m.state.in = 0, false }

// Weight is the outcome for one endpoint with each factor of it.
type Weight struct {
	Final float64 // what it is drawn by: base times Share; 0: not at all

	Base      float64
	Load      float64       // max(cpu, mem), smoothed; what the others have while it is not known
	LoadKnown bool          //
	Latency   time.Duration // believed now: faded, or stalled
	// The factors, 0 to 1 each.
	LoadFactor, LatencyFactor, ProbeFactor, SuccessFactor, WarmFactor float64
	Product                                                           float64 // of all of them but WarmFactor
	Target                                                            float64 // after floor, ratio cap and warming
	Share                                                             float64 // after smoothing and the limits of movement
	Slowness                                                          float64 // how many times typical, if beyond tolerance; else 1
	Healthy                                                           bool
	Reason                                                            Reason
}

// Reason is what kept a weight from its base.
type Reason uint8

const (
	Full       Reason = iota // nothing
	NotReady                 // there is no connection, or the server says that it does not serve
	Unhealthy                // its probes fail
	Panic                    // too few are healthy: base weights count alone
	CPULoad                  // the processor is busy
	MemoryLoad               // memory is used up
	Latency                  // it is slow
	Stalled                  // it has calls and answers none
	Probe                    // a probe has failed
	Failures                 // its calls fail
	Warming                  // it is new, or was away
	Floored                  // it is at the floor
	Capped                   // the ratio cap holds it up
	Moving                   // the weight is on its way
)

var reasons = [...]string{"full", "not_ready", "unhealthy", "panic", "cpu", "memory", "latency", "stalled", "probe_failed", "failures",
	"slow_start", "floor", "ratio_cap", "moving"}

// String is the word for logs and pages.
func (r Reason) String() string { return reasons[r] }

// Outcome is what is true of the pool as a whole.
type Outcome struct {
	Panic        bool
	HealthyShare float64       // of base weight
	Typical      time.Duration // the median latency by base weight, 0: not known
	Ready        int
}

const (
	warmMin = 0.1 // a cold endpoint's share, as in policy/balance
	// coolFaster is how much faster than it warms an endpoint that is away cools: a connection that is replaced costs
	// nothing, a restart most of it.
	coolFaster = 10
	// slowBy is the least difference of latency that counts: among calls of microseconds a pause of the collector is
	// many times typical and nobody's concern.
	slowBy = 500 * time.Microsecond
	// loadSmoothing is the time in which a reported load is followed two thirds of its way.
	loadSmoothing = 3 * time.Second
	// movingBy is the difference between Target and Share that is worth a word.
	movingBy = 0.05
)

// Weigh writes the Weight of each member. It is to be called a few times a second with a time that does not go back. It
// allocates nothing but what the median of many needs.
func (s *Settings) Weigh(now mono.Time, members []*Member) Outcome {
	out := Outcome{Typical: typical(members)}
	var base, healthy, load, loaded float64
	for _, m := range members {
		f := &m.Facts
		m.Weight = Weight{Base: f.Base, Slowness: 1, Healthy: f.Ready && f.ProbeFailures < s.ProbeFailuresMax}
		base += f.Base
		if m.Weight.Healthy {
			healthy += f.Base
		}
		if f.Ready {
			out.Ready++
		}
		if s.loadKnown(f) {
			load, loaded = load+used(f), loaded+1
		}
	}
	if base > 0 {
		out.HealthyShare = healthy / base
	}
	out.Panic = out.Ready > 0 && out.HealthyShare < s.PanicThreshold
	if loaded > 0 {
		load /= loaded
	}
	best := 0.0
	for _, m := range members {
		s.multiply(m, now, out.Typical, load)
		if m.Weight.Healthy {
			best = max(best, m.Weight.Product)
		}
	}
	for _, m := range members {
		s.settle(m, now, out.Panic, best)
	}
	return out
}

func (s *Settings) loadKnown(f *Facts) bool {
	return f.Ready && (f.CPU >= 0 || f.Memory >= 0) && f.LoadAge <= s.LoadMemory
}

// used is the larger of the two loads.
func used(f *Facts) float64 { return max(clamp(f.CPU), clamp(f.Memory)) }

// multiply computes the factors and their product.
func (s *Settings) multiply(m *Member, now mono.Time, typical time.Duration, othersLoad float64) {
	f, w, st := &m.Facts, &m.Weight, &m.state
	dt := s.since(st, now)
	load := othersLoad
	if w.LoadKnown = s.loadKnown(f); w.LoadKnown {
		load = used(f)
	}
	if !st.loaded { // the first report is believed at once; the limits of movement hold all the same
		st.load, st.loaded = load, w.LoadKnown
	}
	st.load += (load - st.load) * approach(dt, loadSmoothing)
	w.Load = st.load

	w.Latency = s.believed(f, typical)
	if typical > 0 && w.Latency > typical+slowBy && float64(w.Latency) > s.Tolerance*float64(typical) {
		w.Slowness = float64(w.Latency) / float64(typical)
	}
	w.LoadFactor = 1 - w.Load
	w.LatencyFactor = math.Exp(-float64(w.Latency) / float64(s.LatencyScale))
	w.ProbeFactor = math.Pow(0.5, float64(min(max(f.ProbeFailures, 0), 10)))
	ok := 1 - clamp(f.Failures)
	w.SuccessFactor = ok * ok
	w.Product = w.LoadFactor * w.LatencyFactor * w.ProbeFactor * w.SuccessFactor
}

// settle goes from the product to the weight that is used.
func (s *Settings) settle(m *Member, now mono.Time, panics bool, best float64) {
	f, w, st := &m.Facts, &m.Weight, &m.state
	dt := s.since(st, now)
	first := !st.seen
	st.seen, st.at = true, max(now, st.at)
	s.warm(st, w.Healthy, first, dt)
	w.WarmFactor = warmMin + (1-warmMin)*st.warm

	floored := max(w.Product, s.Floor)
	capped := max(floored, min(best, 1)/s.RatioMax)
	w.Target = max(capped*w.WarmFactor, s.Floor)
	switch {
	case !f.Ready:
		st.in, st.share, w.Reason = false, 0, NotReady
		w.Target = 0
	case panics:
		// The share goes on from where it was when the panic is over; only what is given out is the base.
		s.move(st, w.Target, dt)
		w.Share, w.Final, w.Slowness, w.Reason = 1, w.Base, 1, Panic
		return
	case !w.Healthy:
		st.in, st.share, w.Reason = false, 0, Unhealthy
		w.Target = 0
	default:
		s.move(st, w.Target, dt)
		w.Reason = s.reason(f, w, capped > floored, st.share)
	}
	w.Share = st.share
	w.Final = w.Base * w.Share
}

// move brings the share nearer to its target. An endpoint that had no weight takes its own at once: warming has made it small.
func (s *Settings) move(st *state, target float64, dt time.Duration) {
	if !st.in {
		st.in, st.share = true, target
		return
	}
	step := (target - st.share) * approach(dt, s.Smoothing)
	seconds := dt.Seconds()
	st.share += min(max(step, -s.FallPerSecond*seconds), s.RisePerSecond*seconds)
}

// warm moves the warmth. Whoever weighs an endpoint for the first time says by Chill whether it is to be cold.
func (s *Settings) warm(st *state, healthy, first bool, dt time.Duration) {
	switch {
	case s.SlowStart <= 0:
		st.warm = 1
	case first:
	case healthy:
		st.warm = min(st.warm+dt.Seconds()/s.SlowStart.Seconds(), 1)
	default:
		st.warm = max(st.warm-coolFaster*dt.Seconds()/s.SlowStart.Seconds(), 0)
	}
}

// NewMember is a member that is warm to the degree given, 0 to 1: 1 for those that a pool begins with, 0 for one that joins.
func NewMember(warm float64) *Member {
	return &Member{state: state{warm: clamp(warm)}}
}

func (s *Settings) since(st *state, now mono.Time) time.Duration {
	if !st.seen {
		return 0
	}
	return max(now.Sub(st.at), 0)
}

// believed is the latency now. What is unknown is typical; what was bad and is not confirmed fades to that; and calls that
// are not answered are a lower bound of what they will have taken.
func (s *Settings) believed(f *Facts, typical time.Duration) time.Duration {
	l := f.Latency
	if l <= 0 {
		l = typical
	} else if l > typical && typical > 0 && f.LatencyAge > 0 {
		l = typical + time.Duration(float64(l-typical)*math.Exp(-float64(f.LatencyAge)/float64(max(s.LatencyMemory, 1))))
	}
	if s.stalls(f, l) {
		l = f.Stalled
	}
	return min(l, latencyMax)
}

func (s *Settings) stalls(f *Facts, latency time.Duration) bool {
	return float64(f.Stalled) > s.Tolerance*float64(latency) && f.Stalled > slowBy
}

// reason names the factor that takes most.
func (s *Settings) reason(f *Facts, w *Weight, capped bool, share float64) Reason {
	if share < w.Target-movingBy || share > w.Target+movingBy {
		return Moving
	}
	least, reason := 0.95, Full // what takes less than a twentieth is not worth a word
	for _, c := range [...]struct {
		factor float64
		reason Reason
	}{{w.ProbeFactor, Probe}, {w.SuccessFactor, Failures}, {w.LatencyFactor, Latency}, {w.LoadFactor, CPULoad}, {w.WarmFactor, Warming}} {
		if c.factor < least {
			least, reason = c.factor, c.reason
		}
	}
	switch {
	case reason == CPULoad && f.Memory > f.CPU:
		reason = MemoryLoad
	case reason == Latency && w.Latency == f.Stalled:
		reason = Stalled
	}
	switch {
	case reason == Full || reason == Warming:
	case capped:
		reason = Capped
	case w.Product < s.Floor:
		reason = Floored
	}
	return reason
}

// typical is the median latency by base weight of those that are ready and known.
func typical(members []*Member) time.Duration {
	var space [64]*Member
	known, sum := space[:0], 0.0
	for _, m := range members {
		if m.Facts.Ready && m.Facts.Latency > 0 {
			known, sum = append(known, m), sum+m.Facts.Base
		}
	}
	slices.SortFunc(known, func(a, b *Member) int { return cmp.Compare(a.Facts.Latency, b.Facts.Latency) })
	below := 0.0
	for _, m := range known {
		if below += m.Facts.Base; below >= sum/2 {
			return m.Facts.Latency
		}
	}
	return 0
}

// approach is the part of a way that an average with time constant tau goes in dt.
func approach(dt, tau time.Duration) float64 {
	if tau <= 0 {
		return 1
	}
	return 1 - math.Exp(-float64(dt)/float64(tau))
}

func clamp(x float64) float64 {
	if !(x > 0) { // also what is not a number
		return 0
	}
	return min(x, 1)
}
