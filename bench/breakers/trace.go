package breakers

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is what happens in a trace.
type Kind string

// The kinds of trace. The last three hold no incident: every opening in them is false.
const (
	HardDown   Kind = "hard down"
	SlowDown   Kind = "slow-down"
	BrownOut   Kind = "brown-out"
	Partial    Kind = "partial"
	LowTraffic Kind = "low traffic"
	Flapping   Kind = "flapping"
	Recovery   Kind = "recovery"
	Deployment Kind = "deployment"
	Spike      Kind = "traffic spike"
	Healthy    Kind = "healthy"
)

// Kinds is all of them.
var Kinds = []Kind{HardDown, SlowDown, BrownOut, Partial, LowTraffic, Flapping, Recovery, Deployment, Spike, Healthy}

// Timeout is how long the gateway of a trace waits for its upstream.
const Timeout = 2 * time.Second

// Length of a trace. Incidents begin after Warm.
const (
	Length = 420 * time.Second
	Warm   = 180 * time.Second
)

// Request is one request of a trace: when it comes, how long its answer takes, how it ends. What a breaker does to other requests
// changes nothing about it.
type Request struct {
	At       time.Duration
	Latency  time.Duration
	Failed   bool
	TimedOut bool
}

// Incident is a stretch of time in which a breaker should be open.
type Incident struct{ From, To time.Duration }

// Trace is what one service went through.
type Trace struct {
	Kind      Kind
	Service   string
	Seed      uint64
	Requests  []Request
	Incidents []Incident
}

// service is how an upstream is when it is well.
type service struct {
	name    string
	rate    float64       // requests a second
	median  time.Duration // of the latency, which is log-normal
	sigma   float64
	errors  float64 // share that fails
	timeout float64 // share that is never answered
}

// services differ as upstreams of one gateway do. Rates are low so that a trace is played quickly; a breaker of a busier
// service knows more.
var services = []service{
	{"cache", 200, 2 * time.Millisecond, 0.4, 0.0002, 0},
	{"catalogue", 120, 25 * time.Millisecond, 0.5, 0.002, 0.0002},
	{"search", 60, 120 * time.Millisecond, 0.7, 0.01, 0.002},
	{"payment", 40, 300 * time.Millisecond, 0.5, 0.04, 0.005},
	{"report", 25, 500 * time.Millisecond, 0.6, 0.005, 0.01},
	{"legacy", 80, 60 * time.Millisecond, 0.9, 0.08, 0.005},
}

// moment is how a service is at one time: what its healthy numbers are multiplied with, or replaced by.
type moment struct {
	rate, latency   float64 // factors
	errors, timeout float64 // shares beside the usual ones
	hang            bool    // errors are timeouts
}

// Generate makes the trace of a kind and a seed: the same for the same.
func Generate(kind Kind, seed uint64) *Trace {
	r := rand.New(rand.NewPCG(seed, uint64(slices.Index(Kinds, kind))))
	s := services[r.IntN(len(services))]
	if kind == LowTraffic {
		s.rate = 2 + 4*r.Float64()
	}
	t := &Trace{Kind: kind, Service: s.name, Seed: seed}
	at := t.story(r)
	drift, swing := r.Float64()*2*math.Pi, 0.2*r.Float64()
	gust := 1.0
	for second := time.Duration(0); second < Length; second += time.Second {
		// Load and latency of healthy services wander: slowly by a fifth, and from second to second.
		wave := 1 + swing*math.Sin(drift+second.Seconds()/60)
		gust = 1 + 0.8*(gust-1) + 0.06*r.NormFloat64()
		pause := 1.0
		if r.Float64() < 0.01 {
			pause = 1.3 + 0.7*r.Float64() // a collection of garbage, a neighbour
		}
		for ms := time.Duration(0); ms < time.Second; ms += 10 * time.Millisecond {
			m := at(second + ms)
			for range poisson(r, s.rate*wave*m.rate/100) {
				t.Requests = append(t.Requests, request(r, &s, &m, second+ms, wave*max(gust, 0.5)*pause))
			}
		}
	}
	return t
}

func request(r *rand.Rand, s *service, m *moment, at time.Duration, factor float64) Request {
	q := Request{At: at}
	q.Latency = time.Duration(float64(s.median) * math.Exp(s.sigma*r.NormFloat64()) * factor * m.latency)
	switch p := r.Float64(); {
	case p < s.timeout+m.timeout:
		q.Failed, q.TimedOut = true, true
	case p < s.timeout+m.timeout+s.errors+m.errors:
		q.Failed = true
		if m.hang {
			q.TimedOut = true
		} else if m.errors > 0.3 {
			q.Latency = time.Duration(float64(time.Millisecond) * (0.5 + r.Float64())) // refused at once
		}
	}
	if q.TimedOut || q.Latency >= Timeout {
		q.Latency, q.Failed, q.TimedOut = Timeout, true, true
	}
	return q
}

// story decides when what happens, notes the incidents and returns how the service is at any time.
func (t *Trace) story(r *rand.Rand) func(time.Duration) moment {
	well := moment{rate: 1, latency: 1}
	from := Warm + time.Duration(r.Int64N(int64(40*time.Second)))
	length := 40*time.Second + time.Duration(r.Int64N(int64(30*time.Second)))
	within := func(at, from time.Duration, length time.Duration) bool { return at >= from && at < from+length }
	label := func(from, length time.Duration) { t.Incidents = append(t.Incidents, Incident{from, from + length}) }
	ill := func(m moment) func(time.Duration) moment {
		label(from, length)
		return func(at time.Duration) moment {
			if within(at, from, length) {
				return m
			}
			return well
		}
	}
	switch t.Kind {
	case HardDown:
		return ill(moment{rate: 1, latency: 1, errors: 1, hang: r.IntN(2) == 0})
	case SlowDown:
		label(from, length)
		factor, ramp := 4+12*r.Float64(), time.Duration(r.Int64N(int64(15*time.Second)))
		return func(at time.Duration) moment {
			m := well
			if within(at, from, length) {
				m.latency = 1 + (factor-1)*min(float64(at-from+1)/float64(ramp+1), 1)
			}
			return m
		}
	case BrownOut:
		return ill(moment{rate: 1, latency: 1.5 + 1.5*r.Float64(), errors: 0.15 + 0.15*r.Float64(), timeout: 0.05 * r.Float64()})
	case Partial:
		// One of two to five endpoints is gone.
		return ill(moment{rate: 1, latency: 1, errors: 1 / float64(2+r.IntN(4)), hang: r.IntN(2) == 0})
	case LowTraffic:
		return ill(moment{rate: 1, latency: 1, errors: 0.4 + 0.6*r.Float64()})
	case Flapping:
		period := 8*time.Second + time.Duration(r.Int64N(int64(8*time.Second)))
		for i := range time.Duration(4) {
			label(from+2*i*period, period)
		}
		return func(at time.Duration) moment {
			m := well
			for _, i := range t.Incidents {
				if at >= i.From && at < i.To {
					m.errors = 0.8
				}
			}
			return m
		}
	case Recovery:
		// Down, and back with cold caches: half of the incident is slow and shaky.
		label(from, length)
		return func(at time.Duration) moment {
			m := well
			switch {
			case within(at, from, length/2):
				m.errors = 1
			case within(at, from+length/2, length/2):
				left := 1 - float64(at-from-length/2)/float64(length/2)
				m.errors, m.latency = 0.4*left, 1+5*left
			}
			return m
		}
	case Deployment:
		// Three, a minute apart: a second or two of some resets, then cold caches for a while.
		size, cold := 0.03+0.09*r.Float64(), 1.2+0.5*r.Float64()
		return func(at time.Duration) moment {
			m := well
			for i := range time.Duration(3) {
				begin := from + i*time.Minute
				if within(at, begin, 2*time.Second) {
					m.errors = size
				}
				if within(at, begin, 15*time.Second) {
					m.latency = cold
				}
			}
			return m
		}
	case Spike:
		factor, slower := 2+3*r.Float64(), 1.1+0.5*r.Float64()
		return func(at time.Duration) moment {
			m := well
			if within(at, from, length) {
				grow := min((at-from).Seconds()/5, 1)
				m.rate, m.latency = 1+(factor-1)*grow, 1+(slower-1)*grow
			}
			return m
		}
	}
	return func(time.Duration) moment { return well }
}

// poisson draws a number of arrivals by multiplying, which is quick for the small means of a hundredth of a second.
func poisson(r *rand.Rand, mean float64) (n int) {
	limit := math.Exp(-mean)
	for p := r.Float64(); p > limit; p *= r.Float64() {
		n++
	}
	return n
}
