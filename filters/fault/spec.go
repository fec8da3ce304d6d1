package fault

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/fault"
)

// Spec is what a document says.
type Spec struct {
	// Experiment is the name under which is remembered what was spent and that it was stopped; a new one begins anew. Empty: the
	// guard's.
	Experiment string
	When       When

	Delay *fault.Delay
	Abort *Abort
	Reset bool  // the client's connection, or stream, before an answer
	Cut   int64 // after how many bytes of the answer's body the same; 0: not at all
	Slow  int64 // at how many bytes a second the answer's body leaves; 0: as fast as it can

	Requests int64         // that may be affected in all; 0: any
	Share    float64       // of those that are seen, from 0 to 1; 0: any
	Expires  time.Time     // zero: never
	After    time.Duration // since the experiment began; 0: never
	Stop     *fault.Limits // nil: never
}

// When is who is in the cohort. All that is set must hold.
type When struct {
	Share   float64 // of those for whom the rest holds, from 0 to 1, by chance; 0: all
	Headers []Match
	Claims  []Match
	Clients []netip.Prefix
}

// Match asks for a header or a claim with a value; an empty one is any.
type Match struct{ Name, Value string }

// Abort is an answer in the place of the upstream's.
type Abort struct {
	Status int // 0: 503
	GRPC   int // of calls; 0: what Status means in gRPC
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings
	Cause string
	Fix   string
}

// The words of what was injected.
const (
	ReasonDelay = "fault_delay"
	ReasonAbort = "fault_abort"
	ReasonReset = "fault_reset"
	ReasonCut   = "fault_cut"
	ReasonSlow  = "fault_slow"
)

// Reasons are the words that the filter answers with.
func Reasons() []string {
	return []string{ReasonAbort, ReasonCut, ReasonDelay, ReasonReset, ReasonSlow}
}

const (
	// matchesMax bounds what is asked of each request.
	matchesMax = 16
	// delayedMax bounds the requests that one loop holds: each is a client's connection and what came of its body. Those beyond
	// pass without a fault.
	delayedMax = 1000
	// slowedMax bounds the answers that one loop lets go slowly: each is a connection, and what the gateway holds for it.
	slowedMax = 1000
)

// Compile makes a filter of s, or says everything that is wrong with it. What memory knows of the experiment goes on.
func Compile(s Spec, guard *gateway.Guard, r *gateway.Recollection) (*Filter, []Problem) {
	problems := check(&s)
	if problems != nil {
		return nil, problems
	}
	if s.Experiment == "" {
		s.Experiment = guard.Name
	}
	f := &Filter{guard: guard, spec: s}
	f.terms = &terms{requests: s.Requests, after: s.After, expires: s.Expires, stop: s.Stop}
	f.finish, f.hold = f.finished, f.held
	f.state = gateway.Recall(r, "fault/"+guard.Name+"/"+s.Experiment+"/"+guard.Mode.String(), func() *state {
		made := &state{guard: guard.Name, experiment: s.Experiment, shadow: guard.Mode == gateway.Shadow}
		made.terms.Store(f.terms) // what no request has come to ends, too
		return made
	})
	guard.Tell, guard.Detail = f.tell, f.detail
	return f, nil
}

func check(s *Spec) (problems []Problem) {
	fail := func(field, cause, fix string) { problems = append(problems, Problem{field, cause, fix}) }
	if s.Delay == nil && s.Abort == nil && !s.Reset && s.Cut == 0 && s.Slow == 0 {
		fail("", "the filter injects nothing", "add delay: 200ms, abort: 503, reset: on, cut: 1kB or slow: 1kB/s")
	}
	if s.Requests <= 0 && s.Expires.IsZero() && s.After <= 0 {
		fail("", "nothing ends the experiment", "add after: 10m, expires: or budget: {requests: 1000}")
	}
	if s.Delay != nil {
		d := *s.Delay
		if wrong := d.Check(); wrong != "" {
			fail("delay", wrong, "write delay: 200ms")
		}
		s.Delay = &d
	}
	if s.Abort != nil && s.Reset {
		fail("reset", "a request cannot be both answered and reset", "remove abort or reset")
	}
	if s.Cut != 0 && (s.Abort != nil || s.Reset) {
		fail("cut", "there is no body of an upstream to cut off", "remove cut, or abort and reset")
	}
	if a := s.Abort; a != nil {
		v := *a
		if v.Status == 0 {
			v.Status = 503
		}
		if v.Status < 400 || v.Status > 599 || v.GRPC < 0 || v.GRPC > 16 {
			fail("abort", fmt.Sprintf("status %d is no failure", v.Status), "write abort: 503")
		}
		s.Abort = &v
	}
	if s.Slow != 0 && (s.Abort != nil || s.Reset) {
		fail("slow", "there is no body of an upstream to slow down", "remove slow, or abort and reset")
	}
	if s.Slow < 0 || s.Slow > gateway.ValveRateMax {
		fail("slow", fmt.Sprintf("a rate is from 1 to %d bytes a second", gateway.ValveRateMax), "write slow: 1kB/s")
	}
	if s.Cut < 0 {
		fail("cut", "there is no such byte", "write cut: 1kB")
	}
	for _, share := range []struct {
		field string
		v     float64
	}{{"when.share", s.When.Share}, {"budget.share", s.Share}} {
		if share.v < 0 || share.v > 1 {
			fail(share.field, "a share is from 0% to 100%", "write 1%")
		}
	}
	if len(s.When.Headers)+len(s.When.Claims)+len(s.When.Clients) > matchesMax {
		fail("when", fmt.Sprintf("more than %d conditions", matchesMax), "ask for one header that a gateway before sets")
	}
	if l := s.Stop; l != nil && (l.ErrorRatio < 0 || l.ErrorRatio > 1 || l.ErrorRatio == 0 && l.P99 <= 0 || l.Over <= 0 || l.Over > fault.OverMax) {
		fail("stop_when", fmt.Sprintf("it needs an error_ratio or a p99, over %s at most", fault.OverMax), "write stop_when: {error_ratio: 5%, over: 30s}")
	}
	return problems
}

// String says what the filter does.
func (f *Filter) String() string {
	s := &f.spec
	var does []string
	if d := s.Delay; d != nil {
		switch d.Distribution {
		case fault.Uniform:
			does = append(does, fmt.Sprintf("delays by %s to %s", d.Min, d.Max))
		case fault.Exponential:
			does = append(does, fmt.Sprintf("delays by %s on average", d.Time))
		default:
			does = append(does, fmt.Sprintf("delays by %s", d.Time))
		}
	}
	if s.Abort != nil {
		does = append(does, fmt.Sprintf("answers %d", s.Abort.Status))
	}
	if s.Reset {
		does = append(does, "resets")
	}
	if s.Slow > 0 {
		does = append(does, fmt.Sprintf("slows answers down to %d bytes a second", s.Slow))
	}
	if s.Cut > 0 {
		does = append(does, fmt.Sprintf("cuts answers after %d bytes", s.Cut))
	}
	text := strings.Join(does, " and ") + " " + s.When.String()
	if s.Requests > 0 {
		text += fmt.Sprintf(", %d at most", s.Requests)
	}
	if s.Share > 0 {
		text += fmt.Sprintf(", %.4g%% of all at most", 100*s.Share)
	}
	if !s.Expires.IsZero() {
		text += ", until " + s.Expires.UTC().Format(time.RFC3339)
	}
	if s.After > 0 {
		text += fmt.Sprintf(", for %s", s.After)
	}
	return text
}

// String says who is in the cohort.
func (w *When) String() string {
	var of []string
	for _, m := range w.Headers {
		of = append(of, "header "+m.String())
	}
	for _, m := range w.Claims {
		of = append(of, "claim "+m.String())
	}
	if n := len(w.Clients); n > 0 {
		of = append(of, fmt.Sprintf("clients of %d networks", n))
	}
	text := "requests"
	if w.Share > 0 {
		text = fmt.Sprintf("%.4g%% of requests", 100*w.Share)
	}
	if of != nil {
		text += " with " + strings.Join(of, " and ")
	}
	return text
}

// String returns the match as people write it.
func (m Match) String() string {
	if m.Value == "" {
		return m.Name
	}
	return m.Name + "=" + m.Value
}
