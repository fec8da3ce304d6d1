package admission

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/admission"
)

// Spec is what a document says. Zero fields take their defaults.
type Spec struct {
	Key     gateway.KeyParts   // of tenants; none: all requests are one tenant's
	Weights map[string]float64 // by the value of the key, which then has one part; 1 for others
	// Priority is where the priority's word stands; none: all are Normal.
	Priority gateway.KeyParts // one part
	Words    map[string]admission.Class
	Default  admission.Class // of requests without a word, or with another; only with Priority
	Limit    admission.LimitConfig
	Queue    int           // how many may wait, on all loops together; 0 means 1000, below 0 nobody may
	WaitMax  time.Duration // 0 means 1 s
	// ToHead gives a place back when the answer begins, and not when it ends.
	ToHead bool
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// The words of refusals.
const (
	ReasonFull    = "admission_queue_full"
	ReasonTimeout = "admission_timeout"
	ReasonLate    = "admission_deadline"
)

// Reasons are the words that the filter answers with.
func Reasons() []string { return []string{ReasonLate, ReasonFull, ReasonTimeout} }

const (
	queueDefault = 1000
	waitDefault  = time.Second
)

// Filter is a compiled Spec. It is frozen, but for its door, and shared by all loops.
type Filter struct {
	guard    *gateway.Guard
	door     *Door
	key      gateway.KeyParts
	weights  map[string]float64
	priority gateway.KeyParts
	words    map[string]admission.Class
	usual    admission.Class
	gate     admission.Config
	limit    admission.LimitConfig
	toHead   bool
	goOn     func(x *gateway.Exchange) gateway.Verdict // resume, made once
	text     string
}

// Compile makes a filter of s, or says everything that is wrong with it. The door that memory has stays.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	var problems []Problem
	report := func(field, cause, fix string) { problems = append(problems, Problem{field, cause, fix}) }
	if len(s.Weights) > 0 && len(s.Key) != 1 {
		report("weights", "weights are of the values of a key with one part", "write key: {claim: tenant}")
	}
	for name, w := range s.Weights {
		if w <= 0 || w > WeightMax {
			report("weights."+name, fmt.Sprintf("a weight is more than 0 and at most %d", WeightMax), "write a number such as 4")
		}
	}
	if l := s.Limit; l.Fixed == 0 && l.Min > 0 && l.Max > 0 && l.Min > l.Max {
		report("min", fmt.Sprintf("the least limit, %d, is more than the largest, %d", l.Min, l.Max), "")
	}
	if problems != nil {
		slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
		return nil, problems
	}
	if s.Queue == 0 {
		s.Queue = queueDefault
	}
	if s.WaitMax == 0 {
		s.WaitMax = waitDefault
	}
	f := &Filter{guard: guard, key: s.Key, weights: s.Weights, priority: s.Priority, words: s.Words, usual: admission.Normal,
		limit: s.Limit, toHead: s.ToHead, text: describe(&s),
		gate: admission.Config{Queue: s.Queue, WaitMax: s.WaitMax}}
	if len(s.Priority) > 0 {
		f.usual = s.Default
	}
	f.door = gateway.Recall(memory, "admission/"+guard.Name, newDoor)
	f.goOn = f.resume
	guard.Tell = f.door.tell
	return f, nil
}

// WeightMax is the largest weight: a tenant of that weight has as much as a hundred others.
const WeightMax = 100

// entry is one request at the door. Loop-owned, and pooled.
type entry struct {
	ticket admission.Ticket
	side   *side
	by     *Filter // whom the request came to
	wake   gateway.Wake
	key    [64]byte // the beginning of the tenant's, for records
	keyLen int
	head   mono.Time // when the answer began
	failed mono.Time // when the cluster had nothing, or nothing good, to say
	tenant uint64
}

// entriesKept bounds the free entries of a loop.
const entriesKept = 1024

// keyKept is how much memory for keys a loop keeps: a client may have sent a head full of it.
const keyKept = 4 << 10

func (s *side) entry() *entry {
	if n := len(s.free); n > 0 {
		e := s.free[n-1]
		s.free = s.free[:n-1]
		return e
	}
	e := &entry{side: s}
	e.ticket.Of = e
	return e
}

// Request is the hook: the request goes on, waits or is refused.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	now := x.Now()
	s := f.door.on(x, f)
	if f.guard.Mode == gateway.Enforce {
		s.pump(now) // the limit may have risen since somebody left
	}
	e := s.entry()
	e.by = f
	x.Keep(e)
	r := f.ask(x, s, e)
	var v admission.Verdict
	if f.guard.Mode == gateway.Shadow {
		v = s.gate.Pass(now, &e.ticket, r)
	} else {
		v = s.gate.Arrive(now, &e.ticket, r)
	}
	s.publish(now)
	switch v {
	case admission.Admitted:
		j := x.Judgement(f.guard)
		f.numbers(j, e, &r)
		return x.Judge(j)
	case admission.Waiting:
		if f.guard.Mode == gateway.Shadow {
			j := x.Judgement(f.guard)
			j.Outcome = gateway.Delayed
			f.numbers(j, e, &r)
			return x.Judge(j)
		}
		x.WaitUntil(now.Add(f.gate.WaitMax), f.goOn)
		e.wake = x.Suspend()
		return gateway.Waiting
	case admission.Full:
		return f.refuse(x, e, &r, ReasonFull, "Too many requests of yours wait for the upstream already.")
	}
	return f.refuse(x, e, &r, ReasonLate, "The request could not be answered within the time it has.")
}

// ask says what the gate wants to know.
func (f *Filter) ask(x *gateway.Exchange, s *side, e *entry) admission.Request {
	r := admission.Request{Class: f.usual, Weight: 1}
	if left := x.DeadlineLeft(); left < time.Duration(mono.Never) {
		r.Left = max(left, 1)
	}
	if len(f.priority) > 0 {
		s.key, _ = f.priority.Append(s.key[:0], x)
		if c, ok := f.words[string(valueOf(s.key))]; ok {
			r.Class = c
		}
	}
	s.key, _ = f.key.Append(s.key[:0], x)
	if len(f.weights) > 0 {
		if w, ok := f.weights[string(valueOf(s.key))]; ok {
			r.Weight = w
		}
	}
	r.Tenant = maphash.Bytes(f.door.seed, s.key)
	e.keyLen, e.tenant = copy(e.key[:], s.key), r.Tenant
	if cap(s.key) > keyKept {
		s.key = nil
	}
	return r
}

// valueOf is the value of a key with one part: a of tenant=a.
func valueOf(key []byte) []byte { return key[bytes.IndexByte(key, '=')+1:] }

// resume goes on with a request that waited: because it is its turn, or because it has waited long enough, whichever is noticed
// first.
func (f *Filter) resume(x *gateway.Exchange) gateway.Verdict {
	e, now := x.Kept().(*entry), x.Now()
	s := e.side
	var r admission.Request
	r.Tenant, r.Class, r.Weight = e.tenant, e.ticket.Class(), 1
	if left := x.DeadlineLeft(); left < time.Duration(mono.Never) {
		r.Left = max(left, 1)
	}
	switch {
	case e.ticket.Inside():
		j := x.Judgement(f.guard)
		j.Outcome = gateway.Delayed
		f.numbers(j, e, &r)
		j.Number("waited", e.ticket.Waited(now).Seconds()*1e3, "ms")
		return x.Judge(j)
	case s.gate.Withdraw(&e.ticket):
		s.pump(now)
		s.publish(now)
		return f.refuse(x, e, &r, ReasonTimeout, "No place at the upstream became free in time.")
	}
	return f.refuse(x, e, &r, ReasonLate, "Its turn came too late for the request to be answered within the time it has.")
}

// pump wakes those whose turn it is.
func (s *side) pump(now mono.Time) {
	for {
		k, _ := s.gate.Next(now)
		if k == nil {
			return
		}
		e := k.Of.(*entry)
		e.wake.Post(e.by.goOn)
	}
}

func (f *Filter) refuse(x *gateway.Exchange, e *entry, r *admission.Request, reason, text string) gateway.Verdict {
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, 503, reason, text
	j.RetryAfter = max(e.side.gate.Wait(*r), time.Second)
	f.numbers(j, e, r)
	return x.Judge(j)
}

// numbers are those by which it was judged: of all loops together, but for the tenant's and what is estimated, which are the
// loop's.
func (f *Filter) numbers(j *gateway.Judgement, e *entry, r *admission.Request) {
	g := e.side.gate
	j.Key = e.key[:e.keyLen]
	if j.Outcome == gateway.Passed {
		j.Number("limit", float64(f.door.total.Load()), "")
		j.Number("inflight", float64(g.InFlight()), "")
		return
	}
	st := f.door.State()
	j.Number("limit", float64(st.Limit), "")
	j.Number("inflight", float64(st.InFlight), "")
	j.Number("queued", float64(st.Queued), "")
	j.Number("queued_of_tenant", float64(g.QueuedOf(r.Class, r.Tenant)), "")
	j.Number("estimated_wait", g.Wait(*r).Seconds()*1e3, "ms")
	j.Number("usual_service", g.Service().Seconds()*1e3, "ms")
	if r.Left > 0 && j.Outcome == gateway.Refused {
		j.Number("time_left", r.Left.Seconds()*1e3, "ms")
	}
}

// Response notes when the answer began. A WebSocket is no request any more once it is agreed on, and gives its place back.
func (f *Filter) Response(x *gateway.Exchange, h *message.Head) {
	e, _ := x.Kept().(*entry)
	if e == nil || !e.ticket.Inside() {
		return
	}
	now := x.Now()
	if e.failed == 0 { // else it may be another cluster's
		e.head = now
	}
	if h.Status == 101 {
		e.leave(now, 0)
	} else if f.toHead {
		var latency time.Duration
		if h.Status < 500 && e.head > 0 && x.Outcome().Attempts > 0 {
			latency = e.head.Sub(e.ticket.Admitted())
		}
		e.leave(now, latency)
	}
}

// Failed ends the wait for the cluster. What comes now, if a filter before this one has another cluster, is none of its work, and says
// nothing of it. An answer with a bad status may still go its way, and keeps its place meanwhile.
func (f *Filter) Failed(x *gateway.Exchange, failure *gateway.Failure) gateway.Verdict {
	e, _ := x.Kept().(*entry)
	if e == nil || !e.ticket.Inside() {
		return gateway.GoOn
	}
	e.failed = x.Now()
	if !failure.Answered() {
		var latency time.Duration
		if failure.Status == 504 && x.Outcome().Attempts > 0 {
			latency = e.failed.Sub(e.ticket.Admitted())
		}
		e.leave(e.failed, latency)
	}
	return gateway.GoOn
}

// Done gives the place back, or takes the request out of the queue, however it ended.
func (f *Filter) Done(x *gateway.Exchange) {
	e, _ := x.Kept().(*entry)
	if e == nil {
		return
	}
	x.Keep(nil)
	now, s := x.Now(), e.side
	s.obey()
	if e.ticket.Inside() {
		e.leave(now, e.latency(x, now))
	} else if s.gate.Withdraw(&e.ticket) {
		s.pump(now)
	}
	s.publish(now)
	e.by, e.wake, e.head, e.failed = nil, gateway.Wake{}, 0, 0
	if len(s.free) < entriesKept {
		s.free = append(s.free, e)
	}
}

// latency is what the exchange says of the upstream: nothing, if it was not asked, or failed in a way that is quicker than work.
// One that did not answer in time says how long that was.
func (e *entry) latency(x *gateway.Exchange, now mono.Time) time.Duration {
	o := x.Outcome()
	switch {
	case o.Attempts == 0 || o.ClientGone:
		return 0
	case o.Status < 500 && e.head > 0:
		return e.head.Sub(e.ticket.Admitted())
	case o.Status == 504 && e.failed > 0:
		return e.failed.Sub(e.ticket.Admitted())
	case o.Status == 504:
		return now.Sub(e.ticket.Admitted())
	}
	return 0
}

func (e *entry) leave(now mono.Time, latency time.Duration) {
	s := e.side
	s.gate.Leave(now, &e.ticket, latency)
	s.pump(now)
	s.publish(now)
}

// State describes the filter's door. From any goroutine.
func (f *Filter) State() State { return f.door.State() }

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "admission", Request: f.Request, Response: f.Response, Failed: f.Failed, Done: f.Done}
}

// String says what the filter does.
func (f *Filter) String() string { return f.text }

func describe(s *Spec) string {
	var b strings.Builder
	if s.Limit.Fixed > 0 {
		fmt.Fprintf(&b, "at most %d requests at a time", s.Limit.Fixed)
	} else {
		fmt.Fprintf(&b, "as many requests at a time as latency allows, %d to %d", max(s.Limit.Min, 1), cmp.Or(s.Limit.Max, 10_000))
	}
	if s.Queue < 0 {
		b.WriteString(", others are refused")
	} else {
		fmt.Fprintf(&b, ", up to %d others wait up to %v", s.Queue, s.WaitMax)
	}
	if len(s.Key) > 0 {
		b.WriteString(", fair by tenant")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Weights)) {
		b.WriteString(", " + name + " x" + strconv.FormatFloat(s.Weights[name], 'g', -1, 64))
	}
	if len(s.Priority) > 0 {
		b.WriteString(", by priority, " + s.Default.String() + " unless said otherwise")
	}
	return b.String()
}
