package canary

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// The simulation: two versions under traffic, looked at ten times a second.
//
//	go test ./policy/canary -run Simulation -v -runs 2000
//
// prints the figures of docs/guide/canary.md. By default there are fewer runs of each, and wider bounds.
var runs = flag.Int("runs", 0, "runs of each situation of the simulation")

// version is how requests to one end.
type version struct {
	errors float64
	slower float64 // factor on the time of all
	tail   float64 // factor on the time of the slowest tenth
}

var same = version{slower: 1, tail: 1}

func failing(share float64) version { return version{share, 1, 1} }

// world is what both versions live in.
type world struct {
	rate      float64 // requests a second, of both together
	errors    float64 // that both have
	incidents bool    // now and then half of all fails for some seconds, and all is five times slower
	clients   int     // > 0: so many clients, a hundredth of which send broken requests half of the time: the key keeps each in one version
	canary    version // beside what both have
	// watch is told of each look, if it is not nil: what both had since the canary began.
	watch func(canary, baseline *Sample)
}

// draws are latencies in equal parts, from which one is drawn by its number.
type draws [4096]uint8

// latencies are of a log-normal time around 20 ms, p95 46 ms.
func latencies(v version, incident bool) *draws {
	d := new(draws)
	for i := range d {
		q := (float64(i) + 0.5) / float64(len(d))
		took := 20 * math.Exp(0.5*math.Sqrt2*math.Erfinv(2*q-1)) * v.slower
		if q > 0.9 {
			took *= v.tail
		}
		if incident {
			took *= 5
		}
		bucket := 0
		for bucket < Buckets-1 && float64(Bound(bucket)) < took*float64(time.Millisecond) {
			bucket++
		}
		d[i] = uint8(bucket)
	}
	return d
}

// binomial draws how many of n happen.
func binomial(r *rand.Rand, n int, p float64) (k int) {
	switch {
	case p <= 0:
		return 0
	case p >= 1:
		return n
	}
	// By the gaps between those that happen.
	fail := math.Log1p(-p)
	for i := 0; ; k++ {
		gap := math.Log(1-r.Float64()) / fail
		if i += int(min(gap, 1e9)) + 1; i > n {
			return k
		}
	}
}

func poisson(r *rand.Rand, mean float64) (k int) {
	if mean > 500 {
		return max(int(math.Round(mean+math.Sqrt(mean)*r.NormFloat64())), 0)
	}
	for left := mean; ; k++ {
		if left += math.Log(1 - r.Float64()); left < 0 {
			return k
		}
	}
}

// end is how a run ended.
type end struct {
	Transition
	requests uint64 // of the canary
}

const tick = 100 * time.Millisecond

// run lives until the canary is decided on, or has had so many requests.
func (w *world) run(seed uint64, p Plan, most uint64) end {
	r := rand.New(rand.NewPCG(seed, 0x63616e617279))
	var tables [2][2]*draws
	for i, v := range [2]version{same, w.canary} {
		tables[i] = [2]*draws{latencies(v, false), latencies(v, true)}
	}
	var sick [2]float64 // share of each version's requests that is of clients whose requests fail half of the time
	canary, baseline := new(Sample), new(Sample)
	now, incident := mono.Time(0), 0
	var j *Judge
	weight := p.Filled().Steps[0]
	place := func() {
		// A version's clients are so few that the share of the sick ones among them is chance's. It grows monotonely
		// with the weight in truth; drawn anew at each step it is as uneven.
		for i, part := range [2]float64{1 - weight, weight} {
			if n := int(math.Round(float64(w.clients) * part)); n > 0 {
				sick[i] = float64(binomial(r, n, 0.01)) / float64(n)
			}
		}
	}
	place()
	for n := 0; ; n++ {
		if n == 100 { // ten seconds of baseline before
			j, _ = Begin(p, now, canary, baseline)
		}
		now = now.Add(tick)
		if w.incidents {
			switch {
			case incident > 0:
				incident--
			case r.Float64() < 1.0/200: // every twenty seconds
				incident = 1 + int(-30*math.Log(1-r.Float64())) // three seconds
			}
		}
		ill := min(incident, 1)
		for i, s := range [2]*Sample{baseline, canary} {
			part := weight
			if i == 0 {
				part = 1 - weight
			}
			if j == nil {
				part = float64(1 - i)
			}
			asked := poisson(r, w.rate*part*tick.Seconds())
			failing := w.errors + 0.5*float64(ill) + 0.5*sick[i]
			if i == 1 {
				failing += w.canary.errors
			}
			errors := binomial(r, asked, failing)
			s.Requests += uint64(asked)
			s.Errors += uint64(errors)
			t := tables[i][ill]
			for range asked - errors {
				s.Latency[t[r.Uint32()%uint32(len(t))]]++
			}
		}
		if j == nil {
			continue
		}
		if w.watch != nil {
			c, b := canary.since(&j.first.canary), baseline.since(&j.first.baseline)
			w.watch(&c, &b)
		}
		if t, ok := j.Look(now, canary, baseline); ok && t.Cause != Inconclusive {
			if t.To != Running {
				return end{t, canary.Requests}
			}
			weight = t.Weight
			place()
		}
		if most > 0 && canary.Requests >= most {
			return end{Transition{To: Running}, canary.Requests}
		}
	}
}

// result is of many runs.
type result struct {
	rolledBack, done float64
	median, p95      uint64 // requests of the canary until it was rolled back
}

func (w *world) times(n int, p Plan, most uint64) result {
	var back []uint64
	done := 0
	for i := range n {
		switch e := w.run(uint64(i), p, most); e.To {
		case RolledBack:
			back = append(back, e.requests)
		case Done:
			done++
		}
	}
	out := result{rolledBack: float64(len(back)) / float64(n), done: float64(done) / float64(n)}
	if slices.Sort(back); len(back) > 0 {
		out.median, out.p95 = back[len(back)/2], back[len(back)*95/100]
	}
	return out
}

func (r result) String() string {
	return fmt.Sprintf("rolled back %6.2f%%, done %6.2f%%; after %d requests, p95 %d", 100*r.rolledBack, 100*r.done, r.median, r.p95)
}

// quick is a plan that takes no half hour.
var quick = Plan{StepTime: 10 * time.Second, StepRequests: 500}

func plan(steps ...float64) Plan {
	p := quick
	p.Steps = steps
	return p
}

// Versions that are no worse, from the first step to the last.
func TestSimulationOfVersionsThatAreNoWorse(t *testing.T) {
	for _, c := range []struct {
		name string
		w    world
		p    Plan
		runs int
		most float64 // rolled back
	}{
		{"the same, 1% errors", world{rate: 300, errors: 0.01, canary: same}, quick, 8, 0.01},
		{"the same, 0.1% errors", world{rate: 300, errors: 0.001, canary: same}, quick, 8, 0.01},
		{"the same, no errors", world{rate: 300, canary: same}, quick, 8, 0.01},
		{"the same, 10% errors", world{rate: 300, errors: 0.1, canary: same}, quick, 8, 0.01},
		{"the same, no tolerance", world{rate: 300, errors: 0.02, canary: same}, Plan{StepTime: 10 * time.Second, Errors: None, Latency: None}, 8, 0.01},
		{"the same, incidents that hit both", world{rate: 300, errors: 0.01, incidents: true, canary: same}, quick, 8, 0.01},
		{"the same, incidents, no tolerance", world{rate: 300, errors: 0.01, incidents: true, canary: same}, Plan{StepTime: 10 * time.Second, Errors: None, Latency: None}, 8, 0.01},
		{"the same, 20 requests a second", world{rate: 20, errors: 0.01, incidents: true, canary: same}, plan(0.05, 0.25, 0.5, 1), 6, 0.01},
		{"the same, 3000 requests a second", world{rate: 3000, errors: 0.01, incidents: true, canary: same}, quick, 2, 0.01},
		{"the same, 95% at once", world{rate: 300, errors: 0.01, incidents: true, canary: same}, plan(0.95), 10, 0.01},
		{"the same, looked at for an hour", world{rate: 100, errors: 0.01, incidents: true, canary: same}, Plan{Steps: []float64{0.1}, StepTime: time.Hour}, 2, 0.01},
		{"better", world{rate: 300, errors: 0.05, canary: version{-0.04, 0.5, 1}}, quick, 8, 0},
		{"0.3% more errors, 0.5% tolerated", world{rate: 300, errors: 0.01, canary: failing(0.003)}, quick, 8, 0.01},
		{"8% slower, 10% tolerated", world{rate: 300, errors: 0.01, canary: version{0, 1.08, 1}}, quick, 8, 0.01},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := c.runs
			if *runs > 0 {
				n = *runs
			}
			r := c.w.times(n, c.p, 0)
			t.Log(c.name+":", r)
			if slack := 1.5 / float64(n); r.rolledBack > c.most+slack { // one in few says nothing
				t.Errorf("%v", r)
			}
		})
	}
}

// Versions that are worse, caught within 5,000 requests of theirs.
func TestSimulationOfVersionsThatAreWorse(t *testing.T) {
	const most = 5000
	for _, c := range []struct {
		name  string
		w     world
		p     Plan
		runs  int
		least float64 // rolled back
	}{
		{"2% more errors than none, at 5%", world{rate: 1000, canary: failing(0.02)}, plan(0.05), 20, 0.99},
		{"2% more errors than 0.1%, at 5%", world{rate: 1000, errors: 0.001, canary: failing(0.02)}, plan(0.05), 20, 0.99},
		{"2% more errors than 1%, at 5%", world{rate: 1000, errors: 0.01, canary: failing(0.02)}, plan(0.05), 20, 0.95},
		{"2% more errors than 2%, at 5%", world{rate: 1000, errors: 0.02, canary: failing(0.02)}, plan(0.05), 20, 0.8},
		{"2% more errors than 1%, at 50%", world{rate: 200, errors: 0.01, canary: failing(0.02)}, plan(0.5), 20, 0.5},
		{"2% more errors than 1%, on the steps", world{rate: 1000, errors: 0.01, canary: failing(0.02)}, quick, 20, 0.8},
		{"2% more errors than 1%, incidents", world{rate: 1000, errors: 0.01, incidents: true, canary: failing(0.02)}, plan(0.05), 20, 0.5},
		{"10% more errors than 1%, at 5%", world{rate: 1000, errors: 0.01, canary: failing(0.1)}, plan(0.05), 20, 0.99},
		{"all fails, at 5%", world{rate: 1000, errors: 0.01, canary: failing(0.99)}, plan(0.05), 20, 0.99},
		{"50% slower, at 5%", world{rate: 1000, errors: 0.01, canary: version{0, 1.5, 1}}, plan(0.05), 20, 0.99},
		{"50% slower, at 95%", world{rate: 200, errors: 0.01, canary: version{0, 1.5, 1}}, plan(0.95), 20, 0.9},
		{"50% slower, incidents, at 5%", world{rate: 1000, errors: 0.01, incidents: true, canary: version{0, 1.5, 1}}, plan(0.05), 20, 0.95},
		{"the slowest tenth 50% slower, at 5%", world{rate: 1000, errors: 0.01, canary: version{0, 1, 1.5}}, plan(0.05), 20, 0.95},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := c.runs
			if *runs > 0 {
				n = *runs
			}
			c.p.StepTime = 24 * time.Hour
			if len(c.p.Steps) == 0 {
				c.p.StepTime, c.p.Steps = quick.StepTime, []float64{0.01, 0.05, 0.25, 0.5, 0.9}
			}
			r := c.w.times(n, c.p, most)
			t.Log(c.name+":", r)
			if r.rolledBack < c.least {
				t.Errorf("%v", r)
			}
		})
	}
}

// What was not chosen, on versions that are the same: their errors until now compared at each look, by a test made for one
// look, and by a mixture SPRT on the normal approximation (Johari et al. 2017), both at the same risk. The SPRT may be
// looked at any time, but takes the ratio to be the same all the time: an incident while the canary has more than before
// is more of the canary's requests than of the baseline's.
func TestSimulationOfWhatWasNotChosen(t *testing.T) {
	n := 10
	if *runs > 0 {
		n = *runs
	}
	wrong := map[string]int{}
	for i := range n {
		w := world{rate: 300, errors: 0.01, incidents: true, canary: same}
		seen := map[string]bool{}
		w.watch = func(c, b *Sample) {
			if c.Requests < 100 || b.Requests < 100 {
				return
			}
			of, ofBaseline := float64(c.Requests), float64(b.Requests)
			p := float64(c.Errors+b.Errors) / (of + ofBaseline)
			v := p * (1 - p) * (1/of + 1/ofBaseline)
			d := ratio(c) - ratio(b)
			if v == 0 || d <= 0 {
				return
			}
			if d/math.Sqrt(v) > 2.576 { // half a percent on this side
				seen["one look"] = true
			}
			const mixed = 0.01 * 0.01 // variance of the differences that are thought possible
			if 0.5*math.Log(v/(v+mixed))+mixed*d*d/(2*v*(v+mixed)) > math.Log(2/DefaultRisk) {
				seen["mixture SPRT"] = true
			}
		}
		if w.run(uint64(i), quick, 0).To == RolledBack {
			wrong["ours"]++
		}
		for name := range seen {
			wrong[name]++
		}
	}
	t.Logf("of %d: %v", n, wrong)
	if wrong["ours"] > n/100 || wrong["one look"] <= n/10 {
		t.Errorf("of %d: %v", n, wrong)
	}
}

// What the evidence takes for granted does not always hold: clients that always fail, and stay in one version. Not
// held, but told.
func TestSimulationOfClientsThatFail(t *testing.T) {
	for _, clients := range []int{200, 1000, 10000} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			t.Parallel()
			n := 10
			if *runs > 0 {
				n = *runs
			}
			w := world{rate: 300, errors: 0.01, clients: clients, canary: same}
			t.Log(clients, "clients:", w.times(n, quick, 0))
		})
	}
}
