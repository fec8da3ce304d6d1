package colour

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/route"
	"github.com/yumen-io/yumen/policy/split"
)

// Spec is what a document says. At least one colour is set.
type Spec struct {
	TraceID, UserID, DeviceType *Colour
	Group                       *Group
	Claim                       string // that says who the user is; empty: sub
	// Refuse is for requests with an accepted field that is not of the right form: they are answered 400. Else the field is dropped.
	Refuse bool
}

// Colour is one field.
type Colour struct {
	Header  string
	Accept  bool   // what clients send, if it is of the right form
	Pattern string // of the whole value (RE2); empty: what suits the colour
}

// Group is the field with the group of an experiment.
type Group struct {
	Colour
	Groups []split.Variant  // weights are shares from 0 to 1; split.Unsaid: an equal part of what the others leave
	Key    gateway.KeyParts // who keeps a group; of requests without all parts, and by default, the client's address
	Salt   string           // empty: the filter's name
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// ReasonInvalid is the word of refusals.
const ReasonInvalid = "colour_invalid"

// Reasons are the words that the filter answers with.
func Reasons() []string { return []string{ReasonInvalid} }

// valueBytesMax bounds every value: they are copied into logs, keys and every request to an upstream.
const valueBytesMax = 128

// traceForm is of ids that tracers make, and userForm of names that are neither empty nor have spaces in them.
const (
	traceForm = `[0-9A-Za-z_-]{8,64}`
	userForm  = `[!-~]{1,128}`
)

// Filter is a compiled Spec. It is frozen, but for its counts, and shared by all loops.
type Filter struct {
	guard               *gateway.Guard
	trace, user, device *field
	group               *field
	groups              []string
	table               *split.Table
	key                 gateway.KeyParts
	claim               string
	refuse              bool
	text                string
	counts              *counts
	loops               gateway.PerLoop[side]
}

// field is a compiled Colour.
type field struct {
	name    []byte
	accept  bool
	form    *regexp.Regexp // nil: one of the groups or devices
	allowed []string
}

// side is a loop's.
type side struct {
	agent  agentScratch
	agents agents
	value  []byte
	key    []byte
}

// keyKept is how much memory for a key a loop keeps: a client may have sent a head full of it.
const keyKept = 4 << 10

// counts are how many requests had which device and group. They outlive configurations with the same groups.
type counts struct {
	loops [gateway.LoopsMax]atomic.Pointer[cells]
}

type cells struct {
	devices [devices]atomic.Uint64
	groups  [split.VariantsMax]atomic.Uint64
	_       [64]byte // the next loop's are on other lines of the cache
}

// Start is for gateway.Remembered.
func (c *counts) Start() {}

// Close is for gateway.Remembered.
func (c *counts) Close() {}

func (c *counts) on(loop int) *cells {
	at := c.loops[loop].Load()
	if at == nil {
		at = new(cells)
		c.loops[loop].Store(at)
	}
	return at
}

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	f := &Filter{guard: guard, claim: s.Claim, refuse: s.Refuse}
	if f.claim == "" {
		f.claim = "sub"
	}
	var problems []Problem
	var names []string
	one := func(word string, c *Colour, form string, allowed []string) *field {
		if c == nil {
			return nil
		}
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, c.Header) }) {
			problems = append(problems, Problem{word + ".header", fmt.Sprintf("the field %q has another colour already", c.Header), "give each a field of its own"})
		}
		names = append(names, c.Header)
		out := &field{name: []byte(c.Header), accept: c.Accept, allowed: allowed}
		if c.Pattern != "" {
			form = c.Pattern
		}
		if form != "" {
			re, err := regexp.Compile("^(?:" + form + ")$")
			if err != nil {
				problems = append(problems, Problem{word + ".pattern", fmt.Sprintf("%q is not a regular expression: %v", form, err), "the syntax is RE2"})
			}
			out.form = re
		}
		return out
	}
	f.trace = one("trace_id", s.TraceID, traceForm, nil)
	f.user = one("user_id", s.UserID, userForm, nil)
	f.device = one("device_type", s.DeviceType, "", deviceWords[:])
	if g := s.Group; g != nil {
		problems = append(problems, f.compileGroups(g)...)
		f.group = one("abtest_group", &g.Colour, "", f.groups)
	}
	if len(names) == 0 {
		problems = append(problems, Problem{Cause: "the filter sets no colour", Fix: "write colour: {trace_id: on}"})
	}
	if problems != nil {
		return nil, problems
	}
	name := ""
	if guard != nil {
		name = guard.Name
		guard.Tell = f.tell
	}
	f.counts = gateway.Recall(memory, "colour/"+strings.Join(f.groups, ",")+"/"+name, func() *counts { return new(counts) })
	f.text = f.describe()
	return f, nil
}

// address is who asks, of requests that do not say.
var address = gateway.KeyParts{{By: gateway.ByClientAddress}}

func (f *Filter) compileGroups(g *Group) []Problem {
	weights := make([]float64, len(g.Groups))
	for i, v := range g.Groups {
		if v.Weight != split.Unsaid && !split.IsStep(v.Weight) {
			return []Problem{{"abtest_group.groups[" + strconv.Itoa(i) + "].weight", "a weight goes from 0% to 100% in steps of 0.01%", ""}}
		}
		if v.Name == "" || len(v.Name) > valueBytesMax {
			return []Problem{{"abtest_group.groups[" + strconv.Itoa(i) + "].name", fmt.Sprintf("a group's name has 1 to %d bytes", valueBytesMax), ""}}
		}
		weights[i] = v.Weight
		f.groups = append(f.groups, v.Name)
	}
	list := slices.Clone(g.Groups)
	found, err := split.Set(weights, nil, nil)
	if err == nil && len(list) > 0 {
		for i := range list {
			list[i].Weight = found[i]
		}
	}
	salt := g.Salt
	if salt == "" && f.guard != nil {
		salt = f.guard.Name
	}
	if err == nil {
		f.table, err = split.New(salt, list)
	}
	if err != nil {
		return []Problem{{"abtest_group.groups", err.Error(), "write groups: [{name: a}, {name: b, weight: 10%}]"}}
	}
	if f.key = g.Key; len(f.key) == 0 {
		f.key = address
	}
	return nil
}

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	m := f.mark(f.loops.On(x), x.Request, nil, x)
	at := f.counts.on(x.LoopIndex())
	if f.device != nil {
		at.devices[m.device].Add(1)
	}
	if f.group != nil && m.group >= 0 {
		at.groups[m.group].Add(1)
	}
	j := x.Judgement(f.guard)
	if m.bad != nil && f.refuse {
		j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, 400, ReasonInvalid, "A field that marks the request is not of the right form."
		j.Key = m.bad.name
	}
	return x.Judge(j)
}

// Before does to a head what Request would, as far as that can be told of a request that is described and not sent: no id is drawn, there
// are no claims, and a group that goes by who asks is not known.
func (f *Filter) Before(h *message.Head, p *route.Params) { f.mark(new(side), h, p, nil) }

// marks are what was found out of a request.
type marks struct {
	bad    *field // that was sent, accepted, and not of the right form; nil: none
	device Device
	group  int // -1: not known
}

// mark sets the fields. Without an exchange the parameters are p's.
func (f *Filter) mark(s *side, h *message.Head, p *route.Params, x *gateway.Exchange) marks {
	m := marks{group: -1}
	note := func(c *field, ok, sent bool) bool {
		if sent && !ok && m.bad == nil {
			m.bad = c
		}
		return ok
	}
	if f.trace != nil {
		id, traced := f.context(h)
		if _, ok, sent := f.trace.sent(h); !note(f.trace, ok, sent) {
			s.value = s.value[:0]
			switch {
			case traced:
				s.value = append(s.value, id...)
			case x != nil:
				s.value = appendHex(appendHex(s.value, x.Random()), max(x.Random(), 1))
			}
			f.trace.set(h, s.value)
		}
	}
	if f.user != nil {
		var user []byte
		if x != nil {
			user, _ = x.Claim(f.claim)
		}
		_, ok, sent := f.user.sent(h)
		switch fits := f.user.fits(user); {
		case fits: // who has been verified goes before who says so
			f.user.set(h, user)
		case !note(f.user, ok, sent):
			f.user.set(h, nil)
		}
	}
	if f.device != nil {
		value, ok, sent := f.device.sent(h)
		if note(f.device, ok, sent) {
			m.device = Device(slices.Index(deviceWords[:], string(value)))
		} else {
			agent, _ := h.Get(message.UserAgent)
			m.device = s.agents.deviceOf(agent, &s.agent)
			s.value = append(s.value[:0], deviceWords[m.device]...)
			f.device.set(h, s.value)
		}
	}
	if f.group != nil {
		value, ok, sent := f.group.sent(h)
		if note(f.group, ok, sent) {
			m.group = slices.Index(f.groups, string(value))
		} else {
			s.value = s.value[:0]
			if m.group = f.groupOf(s, h, p, x); m.group >= 0 {
				s.value = append(s.value, f.groups[m.group]...)
			}
			f.group.set(h, s.value)
		}
	}
	return m
}

// groupOf returns the group of who asks, by the fields as they are now; -1 if that cannot be told.
func (f *Filter) groupOf(s *side, h *message.Head, p *route.Params, x *gateway.Exchange) int {
	key, complete := s.key[:0], true
	if x != nil {
		if key, complete = f.key.Append(key, x); !complete {
			key, _ = address.Append(key[:0], x)
		}
	} else {
		// One part of the head, the usual key of an experiment, is enough for an explanation.
		if len(f.key) != 1 {
			return -1
		}
		value, ok := f.key[0].Value(h, p)
		if !ok {
			return -1
		}
		key = append(append(append(key, f.key[0].Name...), '='), escaped(value)...)
	}
	if s.key = key; cap(key) > keyKept {
		s.key = nil
	}
	return f.table.Pick(key)
}

// escaped is a value as gateway.KeyParts writes it.
func escaped(value []byte) (b []byte) {
	for _, c := range value {
		if c == ',' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return b
}

// context returns the trace-id of the request's trace context. One that is not valid is dropped, with what belongs to it: who finds it invalid begins a new
// trace (W3C Trace Context 4.3).
func (f *Filter) context(h *message.Head) (id []byte, ok bool) {
	parent, count := []byte(nil), 0
	for v, next := h.NextField(traceparent, 0); next >= 0; v, next = h.NextField(traceparent, next) {
		parent = v
		count++
	}
	if count == 0 {
		return nil, false
	}
	if id, ok = traceOf(parent); ok && count == 1 {
		return id, true
	}
	h.RemoveField([]byte(traceparent))
	h.RemoveField([]byte(tracestate))
	return nil, false
}

const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// sent returns what the client sent, if it is accepted: whether it was sent, and whether it is of the right form. Then it stays as it is.
func (c *field) sent(h *message.Head) (value []byte, ok, sent bool) {
	if !c.accept {
		return nil, false, false
	}
	count := 0
	h.EachField(c.name, func(v []byte) bool {
		value = v
		count++
		return count < 2
	})
	return value, count == 1 && c.fits(value), count > 0
}

// fits tells whether a value is of the right form.
func (c *field) fits(value []byte) bool {
	if len(value) == 0 || len(value) > valueBytesMax {
		return false
	}
	for _, b := range value {
		if b < ' ' || b > '~' { // whatever the pattern says: it goes into fields and logs
			return false
		}
	}
	if c.allowed != nil && !slices.Contains(c.allowed, string(value)) {
		return false
	}
	return c.form == nil || c.form.Match(value)
}

// set replaces what was sent; an empty value leaves the field out.
func (c *field) set(h *message.Head, value []byte) {
	h.RemoveField(c.name)
	if len(value) > 0 {
		h.Add(c.name, value)
	}
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "colour", Request: f.Request} }

// tell is for the guard's numbers.
func (f *Filter) tell(yield func(number string, value float64)) {
	var sums cellSums
	for i := range f.counts.loops {
		if at := f.counts.loops[i].Load(); at != nil {
			for d := range sums.devices {
				sums.devices[d] += at.devices[d].Load()
			}
			for g := range sums.groups {
				sums.groups[g] += at.groups[g].Load()
			}
		}
	}
	if f.device != nil {
		for d, n := range sums.devices {
			yield("device_"+deviceWords[d], float64(n))
		}
	}
	for g, name := range f.groups {
		yield("group_"+name, float64(sums.groups[g]))
	}
}

type cellSums struct {
	devices [devices]uint64
	groups  [split.VariantsMax]uint64
}

// String says what the filter does.
func (f *Filter) String() string { return f.text }

func (f *Filter) describe() string {
	var list []string
	add := func(c *field, what string) {
		if c == nil {
			return
		}
		if c.accept {
			what += ", unless the client sends one that is valid"
		}
		list = append(list, string(c.name)+" is "+what)
	}
	add(f.trace, "the trace's id")
	if f.user != nil {
		add(f.user, "the claim "+f.claim)
	}
	add(f.device, "the kind of device")
	if f.group != nil {
		add(f.group, "one of "+strings.Join(f.groups, ", "))
	}
	text := strings.Join(list, "; ")
	if f.refuse {
		text += "; what is not valid is answered 400"
	}
	return text
}
