package sizes

import (
	"fmt"
	"strings"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// Spec is what a document says. Zero is no bound; at least one is set.
type Spec struct {
	TargetBytesMax int   // path and query
	HeadBytesMax   int   // request line and fields, as HTTP/1 writes them
	FieldsMax      int   // how many
	BodyBytesMax   int64 // declared, or as they come
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings
	Cause string
	Fix   string
}

// bound is one thing that is bounded: what the client is told, and what the number is called.
type bound struct {
	failure *gateway.Failure
	number  string
	unit    string
}

func newBound(status int, reason, text, number, unit string) *bound {
	return &bound{&gateway.Failure{Side: gateway.Client, Status: status, Reason: reason, Text: text}, number, unit}
}

// The bounds. Their words are those that listeners have for theirs, so that this filter brings none of its own.
var (
	target = newBound(414, "long_target", "the request target is longer than its route allows", "target", "B")
	head   = newBound(431, "large_head", "the head is larger than its route allows", "head", "B")
	fields = newBound(431, "many_fields", "there are more fields than the route allows", "fields", "")
	body   = newBound(413, "body_too_large", "the request's body is larger than its route allows", "body", "B")
)

// Filter is a compiled Spec. It is frozen, but for the memory of each loop.
type Filter struct {
	spec   Spec
	guard  *gateway.Guard
	meters gateway.PerLoop[meters]
}

// Compile checks s and makes a filter of it, or says everything that is wrong.
func Compile(s Spec, guard *gateway.Guard) (*Filter, []Problem) {
	if s == (Spec{}) {
		return nil, []Problem{{Cause: "the filter bounds nothing", Fix: "write sizes: {body_bytes: 1MB}"}}
	}
	return &Filter{spec: s, guard: guard}, nil
}

// Hooks returns the filter's hooks.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "sizes", Request: f.request, Failed: f.failed}
}

// String says what the filter does.
func (f *Filter) String() string {
	var list []string
	for _, b := range []struct {
		what string
		most int64
	}{{"a target of %d B", int64(f.spec.TargetBytesMax)}, {"a head of %d B", int64(f.spec.HeadBytesMax)}, {"%d fields", int64(f.spec.FieldsMax)},
		{"a body of %d B", f.spec.BodyBytesMax}} {
		if b.most > 0 {
			list = append(list, fmt.Sprintf(b.what, b.most))
		}
	}
	return "at most " + strings.Join(list, ", ")
}

// request judges the head, and what it says of the body. A body of unknown length is judged as it passes.
func (f *Filter) request(x *gateway.Exchange) gateway.Verdict {
	if b, seen, most := f.spec.exceeded(x.Request); b != nil {
		return x.Judge(f.refusal(x, b, seen, most))
	}
	if f.spec.BodyBytesMax > 0 && x.Request.Length == message.UnknownLength && x.Request.Upgrade.Len == 0 {
		m := f.meters.On(x).open(f, x)
		x.Keep(m)
		if err := x.AddRequestStage(m); err != nil {
			return x.Judge(f.refusal(x, body, m.came, f.spec.BodyBytesMax))
		}
		return gateway.GoOn
	}
	return f.passed(x, max(x.Request.Length, 0))
}

// exceeded returns the first bound that a head is over, and by which numbers.
func (s *Spec) exceeded(h *message.Head) (b *bound, seen, most int64) {
	if n := targetBytes(h); s.TargetBytesMax > 0 && n > s.TargetBytesMax {
		return target, int64(n), int64(s.TargetBytesMax)
	}
	if s.HeadBytesMax > 0 || s.FieldsMax > 0 {
		count, bytes := measure(h)
		switch {
		case s.FieldsMax > 0 && count > s.FieldsMax:
			return fields, int64(count), int64(s.FieldsMax)
		case s.HeadBytesMax > 0 && bytes > s.HeadBytesMax:
			return head, int64(bytes), int64(s.HeadBytesMax)
		}
	}
	if s.BodyBytesMax > 0 && h.Length > s.BodyBytesMax {
		return body, h.Length, s.BodyBytesMax
	}
	return nil, 0, 0
}

func targetBytes(h *message.Head) int {
	n := int(h.Path.Len)
	if h.HasQuery {
		n += 1 + int(h.Query.Len)
	}
	return n
}

// measure counts fields and the bytes of a head as HTTP/1 writes it, whichever version brought it: a bound means the same for
// all.
func measure(h *message.Head) (count, bytes int) {
	const around = len(": \r\n")
	bytes = int(h.Method.Len) + targetBytes(h) + len("  HTTP/1.1\r\n") + len("Host") + around + int(h.Authority.Len) + len("\r\n")
	all := h.All()
	for i := range all {
		if f := &all[i]; !f.Gone {
			count++
			bytes += int(f.Name.Len) + int(f.Value.Len) + around
		}
	}
	return count, bytes
}

// failed answers for a body that turned out to be too large.
func (f *Filter) failed(x *gateway.Exchange, why *gateway.Failure) gateway.Verdict {
	m, ok := x.Kept().(*meter)
	if !ok || why != body.failure || !m.over {
		return gateway.GoOn
	}
	return x.Judge(f.refusal(x, body, m.came, f.spec.BodyBytesMax))
}

func (f *Filter) refusal(x *gateway.Exchange, b *bound, seen, most int64) *gateway.Judgement {
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, b.failure.Status, b.failure.Reason, b.failure.Text
	j.Number(b.number, float64(seen), b.unit)
	j.Number("limit", float64(most), b.unit)
	return j
}

func (f *Filter) passed(x *gateway.Exchange, bodyBytes int64) gateway.Verdict {
	j := x.Judgement(f.guard)
	j.Number(target.number, float64(targetBytes(x.Request)), "B")
	j.Number(body.number, float64(bodyBytes), "B")
	return x.Judge(j)
}

// meter counts the bytes of a body. It is a stage of the gateway's. Loop-owned, and pooled.
type meter struct {
	of   *Filter
	from *meters
	x    *gateway.Exchange
	came int64
	over bool
}

// meters are the free ones of a loop.
type meters struct{ free []*meter }

// metersKept bounds them: as many bodies as come at once to most loops.
const metersKept = 64

func (l *meters) open(f *Filter, x *gateway.Exchange) *meter {
	m := &meter{from: l}
	if n := len(l.free); n > 0 {
		m = l.free[n-1]
		l.free = l.free[:n-1]
	}
	m.of, m.x, m.came, m.over = f, x, 0, false
	return m
}

// Data passes bytes on, unless they are too many.
func (m *meter) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	m.came += int64(n)
	if m.came > m.of.spec.BodyBytesMax && !m.over {
		m.over = true
		if m.of.guard.Mode == gateway.Shadow {
			m.x.Judge(m.of.refusal(m.x, body, m.came, m.of.spec.BodyBytesMax))
		}
	}
	if m.over && m.of.guard.Mode == gateway.Enforce {
		in.Skip(p, n)
		return body.failure
	}
	out.Take(p, in, n)
	return nil
}

// Flush has nothing to let out.
func (m *meter) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End records a body that was not too large.
func (m *meter) End(*buf.Chain, *buf.Pool) error {
	if !m.over {
		m.of.passed(m.x, m.came)
	}
	return nil
}

// Release keeps the meter for the next body.
func (m *meter) Release(*buf.Pool, bool) {
	m.of, m.x = nil, nil
	if len(m.from.free) < metersKept {
		m.from.free = append(m.from.free, m)
	}
}
