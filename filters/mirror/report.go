package mirror

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/policy/compare"
)

// verdict is what became of a request whose answers were to be compared.
type verdict uint8

const (
	equal verdict = iota
	different
	noise // what differed, differs in the old version's own answers
	// Not compared, and why.
	answerTooLarge
	originalFailed // or was answered by the gateway itself, or its client left
	copyFailed
	thirdFailed
	otherCoding // a body is encoded, and not with gzip, or not well
	comparerBehind
	verdictsEnd
)

var verdictWords = [verdictsEnd]string{equal: "equal", different: "different", noise: "noise", answerTooLarge: "uncompared_too_large",
	originalFailed: "uncompared_original_failed", copyFailed: "uncompared_copy_failed", thirdFailed: "uncompared_third_failed",
	otherCoding: "uncompared_coding", comparerBehind: "uncompared_behind"}

// jobsMax is how many comparisons wait at most. With bodies of 256 KiB they hold 12 MiB; beyond, one is not made, and counted.
const jobsMax = 16

// report is what comparisons found, remembered over configurations as long as what is compared stays the same. Loops hand it
// answers and count; one goroutine compares.
type report struct {
	jobs   chan job
	counts [verdictsEnd]atomic.Uint64
	old    times
	next   times

	stop chan struct{} // of the goroutine that runs; nil: none does
	over chan struct{}

	mu struct {
		sync.Mutex
		table    compare.Table
		seen     map[string]sighting // by the place's path, of those that are no noise
		examples []Example           // a ring
		last     int
	}
}

type job struct {
	*comparison
	settings *Compare
}

func newReport() *report { return &report{jobs: make(chan job, jobsMax)} }

// Start is for gateway.Remembered.
func (r *report) Start() {
	r.stop, r.over = make(chan struct{}), make(chan struct{})
	go r.run(r.stop, r.over)
}

// Close is for gateway.Remembered.
func (r *report) Close() {
	close(r.stop)
	<-r.over
}

func (r *report) run(stop, over chan struct{}) {
	defer close(over)
	for {
		select {
		case <-stop:
			return
		case j := <-r.jobs:
			r.judge(j)
		}
	}
}

// add counts. From any goroutine.
func (r *report) add(v verdict) { r.counts[v].Add(1) }

// submit hands over a comparison, from a loop: it never waits.
func (r *report) submit(j job) {
	select {
	case r.jobs <- j:
	default:
		r.add(comparerBehind)
	}
}

// judge makes one comparison, on the report's goroutine.
func (r *report) judge(j job) {
	most := j.settings.BodyBytesMax * plainFactor
	if !j.old.plain(most) || !j.next.plain(most) || j.asked && !j.again.plain(most) {
		r.add(otherCoding)
		return
	}
	config := &j.settings.Config
	found := config.Answers(&j.old.Answer, &j.next.Answer)
	var own []compare.Difference
	if j.asked {
		own = config.Answers(&j.old.Answer, &j.again.Answer)
	}
	if len(found) == 0 { // other bytes, and the same structure
		r.add(equal)
		if len(own) == 0 {
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.mu.table.Judge(found, own)
	switch {
	case len(left) > 0:
		r.add(different)
		r.see(j, left)
		r.keep(j, left)
	case len(found) > 0:
		r.add(noise)
	}
}

// plainFactor is how many times as long as what is compared a body may be that was encoded.
const plainFactor = 4

// sighting is when a place was seen: the request of its example, and the last time.
type sighting struct {
	id   string
	last time.Time
}

// see notes the places of a request. There are as many as the table has, at most.
func (r *report) see(j job, left []compare.Difference) {
	if r.mu.seen == nil {
		r.mu.seen = map[string]sighting{}
	}
	for i := range left {
		s, ok := r.mu.seen[left[i].Path]
		switch {
		case !ok && len(r.mu.seen) == compare.RowsMax:
			continue
		case !ok: // whose values the table has as the example
			s.id = j.id
		}
		s.last = j.at
		r.mu.seen[left[i].Path] = s
	}
}

// exampleMax is how many differences of one request are kept as an example.
const exampleMax = 8

// Example is a request whose answers differed.
type Example struct {
	At          time.Time     `json:"at"`
	RequestID   string        `json:"request_id"`
	Method      string        `json:"method"`
	Path        string        `json:"path"` // without its query, which may hold secrets
	Differences []Discrepancy `json:"differences"`
	More        int           `json:"more,omitempty"` // differences that are not shown
}

// Discrepancy is a place in which answers differ.
type Discrepancy struct {
	Path string `json:"path"`
	Kind string `json:"kind"`
	Was  string `json:"was,omitempty"`
	Is   string `json:"is,omitempty"`
	// Of a place, over all comparisons.
	Different uint64 `json:"different,omitempty"`
	Noise     uint64 `json:"noise,omitempty"`
	// Of a place: the request of the example, and when it was seen last, both of differences that were no noise.
	RequestID string    `json:"request_id,omitempty"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
}

func discrepancy(d *compare.Difference) Discrepancy {
	return Discrepancy{Path: d.Path, Kind: d.Kind.String(), Was: d.Was, Is: d.Is}
}

// keep keeps an example, in the place of the oldest.
func (r *report) keep(j job, left []compare.Difference) {
	e := Example{At: j.at, RequestID: j.id, Method: j.method, Path: j.target, More: max(0, len(left)-exampleMax)}
	for i := range left[:min(len(left), exampleMax)] {
		e.Differences = append(e.Differences, discrepancy(&left[i]))
	}
	if len(r.mu.examples) < j.settings.Examples {
		r.mu.examples = append(r.mu.examples, e)
		r.mu.last = len(r.mu.examples) - 1
		return
	}
	r.mu.last = (r.mu.last + 1) % len(r.mu.examples)
	r.mu.examples[r.mu.last] = e
}

// Report is what a mirror has found, for the admin API.
type Report struct {
	Verdicts     map[string]uint64 `json:"verdicts"`
	Old          Latency           `json:"old"`
	New          Latency           `json:"new"`
	Places       []Discrepancy     `json:"places"`                  // those that differ most often first
	PlacesHidden uint64            `json:"places_hidden,omitempty"` // differences in places for which there was no room
	Examples     []Example         `json:"examples"`                // the newest first
}

// Latency is the time to the first byte of the answers compared, to a fifth.
type Latency struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// view is for gateway.Guard. From any goroutine.
func (r *report) view() Report {
	v := Report{Verdicts: map[string]uint64{}, Old: r.old.view(), New: r.next.view(), Places: []Discrepancy{}, Examples: []Example{}}
	for i := range r.counts {
		v.Verdicts[verdictWords[i]] = r.counts[i].Load()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rows, hidden := r.mu.table.Rows()
	v.PlacesHidden = hidden
	for i := range rows {
		d := discrepancy(&rows[i].Difference)
		d.Different, d.Noise = rows[i].Count, rows[i].Noise
		if s, ok := r.mu.seen[d.Path]; ok && d.Different > 0 {
			d.RequestID, d.LastSeen = s.id, s.last
		}
		v.Places = append(v.Places, d)
	}
	for i := range r.mu.examples {
		at := (r.mu.last - i + len(r.mu.examples)) % len(r.mu.examples)
		v.Examples = append(v.Examples, r.mu.examples[at])
	}
	return v
}

// tell is for gateway.Guard.
func (r *report) tell(yield func(number string, value float64)) {
	for v := range r.counts {
		yield(verdictWords[v], float64(r.counts[v].Load()))
	}
}

// times takes in how long the two versions took to answer one request.
func (r *report) times(old, next time.Duration) {
	r.old.add(old)
	r.next.add(next)
}

// times are counted in buckets, four to each doubling of a microsecond.
type times [128]atomic.Uint64

func (t *times) add(d time.Duration) {
	at := 0
	if us := float64(d) / 1e3; us > 1 {
		at = min(int(4*math.Log2(us)), len(t)-1)
	}
	t[at].Add(1)
}

func (t *times) view() Latency { return Latency{t.quantile(0.5), t.quantile(0.99)} }

// quantile is in ms: the upper end of a bucket.
func (t *times) quantile(q float64) float64 {
	var all uint64
	for i := range t {
		all += t[i].Load()
	}
	if all == 0 {
		return 0
	}
	left := int64(math.Ceil(q * float64(all)))
	for i := range t {
		if left -= int64(t[i].Load()); left <= 0 {
			return math.Round(math.Exp2(float64(i+1)/4)) / 1e3
		}
	}
	return 0
}

// reportKey is what a report is remembered under: with other settings another one begins.
func reportKey(name string, s *Spec) string {
	c := s.Compare
	to := ""
	if c.To != nil {
		to = c.To.Name
	}
	return fmt.Sprintf("mirror/%s/compare/%s %s %q %q %v %v %d", name, s.Cluster.Name, to, c.Config.Fields, c.Config.Ignore, c.Config.Tolerance,
		c.Config.AnyOrder, c.BodyBytesMax)
}
