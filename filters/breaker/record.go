package breaker

import (
	"log/slog"
	"strings"
	"time"

	core "github.com/yumen-io/yumen/policy/breaker"
)

// recordsMax transitions are kept of each breaker: a bad day's.
const recordsMax = 100

// Record is one change of a breaker's state, as the admin API tells it.
type Record struct {
	At           time.Time `json:"at"`
	From         string    `json:"from"`
	To           string    `json:"to"`
	Cause        string    `json:"cause"`
	Step         int       `json:"step,omitempty"`       // of half-open, before the change
	OpenFor      float64   `json:"open_for_s,omitempty"` // if it opened
	Volume       uint32    `json:"volume"`
	ErrorRatio   float64   `json:"error_ratio"`
	TimeoutRatio float64   `json:"timeout_ratio"`
	SlowRatio    float64   `json:"slow_ratio"`
	P95          float64   `json:"p95_ms"`
	InARow       uint32    `json:"in_a_row"`
	Hold         string    `json:"held,omitempty"` // the order that brought it about
	// Classic is why the classic rule would have opened at this moment; "none" if it would not have.
	Classic string `json:"classic"`
	// The rest is what the adaptive rule goes by; absent while it knows nothing.
	Adaptive *AdaptiveRecord `json:"adaptive,omitempty"`
}

// AdaptiveRecord is the adaptive rule's part of a Record: the last second's features, its score and what led to it.
type AdaptiveRecord struct {
	Learnt       int     `json:"learnt_seconds"`
	Score        float64 `json:"score"`
	Evidence     float64 `json:"evidence"`
	Top          string  `json:"top"`         // the feature that contributed most
	Typical      float64 `json:"top_typical"` // its middle value in healthy seconds, in its own unit: ms or a share
	Volume       uint32  `json:"volume"`
	P95          float64 `json:"p95_ms"`
	ErrorRatio   float64 `json:"error_ratio"`
	TimeoutRatio float64 `json:"timeout_ratio"`
}

// Status is one breaker as it is now.
type Status struct {
	Key         string   `json:"key"` // route=NAME or cluster=NAME
	State       string   `json:"state"`
	Hold        string   `json:"held,omitempty"`
	Passing     float64  `json:"passing"` // share of the requests that pass
	Volume      uint32   `json:"volume"`
	ErrorRatio  float64  `json:"error_ratio"`
	SlowRatio   float64  `json:"slow_ratio"`
	P95         float64  `json:"p95_ms"`
	Learnt      int      `json:"learnt_seconds"`
	Score       float64  `json:"score"`
	Transitions []Record `json:"transitions"` // the newest last
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// records are the last transitions of a breaker: a ring.
type records struct {
	list []Record
	next int // number of the one to come
	told int // number of the first that the log was not told of
}

// add writes a transition down. hold is the order that brought it about, Auto if none or its end did.
func (q *records) add(t core.Transition, hold Hold, wall time.Time) {
	n := &t.Numbers
	r := Record{At: wall, From: t.From.String(), To: t.To.String(), Cause: t.Cause.String(), Step: t.Step, OpenFor: t.OpenFor.Seconds(),
		Volume: n.Total, ErrorRatio: n.ErrorRatio, TimeoutRatio: n.TimeoutRatio, SlowRatio: n.SlowRatio, P95: milliseconds(n.P95), InARow: n.Run,
		Classic: t.Classic.String(), Hold: holdWords[hold]}
	if t.Learnt > 0 {
		f := &t.Features
		r.Adaptive = &AdaptiveRecord{Learnt: t.Learnt, Score: t.Score, Evidence: t.Evidence, Top: t.Top.String(), Typical: t.Typical, Volume: f.Total,
			P95: milliseconds(f.P95), ErrorRatio: f.ErrorRatio, TimeoutRatio: f.TimeoutRatio}
		if t.Top == core.FeatureP95 {
			r.Adaptive.Typical /= float64(time.Millisecond)
		}
	}
	if len(q.list) < recordsMax {
		q.list = append(q.list, r)
	} else {
		q.list[q.next%recordsMax] = r
	}
	q.next++
}

// last returns the records from a number on, the oldest first.
func (q *records) last(from int) []Record {
	var list []Record
	for i := max(from, q.next-len(q.list)); i < q.next; i++ {
		list = append(list, q.list[i%recordsMax])
	}
	return list
}

// news returns those that were not told of yet.
func (q *records) news() []Record {
	if q.told == q.next {
		return nil
	}
	list := q.last(q.told)
	q.told = q.next
	return list
}

// log tells of a transition.
func (r *Record) log(key string) {
	scope, name, _ := strings.Cut(key, "=")
	attrs := []any{scope, name, "from", r.From, "to", r.To, "cause", r.Cause, "volume", r.Volume, "error_ratio", r.ErrorRatio, "p95_ms", r.P95,
		"in_a_row", r.InARow}
	if r.Hold != "" {
		attrs = append(attrs, "held", r.Hold)
	}
	if a := r.Adaptive; a != nil {
		attrs = append(attrs, "score", a.Score, "top", a.Top, "classic", r.Classic)
	}
	if r.To == core.Open.String() {
		slog.Warn("a breaker has opened", append(attrs, "open_for_s", r.OpenFor)...)
		return
	}
	slog.Info("a breaker has changed its state", attrs...)
}

// status tells how the breaker is now.
func (st *state) status() Status {
	p := st.at.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	b := st.mu.breaker
	n := b.Window()
	s := Status{Key: string(st.key), State: p.view.State.String(), Hold: holdWords[st.mu.settings.hold], Passing: float64(p.threshold) / (1 << 32),
		Volume: n.Total, ErrorRatio: n.ErrorRatio, SlowRatio: n.SlowRatio, P95: milliseconds(n.P95), Transitions: st.mu.records.last(0)}
	s.Learnt, s.Score, _ = b.Learnt()
	return s
}
