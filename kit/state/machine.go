package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Name is what states and events are: a small number with a name. Declare them as constants of a type of your own with a
// String method; package order shows how. The number is what a Cell keeps, the name what a row, a drawing and an error
// show. A name is 1 to 32 letters, digits and underscores; String must know every value that the table uses, and return
// a name for nothing else ("" is best).
type Name interface {
	~uint8
	fmt.Stringer
}

// Transition is one line of the table: in From, Event leads to To.
type Transition[S, E Name] struct {
	From  S
	Event E
	To    S
}

// Config is a machine as its author writes it down.
type Config[S, E Name] struct {
	// Name stands in errors and in the drawing: "order". Required, written like the name of a state.
	Name string
	// Initial is the state of something new.
	Initial S
	// Final are the states that nothing leaves. Every other one must be left by something.
	Final []S
	// Transitions is the whole table; 1 to 4096 lines.
	Transitions []Transition[S, E]
}

// Machine is a checked table. It does not change and may be used by any goroutine.
type Machine[S, E Name] struct {
	name        string
	initial     S
	final       []S
	transitions []Transition[S, E]
	states      []S // in the order of their numbers
	// next is the table by state and event: the state that follows + 1, or 0.
	next   []uint16
	events int // how many columns next has
	byName map[string]S
}

const (
	transitionsMax = 4096 // more cannot be reviewed
	nameMax        = 32   // fits the columns of the log
)

// New checks all of the table and names everything that is wrong with it:
//   - two transitions of one state and event: which one would be taken?
//   - a state that cannot be reached from the initial one;
//   - a state that nothing leaves and that is not final, a final one that something leaves, one from which no final
//     state can be reached;
//   - a final or initial state that no transition knows;
//   - names that are missing, shared by two values, or not names.
func New[S, E Name](cfg Config[S, E]) (*Machine[S, E], error) {
	c := checker[S, E]{cfg: cfg}
	c.names()
	c.table()
	c.ends()
	if len(c.errs) > 0 {
		return nil, fmt.Errorf("state: machine %q: %w", cfg.Name, errors.Join(c.errs...))
	}
	m := &Machine[S, E]{
		name: cfg.Name, initial: cfg.Initial, final: slices.Clone(cfg.Final), transitions: slices.Clone(cfg.Transitions),
		states: c.states(), byName: map[string]S{},
	}
	rows := 0
	for _, s := range m.states {
		rows = max(rows, int(s)+1)
		m.byName[s.String()] = s
	}
	for _, t := range m.transitions {
		m.events = max(m.events, int(t.Event)+1)
	}
	m.next = make([]uint16, rows*m.events)
	for _, t := range m.transitions {
		m.next[int(t.From)*m.events+int(t.Event)] = uint16(t.To) + 1
	}
	return m, nil
}

// Name is the machine's name.
func (m *Machine[S, E]) Name() string { return m.name }

// Initial is the state of something new, which has version 0.
func (m *Machine[S, E]) Initial() S { return m.initial }

// Final tells whether nothing leaves s.
func (m *Machine[S, E]) Final(s S) bool { return slices.Contains(m.final, s) }

// States are all states of the table, by number.
func (m *Machine[S, E]) States() []S { return slices.Clone(m.states) }

// State returns the state of a name, as a row or a message has it; ok is false where there is none.
func (m *Machine[S, E]) State(name string) (s S, ok bool) {
	s, ok = m.byName[name]
	return s, ok
}

// Next says where an event leads from a state; ok is false where it is not allowed.
func (m *Machine[S, E]) Next(from S, event E) (to S, ok bool) {
	i := int(from)*m.events + int(event)
	if int(event) >= m.events || i >= len(m.next) || m.next[i] == 0 {
		return 0, false
	}
	return S(m.next[i] - 1), true
}

// Events are the events that are allowed in a state, in the order of the table: what buttons a page should show.
func (m *Machine[S, E]) Events(from S) (events []E) {
	for _, t := range m.transitions {
		if t.From == from {
			events = append(events, t.Event)
		}
	}
	return events
}

func (m *Machine[S, E]) has(s S) bool { return slices.Contains(m.states, s) }

// Drawing is the machine as a Mermaid state diagram, the transitions in the order of the table.
func (m *Machine[S, E]) Drawing() string {
	var b strings.Builder
	fmt.Fprintf(&b, "stateDiagram-v2\n    [*] --> %s\n", m.initial)
	for _, t := range m.transitions {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", t.From, t.To, t.Event)
	}
	for _, s := range m.final {
		fmt.Fprintf(&b, "    %s --> [*]\n", s)
	}
	return b.String()
}

// checker gathers what is wrong with a table.
type checker[S, E Name] struct {
	cfg  Config[S, E]
	errs []error
}

func (c *checker[S, E]) wrong(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// states are those that the table names, by number.
func (c *checker[S, E]) states() []S {
	var all []S
	for _, t := range c.cfg.Transitions {
		all = append(all, t.From, t.To)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *checker[S, E]) names() {
	if !isName(c.cfg.Name) {
		c.wrong("Name is %q and must be 1 to %d letters, digits and underscores", c.cfg.Name, nameMax)
	}
	check := func(what string, number uint8, name string, taken map[string]uint8) {
		if !isName(name) {
			c.wrong("%s %d has the name %q, which must be 1 to %d letters, digits and underscores", what, number, name, nameMax)
		} else if other, ok := taken[name]; ok {
			c.wrong("%ss %d and %d have the same name %q", what, other, number, name)
		}
		taken[name] = number
	}
	taken := map[string]uint8{}
	for _, s := range c.states() {
		check("state", uint8(s), s.String(), taken)
	}
	var events []E
	for _, t := range c.cfg.Transitions {
		events = append(events, t.Event)
	}
	slices.Sort(events)
	taken = map[string]uint8{}
	for _, e := range slices.Compact(events) {
		check("event", uint8(e), e.String(), taken)
	}
}

func (c *checker[S, E]) table() {
	if n := len(c.cfg.Transitions); n < 1 || n > transitionsMax {
		c.wrong("there are %d transitions and must be 1 to %d", n, transitionsMax)
	}
	type key struct {
		from  S
		event E
	}
	seen := map[key]S{}
	for _, t := range c.cfg.Transitions {
		k := key{t.From, t.Event}
		if to, ok := seen[k]; ok {
			c.wrong("%s in %s leads to %s and to %s", t.Event, t.From, to, t.To)
		}
		seen[k] = t.To
	}
}

func (c *checker[S, E]) ends() {
	states := c.states()
	if len(states) == 0 {
		return
	}
	left := map[S]bool{}
	for _, t := range c.cfg.Transitions {
		left[t.From] = true
	}
	if !slices.Contains(states, c.cfg.Initial) {
		c.wrong("Initial is %d, which no transition knows", uint8(c.cfg.Initial))
	}
	if len(c.cfg.Final) == 0 {
		c.wrong("Final is empty: say where it ends")
	}
	for _, s := range c.cfg.Final {
		switch {
		case !slices.Contains(states, s):
			c.wrong("final state %d is known to no transition", uint8(s))
		case left[s]:
			c.wrong("%s is final and left by a transition", s)
		}
	}
	reached := c.closure([]S{c.cfg.Initial}, func(t Transition[S, E]) (S, S) { return t.From, t.To })
	ending := c.closure(c.cfg.Final, func(t Transition[S, E]) (S, S) { return t.To, t.From })
	for _, s := range states {
		if !reached[s] {
			c.wrong("%s cannot be reached from the initial state", s)
		}
		if !left[s] && !slices.Contains(c.cfg.Final, s) {
			c.wrong("nothing leaves %s, and it is not final", s)
		} else if !ending[s] {
			c.wrong("no final state can be reached from %s", s)
		}
	}
}

// closure is what can be reached from some states by edges.
func (c *checker[S, E]) closure(from []S, edge func(Transition[S, E]) (S, S)) map[S]bool {
	in := map[S]bool{}
	for _, s := range from {
		in[s] = true
	}
	for grown := true; grown; {
		grown = false
		for _, t := range c.cfg.Transitions {
			if a, b := edge(t); in[a] && !in[b] {
				in[b], grown = true, true
			}
		}
	}
	return in
}

func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= nameMax
}
