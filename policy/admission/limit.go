package admission

import (
	"math"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// LimitConfig describes a limit. Zero fields take their defaults.
type LimitConfig struct {
	// Fixed is a limit that does not adapt; 0: it does, and what follows counts.
	Fixed int
	// Min and Max bound the limit; 0 means 1 and 10,000.
	Min, Max int
	// Initial is where it begins; 0 means 16.
	Initial int
	// Period is the time between two measurements of the base; 0 means 30 s.
	Period time.Duration
}

// Defaults of a LimitConfig.
const (
	minDefault     = 1
	maxDefault     = 10_000
	initialDefault = 16 // what most upstreams bear; ten times that is reached in about two seconds
	periodDefault  = 30 * time.Second
)

// What a limit goes by, found with the simulation of this package.
const (
	// windowSamples is how many latencies a window has at least. At a coefficient of variation of 1 their logarithmic mean is
	// known to 12 %, and what one window errs by the next ones make good.
	windowSamples = 50
	// A measurement of the base goes on until it has enough samples, or, of a slow service, a few after a second and three times
	// its latency; and is given up when even that takes too long: it holds the limit down.
	baseSamples, baseSamplesSlow = 300, 10

	measuringSlow, measuringMax = time.Second, 3 * time.Second
	// steps times the root of the limit is what it grows by when latencies are as they should be, and so what it lets the
	// upstream queue. A root, as others have it: a share of the limit would queue much at a large upstream for nothing, and a
	// constant would find a large capacity too slowly.
	steps = 0.25
	// At the start, and until latencies show for the first time that it is enough, the limit grows by that share too.
	startSteps, startEnds = 0.125, 0.8
	// gradientMin bounds how fast the limit falls: by half in a window.
	gradientMin = 0.5
	// pauses is the shortest time between two measurements, as a part of the period.
	pauses = 30
	// A measured base that differs by more than that is a change of the service, and is taken as it is; one that differs by less is
	// noise, and is averaged with baseWeight.
	changes    = 0.25
	baseWeight = 0.25
)

// Limit finds out how many requests an upstream works on at a time. Not safe for concurrent use: it has one caller, who looks at
// all loops a few times a second.
type Limit struct {
	cfg LimitConfig

	limit    float64
	base     float64   // logarithm of nanoseconds; NaN: not known
	bases    int       // measurements that are in it
	measured float64   // the limit when the base was measured last
	changed  mono.Time // when Value changed last

	started   bool // latencies have shown that it was enough
	measuring bool
	settled   bool // fewer than the lowered limit are in flight, since changed
	wanted    bool // before the period is over
	last      mono.Time
}

// Sight is what the loops saw together since the time that Since tells.
type Sight struct {
	// Sum is that of the natural logarithms of latencies in nanoseconds, Count how many: of requests that were let in at Since or
	// later.
	Sum   float64
	Count int
	// InFlight is how many are with the upstream now, Peak the most there were.
	InFlight, Peak int
	// Pressed: somebody had to wait.
	Pressed bool
}

// Add adds what another loop saw.
func (s *Sight) Add(o Sight) {
	s.Sum += o.Sum
	s.Count += o.Count
	s.InFlight += o.InFlight
	s.Peak += o.Peak
	s.Pressed = s.Pressed || o.Pressed
}

// NewLimit returns a limit that has seen nothing.
func NewLimit(cfg LimitConfig) *Limit {
	l := &Limit{base: math.NaN(), last: math.MinInt64 / 2}
	l.Configure(cfg)
	l.limit = float64(min(max(l.cfg.Initial, l.cfg.Min), l.cfg.Max))
	l.measured = l.limit
	return l
}

// Configure changes the settings; what has been found out stays.
func (l *Limit) Configure(cfg LimitConfig) {
	if cfg.Min <= 0 {
		cfg.Min = minDefault
	}
	if cfg.Max <= 0 {
		cfg.Max = maxDefault
	}
	cfg.Max = max(cfg.Max, cfg.Min)
	if cfg.Initial <= 0 {
		cfg.Initial = initialDefault
	}
	if cfg.Period <= 0 {
		cfg.Period = periodDefault
	}
	l.cfg = cfg
	l.limit = min(max(l.limit, float64(cfg.Min)), float64(cfg.Max))
}

// Value returns how many requests may be in flight.
func (l *Limit) Value() int {
	if l.cfg.Fixed > 0 {
		return l.cfg.Fixed
	}
	if l.measuring {
		return max(l.cfg.Min, int(l.limit/2))
	}
	return int(l.limit)
}

// Adapts tells whether the limit is not a fixed one.
func (l *Limit) Adapts() bool { return l.cfg.Fixed == 0 }

// Since returns when what the next Sight tells of began.
func (l *Limit) Since() mono.Time { return l.changed }

// Base returns the latency without queueing at the upstream, as far as it is known; 0 if it is not.
func (l *Limit) Base() time.Duration {
	if math.IsNaN(l.base) {
		return 0
	}
	return time.Duration(math.Exp(l.base))
}

// Observe takes what was seen so far. If that was enough to go by it returns true: the limit may have changed, and a new window
// begins now.
func (l *Limit) Observe(now mono.Time, s Sight) bool {
	if l.cfg.Fixed > 0 {
		return false
	}
	mean := s.Sum / float64(max(s.Count, 1))
	switch {
	case l.measuring && !l.settled:
		l.settled = s.InFlight <= l.Value() || now.Sub(l.last) > measuringMax
	case l.measuring:
		took := now.Sub(l.changed)
		enough := s.Count >= baseSamples || s.Count >= baseSamplesSlow && took > max(measuringSlow, 3*time.Duration(math.Exp(mean)))
		if !enough && took < measuringMax+4*l.Base() {
			return false
		}
		if enough {
			l.setBase(mean)
		}
		l.measuring = false
	case now.Sub(l.last) >= l.cfg.Period || l.wanted && now.Sub(l.last) >= l.cfg.Period/pauses:
		l.measuring, l.settled, l.wanted, l.last = true, false, false, now
	case s.Count < max(windowSamples, int(l.limit)):
		return false
	case s.Pressed && !math.IsNaN(l.base):
		l.adapt(mean, s.Peak)
	}
	// A limit that nobody comes near is neither too high nor too low.
	l.changed = now
	return true
}

// adapt is the gradient.
func (l *Limit) adapt(mean float64, peak int) {
	gradient := min(max(math.Exp(l.base-mean), gradientMin), 1)
	next := gradient*l.limit + steps*math.Sqrt(l.limit)
	if l.started = l.started || gradient < startEnds; !l.started {
		next += startSteps * l.limit
	}
	if next > l.limit && float64(peak) < l.limit/2 {
		return // loops that need little have what others want: it is not the limit that is too low
	}
	l.limit = min(max(next, float64(l.cfg.Min)), float64(l.cfg.Max))
	if l.limit <= l.measured/2 {
		l.wanted = true
	}
}

func (l *Limit) setBase(mean float64) {
	differs := mean - l.base
	l.measured = l.limit
	if math.IsNaN(l.base) || math.Abs(differs) > changes {
		// A base that was found in a crowd is too high, and half of that crowd may be one yet.
		l.wanted = !(differs > 0)
		l.base, l.bases = mean, 1
		return
	}
	l.bases++
	l.base += differs * max(1/float64(l.bases), baseWeight)
}

// Share divides a limit among loops by what each could use: all get the same, but those that need less get what they need,
// and what they leave is divided among the others; what nobody needs is divided among all. Each gets at least one, so that requests
// which come to a loop that had none find a place; to keep that one free for it would cost every other loop's requests. Of a limit that
// adapts it gets a quarter of an equal part at least. So the sum may be more than the limit, by one for each loop that needs none, or by
// a quarter of a limit that adapts. demands is left as it is; shares is appended to.
func Share(shares []int, limit int, adapts bool, demands []int) []int {
	n := len(demands)
	if n == 0 {
		return shares
	}
	least := 1
	if adapts {
		least = max(1, limit/(4*n))
	}
	// The level up to which demands are met. There are few loops, and this is done a few times a second, so without sorting.
	level, left, open := 0, limit, n
	for open > 0 && left >= open {
		level += left / open
		open, left = 0, limit
		for _, d := range demands {
			left -= min(d, level)
			if d > level {
				open++
			}
		}
	}
	spare := 0
	if open == 0 {
		spare = left / n
		left %= n
	}
	for _, d := range demands {
		share := min(d, level) + spare
		if left > 0 && (open == 0 || d > level) {
			share++
			left--
		}
		shares = append(shares, max(share, least))
	}
	return shares
}
