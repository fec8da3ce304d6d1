package breakers

import (
	"math/rand/v2"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/breaker"
)

// Ours is policy/breaker, fed as filters/breaker feeds it: counted as requests end, told every 100 ms, failures in a row at once.
type Ours struct {
	of       *breaker.Breaker
	view     breaker.View
	counts   breaker.Counts
	slow     time.Duration
	runMax   int
	taken    int
	episode  uint32
	random   *rand.Rand
	Changes  []breaker.Transition
	KeepThem bool
}

// NewOurs returns it; a call that takes slow or longer is slow, 0 for none.
func NewOurs(cfg breaker.Config, slow time.Duration, seed uint64) *Ours {
	o := &Ours{of: breaker.New(cfg, seed, at(0)), slow: slow, random: rand.New(rand.NewPCG(seed, 1)), runMax: cfg.Consecutive}
	o.view = o.of.View()
	return o
}

// at is a time of a trace on the breaker's clock, which never shows zero.
func at(d time.Duration) mono.Time { return mono.Time(time.Second + d) }

func (o *Ours) changed(t breaker.Transition) {
	o.counts = breaker.Counts{}
	if o.KeepThem {
		o.Changes = append(o.Changes, t)
	}
	o.look()
}

func (o *Ours) look() {
	o.view = o.of.View()
	if o.view.Episode != o.episode {
		o.episode, o.taken = o.view.Episode, 0
	}
}

// Admit is for Candidate.
func (o *Ours) Admit(time.Duration) (uint64, bool) {
	v := &o.view
	if v.Share >= 1 || v.Share > 0 && o.random.Float64() < v.Share {
		return uint64(v.Era), true
	}
	if o.taken < v.Probes {
		o.taken++
		return uint64(v.Era), true
	}
	return 0, false
}

// Done is for Candidate.
func (o *Ours) Done(now time.Duration, ticket uint64, r *Request) {
	if uint32(ticket) != o.view.Era {
		return
	}
	o.counts.Add(r.Latency, r.Failed, r.TimedOut, o.slow > 0 && r.Latency >= o.slow)
	if o.runMax > 0 && o.counts.Run >= uint32(o.runMax) && o.view.State == breaker.Closed {
		if t, ok := o.of.Trip(at(now), &o.counts); ok {
			o.changed(t)
		}
	}
}

// Tick is for Candidate.
func (o *Ours) Tick(now time.Duration) {
	t, changed := o.of.Tick(at(now), &o.counts)
	if changed {
		o.changed(t)
		return
	}
	o.counts = breaker.Counts{Run: o.counts.Run}
	o.look()
}

// Open is for Candidate.
func (o *Ours) Open() bool { return o.view.State == breaker.Open }

// Passing is for Candidate.
func (o *Ours) Passing() bool { return o.view.State == breaker.Closed }
