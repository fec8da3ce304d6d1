package mirror

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// Spec is what a document says.
type Spec struct {
	Cluster gateway.ClusterRef // gets the copies
	// Share is the part of the requests that are copied, above 0 to 1. 0: all.
	Share float64
	// Methods are those of requests that are copied; none: GET and HEAD, which ask for nothing to be done twice.
	Methods []string
	// BodyBytesMax is the largest body of a request that is copied; 0: BodyBytesDefault, NoBodies: none is.
	BodyBytesMax int64
	// InFlight is how many copies each loop has under way at most; 0: InFlightDefault.
	InFlight int
	// Timeout is how long a copy may take; 0: TimeoutDefault.
	Timeout time.Duration
	// Changes to the fields of copies: removed, then set, then added.
	Remove   []string
	Set, Add []gateway.Field
	Compare  *Compare // nil: what is answered to copies is thrown away
}

const (
	// BodyBytesDefault is more than most requests of an API have, and little enough to be kept until they are complete.
	BodyBytesDefault = 64 << 10
	// BodyBytesMax bounds what a document may ask for: with InFlight it is what copies take of memory.
	BodyBytesMax = 1 << 20
	// InFlightDefault is enough for 6400 copies a second and loop if each takes 10 ms; their bodies take 4 MiB at most.
	InFlightDefault = 64
	// InFlightMax bounds what a document may ask for.
	InFlightMax = 10_000
	// TimeoutDefault: who has not answered by then would hold a place of others.
	TimeoutDefault = 5 * time.Second
)

// NoBodies is for Spec.BodyBytesMax: requests with a body are not copied.
const NoBodies = -1

// answerBytesMax is how much of an answer is read so that its connection can be used again. Of a longer one the rest costs more
// than a new connection, which is what it is left for.
const answerBytesMax = 1 << 20

// Field is what copies are known by: its value is the mirror's name. A request that has it is a copy, and is not copied again, so
// that mirrors that lead back to their own gateway end there.
const Field = "X-Yumen-Mirror"

var field = []byte(Field)

// Kind is what a document calls the filter.
const Kind = "mirror"

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings
	Cause string
	Fix   string
}

// Filter is a compiled Spec. It is frozen, but for its state.
type Filter struct {
	spec   Spec
	name   []byte
	guard  *gateway.Guard
	state  *state
	report *report // of comparisons; nil: none are made
	below  uint64  // a request is copied if a random number is
}

// Compile checks s and makes a filter of it, or says everything that is wrong.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	if s.Share == 0 {
		s.Share = 1
	}
	if len(s.Methods) == 0 {
		s.Methods = []string{"GET", "HEAD"}
	}
	if s.BodyBytesMax == 0 {
		s.BodyBytesMax = BodyBytesDefault
	}
	if s.InFlight == 0 {
		s.InFlight = InFlightDefault
	}
	if s.Timeout == 0 {
		s.Timeout = TimeoutDefault
	}
	if s.Compare != nil {
		c := *s.Compare
		if c.BodyBytesMax == 0 {
			c.BodyBytesMax = CompareBytesDefault
		}
		if c.Examples == 0 {
			c.Examples = ExamplesDefault
		}
		s.Compare = &c
	}
	var problems []Problem
	for _, p := range []struct {
		wrong      bool
		field, why string
	}{
		{!(s.Share > 0 && s.Share <= 1), "share", "a share is above 0 % and at most 100 %"},
		{s.BodyBytesMax < NoBodies || s.BodyBytesMax > BodyBytesMax, "max_body", "a copy's body has at most 1 MiB"},
		{s.InFlight < 0 || s.InFlight > InFlightMax, "in_flight", "at most 10000 copies can be under way"},
		{s.Timeout < 0, "timeout", "a timeout is above zero"},
		{s.Compare != nil && (s.Compare.BodyBytesMax < 0 || s.Compare.BodyBytesMax > CompareBytesMax), "compare.max_body", "bodies of at most 4 MiB are compared"},
		{s.Compare != nil && (s.Compare.Examples < 0 || s.Compare.Examples > ExamplesMax), "compare.examples", "at most 1000 examples are kept"},
		{slices.Contains(s.Methods, "CONNECT"), "methods", "a tunnel cannot be copied"},
	} {
		if p.wrong {
			problems = append(problems, Problem{Field: p.field, Cause: p.why})
		}
	}
	if problems != nil {
		return nil, problems
	}
	s.BodyBytesMax = max(s.BodyBytesMax, 0)
	f := &Filter{spec: s, name: []byte(guard.Name), guard: guard, below: math.MaxUint64}
	if s.Share < 1 {
		f.below = uint64(s.Share * (1 << 63) * 2)
	}
	f.state = gateway.Recall(memory, "mirror/"+guard.Name, newState)
	guard.Tell = f.tell
	if f.spec.Compare != nil {
		f.report = gateway.Recall(memory, reportKey(guard.Name, &f.spec), newReport)
		guard.Detail = func() any { return f.report.view() }
	}
	return f, nil
}

// Hooks returns the filter's hooks.
func (f *Filter) Hooks() gateway.Hooks {
	h := gateway.Hooks{Name: "mirror", Request: f.request}
	if f.report != nil {
		h.Response, h.Done = f.response, f.done
	}
	return h
}

// String says what the filter does.
func (f *Filter) String() string {
	compared := ""
	if f.report != nil {
		compared = "; answers are compared"
	}
	return fmt.Sprintf("copies of %s %s to cluster %s, bodies up to %d B, %d under way on each loop, %v each"+compared, shareText(f.spec.Share),
		strings.Join(f.spec.Methods, ", "), f.spec.Cluster.Name, f.spec.BodyBytesMax, f.spec.InFlight, f.spec.Timeout)
}

func shareText(s float64) string {
	if s == 1 {
		return "all"
	}
	return fmt.Sprintf("%.6g%% of", 100*s)
}

func (f *Filter) tell(yield func(number string, value float64)) {
	f.state.tell(yield)
	if f.report != nil {
		f.report.tell(yield)
	}
}

// request chooses requests, and begins their copies. Those without a body are copied at once, others when they are complete.
func (f *Filter) request(x *gateway.Exchange) gateway.Verdict {
	h := x.Request
	if !f.copies(x.Method()) || f.below != math.MaxUint64 && x.Random() >= f.below || h.Upgrade.Len > 0 {
		return gateway.GoOn
	}
	l := f.state.loops.On(x)
	l.leaveOverlong()
	if _, is := h.Field(field); is {
		return f.drop(x, l, alreadyMirrored)
	}
	switch {
	case h.Length > f.spec.BodyBytesMax:
		return f.drop(x, l, bodyTooLarge)
	case l.inFlight >= f.spec.InFlight:
		return f.drop(x, l, inFlightFull)
	}
	if f.guard.Mode == gateway.Shadow {
		return f.judge(x, l, wouldSend, "the request would have been copied")
	}
	t := f.open(x, l)
	if f.report != nil {
		t.comparing(x)
	}
	if x.BodyEnded() && h.Length == 0 {
		t.send(x)
	} else if err := x.AddRequestStage(t.watch(x)); err != nil {
		t.drop(requestIncomplete) // it cannot fail, for this stage does not
	}
	t.release()
	return f.judge(x, l, sent, "the request is copied")
}

// copies tells whether requests of a method are copied.
func (f *Filter) copies(method []byte) bool {
	for _, m := range f.spec.Methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// drop counts a request that has no copy.
func (f *Filter) drop(x *gateway.Exchange, l *loopState, why count) gateway.Verdict {
	f.state.add(why)
	return f.judge(x, l, why, "the request is not copied")
}

// judge records what became of a request that was chosen. It always passes.
func (f *Filter) judge(x *gateway.Exchange, l *loopState, what count, text string) gateway.Verdict {
	if what == wouldSend {
		f.state.add(what)
	}
	j := x.Judgement(f.guard)
	j.Text = text
	if what > wouldSend {
		j.Reason = countWords[what]
	}
	j.Number("in_flight", float64(l.inFlight), "")
	j.Number("limit", float64(f.spec.InFlight), "")
	return x.Judge(j)
}

// change makes a copy's head of a request's.
func (f *Filter) change(h *message.Head) {
	for _, name := range f.spec.Remove {
		h.RemoveField([]byte(name))
	}
	for i := range f.spec.Set {
		h.SetField([]byte(f.spec.Set[i].Name), []byte(f.spec.Set[i].Value))
	}
	for i := range f.spec.Add {
		h.AddString(f.spec.Add[i].Name, f.spec.Add[i].Value)
	}
	h.SetField(field, f.name)
}
