package fallback

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// Spec is what a document says.
type Spec struct {
	On       Causes // 0: Usual
	Statuses []int  // of the upstream's answers that are failures, from 400 to 599; 503 with RetryAfter is no step for them
	Cluster  *gateway.ClusterRef
	Respond  *Respond
	// RetryAfter is what clients are told to wait that get 503; 0: those failures that the chain has nothing else for are told as
	// they are.
	RetryAfter time.Duration
}

// Respond is a fixed answer.
type Respond struct {
	Status int
	Fields []gateway.Field
	Body   []byte
	// File takes the place of Body; it may be put in anew while the filter works.
	File *atomic.Pointer[File]
}

// File is the contents of a file.
type File struct{ Body []byte }

// FileBytesMax bounds a file: it is kept in memory, and sent to every client at once when an upstream is down.
const FileBytesMax = 1 << 20

// ParseFile takes a file's contents.
func ParseFile(text []byte) (*File, error) {
	if len(text) > FileBytesMax {
		return nil, fmt.Errorf("the file has %d bytes, at most %d can be an answer: let a server send it", len(text), FileBytesMax)
	}
	return &File{text}, nil
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings
	Cause string
	Fix   string
}

// Words of answers, for header, log and metric.
const (
	// ReasonFallback: a fixed answer in the place of the upstream's.
	ReasonFallback = "fallback"
	// ReasonStatus: the upstream answered with a status that is on the list.
	ReasonStatus = gateway.ReasonStatus
)

// Reasons are the words that this filter answers with.
func Reasons() []string { return []string{ReasonFallback, ReasonStatus} }

// field names the field that says which step of the chain an answer is.
const field = "X-Degraded"

// step is where in the chain an exchange is.
type step uint8

const (
	fresh       step = iota // nothing has failed
	cluster                 // another cluster is asked
	static                  // the fixed answer
	unavailable             // 503 with Retry-After
	exhausted               // the failure is told as it is
)

var stepWords = [...]string{cluster: "fallback_cluster", static: "static", unavailable: "unavailable"}

// staleWord is the step that is the cache's, and cacheStale by what its answers are known.
const (
	staleWord  = "stale"
	cacheStale = "cache_stale"
)

// Filter is a compiled Spec. It is frozen, but for its passages.
type Filter struct {
	spec     Spec
	guard    *gateway.Guard
	statuses [10]uint64 // a bit for each status below 640
	respond  gateway.Respond
	pause    []byte // the value of Retry-After in a 503; nil: none
	passages gateway.PerLoop[passages]
}

// Compile checks s and makes a filter of it, or says everything that is wrong.
func Compile(s Spec, guard *gateway.Guard) (*Filter, []Problem) {
	f := &Filter{spec: s, guard: guard}
	if f.spec.On == 0 {
		f.spec.On = Usual
	}
	var problems []Problem
	for _, status := range s.Statuses {
		if status < 400 || status > 599 {
			problems = append(problems, Problem{"on", fmt.Sprintf("an answer with status %d is no failure", status), "list statuses from 400 to 599"})
			break
		}
		f.statuses[status/64] |= 1 << (status % 64)
	}
	if len(s.Statuses) > 0 && s.Respond == nil && s.Cluster == nil {
		problems = append(problems, Problem{"on", "there is nothing to put in the place of an answer", "add cluster:, respond: or file:, or list no statuses"})
	}
	if s.Cluster == nil && s.Respond == nil && s.RetryAfter == 0 {
		problems = append(problems, Problem{"", "the filter has nothing to fall back on", "add cluster:, respond:, file: or retry_after:"})
	}
	if problems != nil {
		return nil, problems
	}
	if s.RetryAfter > 0 { // whole seconds, rounded up (RFC 9110 10.2.3)
		f.pause = strconv.AppendInt(nil, int64((s.RetryAfter+time.Second-1)/time.Second), 10)
	}
	if r := s.Respond; r != nil {
		f.respond = gateway.Respond{Status: r.Status, Body: r.Body, Reason: ReasonFallback, Fields: slices.Clone(r.Fields)}
		if v, ok := valueOf(r.Fields, "Retry-After"); ok {
			f.pause = []byte(v)
		}
		if _, typed := valueOf(r.Fields, "Content-Type"); !typed {
			f.respond.Fields = append(f.respond.Fields, plainText)
		}
	}
	return f, nil
}

var plainText = gateway.Field{Name: "Content-Type", Value: "text/plain; charset=utf-8"}

func valueOf(list []gateway.Field, name string) (string, bool) {
	for _, f := range list {
		if strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Hooks returns the filter's hooks.
func (f *Filter) Hooks() gateway.Hooks {
	h := gateway.Hooks{Name: "fallback", Response: f.response, Failed: f.failed, Done: f.done}
	if len(f.spec.Statuses) > 0 && f.spec.Cluster != nil { // else the head is early enough
		h.Unwanted = f.lists
	}
	return h
}

// String says what the filter does.
func (f *Filter) String() string {
	on := f.spec.On.String()
	if n := len(f.spec.Statuses); n > 0 {
		if on != "" {
			on += " and "
		}
		on += fmt.Sprintf("%d statuses", n)
	}
	var chain []string
	if c := f.spec.Cluster; c != nil {
		chain = append(chain, "cluster "+c.Name)
	}
	if r := f.spec.Respond; r != nil {
		chain = append(chain, fmt.Sprintf("a fixed answer %d", r.Status))
	}
	if d := f.spec.RetryAfter; d > 0 {
		chain = append(chain, fmt.Sprintf("503 with Retry-After %v", d))
	}
	return "on " + on + ": " + strings.Join(chain, ", then ")
}

// passage is one exchange's way down the chain. Loop-owned, and pooled.
type passage struct {
	step    step
	failure *gateway.Failure // the first; nil: it was an answer
	status  int              // of that
}

// passages are the free ones of a loop.
type passages struct{ free []*passage }

// passagesKept bounds them: more begin at once only when everything fails.
const passagesKept = 256

// passage returns the exchange's, made when something has failed.
func (f *Filter) passage(x *gateway.Exchange) *passage {
	if p, ok := x.Kept().(*passage); ok {
		return p
	}
	l, p := f.passages.On(x), (*passage)(nil)
	if n := len(l.free); n > 0 {
		p = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		p = new(passage)
	}
	x.Keep(p)
	return p
}

// done gives it back.
func (f *Filter) done(x *gateway.Exchange) {
	p, ok := x.Kept().(*passage)
	if !ok {
		return
	}
	*p = passage{}
	if l := f.passages.On(x); len(l.free) < passagesKept {
		l.free = append(l.free, p)
	}
}

// failed goes down the chain.
func (f *Filter) failed(x *gateway.Exchange, why *gateway.Failure) gateway.Verdict {
	if why.Answered() {
		return f.answered(x, why)
	}
	cause := causeOf(why)
	if p, begun := x.Kept().(*passage); cause == 0 || f.spec.On&cause == 0 && (!begun || p.step == exhausted) {
		return gateway.GoOn // whoever has begun goes on for other causes, too: the answer that there was is gone
	}
	p := f.passage(x)
	if p.failure == nil && p.status == 0 {
		p.failure = why
	}
	if f.guard.Mode == gateway.Shadow {
		if p.step == fresh {
			p.step = exhausted
			f.judge(x, f.first(), p, 0)
		}
		return gateway.GoOn
	}
	if p.step == fresh && f.spec.Cluster != nil && x.DeadlineLeft() > 0 {
		// The other cluster may fail within the call, which leads back here.
		p.step = cluster
		if x.TryCluster(*f.spec.Cluster) {
			return gateway.Answered
		}
	}
	p.step = exhausted
	if isCall(x.Request) { // what the gateway says by itself is in gRPC's words
		return gateway.GoOn
	}
	switch {
	case f.spec.Respond != nil:
		p.step = static
		r := f.fixed()
		return x.Answer(&r)
	case f.spec.RetryAfter > 0:
		p.step = unavailable
		return x.Answer(&gateway.Respond{Status: 503, Body: []byte(why.Text + "\n"), Reason: why.Reason,
			Fields: []gateway.Field{plainText}})
	}
	return gateway.GoOn
}

// answered asks the other cluster in the place of an answer. Where it cannot be asked the answer goes on, to response.
func (f *Filter) answered(x *gateway.Exchange, why *gateway.Failure) gateway.Verdict {
	if f.spec.Cluster == nil || !f.lists(why.Status) {
		return gateway.GoOn
	}
	p := f.passage(x)
	if p.step != fresh {
		return gateway.GoOn
	}
	p.status = why.Status
	if f.guard.Mode == gateway.Shadow {
		p.step = exhausted
		f.judge(x, cluster, p, 0)
		return gateway.GoOn
	}
	p.step = cluster
	if x.DeadlineLeft() > 0 && x.TryCluster(*f.spec.Cluster) {
		return gateway.Answered
	}
	p.step, p.status = fresh, 0
	return gateway.GoOn
}

// first is the first step that the chain has.
func (f *Filter) first() step {
	switch {
	case f.spec.Cluster != nil:
		return cluster
	case f.spec.Respond != nil:
		return static
	}
	return unavailable
}

// fixed is the fixed answer as it is now.
func (f *Filter) fixed() gateway.Respond {
	r := f.respond
	if file := f.spec.Respond.File; file != nil {
		r.Body = file.Load().Body
	}
	return r
}

// response marks what is no fresh answer, and replaces one whose status is on the list.
func (f *Filter) response(x *gateway.Exchange, h *message.Head) {
	p, failed := x.Kept().(*passage)
	if failed && (p.step == static || p.step == unavailable) {
		f.degrade(x, h, p.step, p)
		return
	}
	if h.Status < 400 {
		switch {
		case failed && p.step == cluster:
			f.degrade(x, h, cluster, p)
		case x.Outcome().Reason == cacheStale:
			h.SetField([]byte(field), []byte(staleWord))
		}
		return
	}
	if x.Outcome().Reason != "" || failed && p.step == exhausted { // of the gateway's own, or judged already
		return
	}
	switch {
	case f.spec.Respond != nil && f.lists(h.Status) && !isCall(x.Request):
		f.replace(x, h)
	case failed && p.step == cluster:
		f.degrade(x, h, cluster, p)
	}
}

// lists tells whether answers of that status are failures.
func (f *Filter) lists(status int) bool {
	return status < 64*len(f.statuses) && f.statuses[status/64]&(1<<(status%64)) != 0
}

// replace makes the upstream's answer the fixed one.
func (f *Filter) replace(x *gateway.Exchange, h *message.Head) {
	p := passage{status: h.Status}
	if f.guard.Mode == gateway.Shadow {
		f.judge(x, static, &p, 0)
		return
	}
	if kept, ok := x.Kept().(*passage); ok {
		kept.step = static
	}
	r := f.fixed()
	rewrite(h, &r)
	if string(x.Method()) != "HEAD" {
		x.AddStage(&substitute{body: r.Body})
	}
	f.degrade(x, h, static, &p)
}

// degrade marks an answer.
func (f *Filter) degrade(x *gateway.Exchange, h *message.Head, s step, p *passage) {
	h.SetField([]byte(field), []byte(stepWords[s]))
	again := time.Duration(0)
	if s != cluster && h.Status == 503 { // of the gateway's own there is one already
		h.Remove(message.RetryAfter)
		if f.pause != nil {
			h.AddKnown(message.RetryAfter, f.pause)
			again = f.spec.RetryAfter
		}
	}
	f.judge(x, s, p, again)
}

// judge records which step it was, and for what: a failure, or an answer's status; and when the client was told to come again.
func (f *Filter) judge(x *gateway.Exchange, s step, p *passage, again time.Duration) {
	j := x.Judgement(f.guard)
	j.Outcome, j.Text, j.RetryAfter = gateway.Degraded, stepTexts[s], again
	if why := p.failure; why != nil {
		j.Reason = why.Reason
		j.Number("failure_status", float64(why.Status), "")
	} else {
		j.Reason = ReasonStatus
		j.Number("upstream_status", float64(p.status), "")
	}
	j.Number("step", float64(s), "")
	x.Judge(j)
}

var stepTexts = [...]string{cluster: "another cluster was asked", static: "the fixed answer was given", unavailable: "the client was told to come again"}

// isCall tells of a call of gRPC, which understands no such answer.
func isCall(h *message.Head) bool {
	const grpc = "application/grpc"
	v, ok := h.Get(message.ContentType)
	return ok && len(v) >= len(grpc) && message.EqualFold(v[:len(grpc)], []byte(grpc))
}
