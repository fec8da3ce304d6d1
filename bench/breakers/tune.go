package breakers

import (
	"fmt"
	"time"

	"github.com/yumen-io/yumen/policy/breaker"
)

// Variant is one setting of a breaker, and how to make it.
type Variant struct {
	Text string
	Make func(seed uint64) Candidate
}

// openFor is how long every candidate stays open, and probes how many requests decide on its return, so that their ways to open
// are what is compared.
const (
	openFor = 5 * time.Second
	probes  = 5
)

// slow is a rule about slow calls: share of them from a duration on. The zero value is no rule.
type slow struct {
	from  time.Duration
	share float64
}

// What the candidates are tuned on.
var (
	windows = []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second}
	ratios  = []float64{0.15, 0.2, 0.3, 0.5}
	volumes = []int{10, 20}
	slows   = []slow{{}, {500 * time.Millisecond, 0.5}, {time.Second, 0.5}, {1900 * time.Millisecond, 0.2}}
)

// consecutive failures open all candidates that have such a rule.
const consecutive = 8

// each calls do with every setting of the grid.
func each(do func(window time.Duration, ratio float64, volume int, s slow)) {
	for _, window := range windows {
		for _, ratio := range ratios {
			for _, volume := range volumes {
				for _, s := range slows {
					do(window, ratio, volume, s)
				}
			}
		}
	}
}

func text(window time.Duration, ratio float64, volume int, s slow) string {
	text := fmt.Sprintf("%g %% in %s, from %d", ratio*100, window, volume)
	if s.from > 0 {
		text += fmt.Sprintf(", slow from %s", s.from)
	}
	return text
}

// Classics is the grid of our classic rule.
func Classics() (list []Variant) {
	each(func(window time.Duration, ratio float64, volume int, s slow) {
		cfg := classicConfig(window, ratio, volume, s.share)
		list = append(list, Variant{Text: text(window, ratio, volume, s), Make: func(seed uint64) Candidate { return NewOurs(cfg, s.from, seed) }})
	})
	return list
}

func classicConfig(window time.Duration, ratio float64, volume int, slowRatio float64) breaker.Config {
	return breaker.Config{Window: window, ErrorRatio: ratio, Volume: volume, Consecutive: consecutive, SlowRatio: slowRatio, OpenFor: openFor, Probes: probes}
}

// Sonys is the grid of gobreaker. It has no rule for slow calls: they are told to it as failures.
func Sonys() (list []Variant) {
	each(func(window time.Duration, ratio float64, volume int, s slow) {
		list = append(list, Variant{Text: text(window, ratio, volume, s), Make: func(uint64) Candidate {
			return NewSony(window, uint32(volume), ratio, consecutive, s.from, openFor, probes)
		}})
	})
	return list
}

// Failsafes is the grid of failsafe-go. Slow calls are told to it as failures, and it has no rule for failures in a row beside
// the ratio.
func Failsafes() (list []Variant) {
	each(func(window time.Duration, ratio float64, volume int, s slow) {
		list = append(list, Variant{Text: text(window, ratio, volume, s), Make: func(uint64) Candidate {
			return NewFailsafe(window, uint(volume), ratio, s.from, openFor, probes)
		}})
	})
	return list
}

// Default is the breaker as documents have it that say nothing but breaker: on.
func Default() Variant {
	return Variant{Text: "by default", Make: func(seed uint64) Candidate {
		return NewOurs(breaker.Config{Consecutive: 20, Adaptive: breaker.Adaptive{On: true}}, 0, seed)
	}}
}

// Adaptives is the grid of our adaptive rule, beside the classic one as documents have it by default.
func Adaptives() (list []Variant) {
	for _, score := range []float64{0.5, 0.55, 0.6, 0.65} {
		for _, evidence := range []float64{0.2, 0.3, 0.45, 0.6} {
			cfg := classicConfig(10*time.Second, 0.5, 20, 0)
			cfg.Adaptive = breaker.Adaptive{On: true, Score: score, Evidence: evidence}
			list = append(list, Variant{
				Text: fmt.Sprintf("score %g, evidence %g; 50 %% in 10s, from 20", score, evidence),
				Make: func(seed uint64) Candidate { return NewOurs(cfg, 0, seed) },
			})
		}
	}
	return list
}

// Total is what a variant made of a set of traces.
type Total struct {
	Incidents, Missed, FalseOpens             int
	Requests, RefusedGood, RefusedBad, LetBad int
	Delay, Recovery                           time.Duration // sums
	Recoveries                                int
	By                                        map[Kind]*Total
	Of                                        map[string]*Total // by service
}

func (t *Total) add(r *Result) {
	t.Incidents += len(r.Delays)
	t.Missed += r.Missed
	t.FalseOpens += r.FalseOpens
	t.Requests += r.Total
	t.RefusedGood += r.RefusedGood
	t.RefusedBad += r.RefusedBad
	t.LetBad += r.LetBad
	for _, d := range r.Delays {
		t.Delay += d
	}
	for _, d := range r.Recoveries {
		t.Recovery += d
	}
	t.Recoveries += len(r.Recoveries)
}

// MeanDelay is over all incidents; one that was missed counts with its whole length.
func (t *Total) MeanDelay() time.Duration { return mean(t.Delay, t.Incidents) }

// MeanRecovery is over the incidents that were seen.
func (t *Total) MeanRecovery() time.Duration { return mean(t.Recovery, t.Recoveries) }

func mean(sum time.Duration, n int) time.Duration {
	if n == 0 {
		return 0
	}
	return sum / time.Duration(n)
}

// Traces makes n of each kind, from a first seed on.
func Traces(first uint64, n int) (list []*Trace) {
	for _, kind := range Kinds {
		for i := range n {
			list = append(list, Generate(kind, first+uint64(i)))
		}
	}
	return list
}

// Player plays a trace to a candidate that it makes.
type Player func(t *Trace, candidate func() Candidate) Result

// Run plays all traces to a variant.
func Run(v *Variant, traces []*Trace, play Player) *Total {
	return run(func(*Trace) *Variant { return v }, traces, play)
}

func run(of func(*Trace) *Variant, traces []*Trace, play Player) *Total {
	total := &Total{By: map[Kind]*Total{}, Of: map[string]*Total{}}
	for _, t := range traces {
		r := play(t, func() Candidate { return of(t).Make(t.Seed) })
		total.add(&r)
		part(total.By, t.Kind).add(&r)
		part(total.Of, t.Service).add(&r)
	}
	return total
}

func part[K comparable](m map[K]*Total, key K) *Total {
	if m[key] == nil {
		m[key] = &Total{}
	}
	return m[key]
}

// best is the variant of the shortest mean delay among those of no more false openings than allowed; -1 if there is none.
func best(totals []*Total, allowed int) int {
	at := -1
	for i, t := range totals {
		if t != nil && t.FalseOpens <= allowed && (at < 0 || t.MeanDelay() < totals[at].MeanDelay()) {
			at = i
		}
	}
	return at
}
