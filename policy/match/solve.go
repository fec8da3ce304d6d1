package match

import "strings"

// Verdict is the answer of Solve.
type Verdict uint8

const (
	Unknown    Verdict = iota // neither was shown within the budget
	Possible                  // the example given does it
	Impossible                // proven: no request does it
)

// Value is one field, parameter or cookie of an example request; the value is not escaped.
type Value struct {
	Place Place
	Name  string
	Value string
}

// Solution is what Solve found.
type Solution struct {
	Verdict Verdict
	// Example holds what a request has to carry, if possible. Names that are not in it are absent.
	Example []Value
	// Repeated says that the example needs two values under one name.
	Repeated bool
}

// Solve looks for a request that meets all predicates of hold and, of each list in broken, fails at least one. With
// the predicates of the rules that come before a rule as broken, Impossible means that the rule is never reached.
//
// It is a search with backtracking over what is known of the values under each name. What it rules out it can prove,
// so Impossible is certain; what it offers it has tried, so Possible is certain too. The general question is as hard as
// satisfiability, and worse with regexes in it, so there is a budget and a third answer.
func Solve(hold []*Predicate, broken [][]*Predicate) Solution {
	s := search{broken: broken, steps: stepsBase + stepsPerList*len(broken)}
	s.open = s.holdFrom(hold, 0)
	switch {
	case s.found != nil:
		return Solution{Possible, s.found.values, s.found.repeated}
	case s.open || s.steps < 0:
		return Solution{Verdict: Unknown}
	}
	return Solution{Verdict: Impossible}
}

// The budget of one search in assumptions tried. Rules written by people need one or two per list; a thousand spare
// keeps the search below a millisecond when it has to backtrack.
const (
	stepsBase    = 1000
	stepsPerList = 8
)

// demand asks of one value that the comparison of a predicate comes out as want.
type demand struct {
	p    *Predicate
	want bool
}

// knowledge is what has been assumed about the values under one name: each demand in some is met by at least one value
// (not necessarily the same), each in all by every value. With some empty, no value at all is fine.
type knowledge struct {
	place Place
	name  string
	some  []demand
	all   []demand
}

type search struct {
	broken [][]*Predicate
	known  []*knowledge
	steps  int
	found  *example
	open   bool // a leaf was reached that could be neither refuted nor shown
}

// holdFrom assumes hold[i:] and goes on. Like all steps of the search it returns whether something was left open; a
// found example ends the search by way of s.found.
func (s *search) holdFrom(hold []*Predicate, i int) (open bool) {
	if i == len(hold) {
		return s.breakFrom(0)
	}
	return s.assume(hold[i], true, func() bool { return s.holdFrom(hold, i+1) })
}

// breakFrom assumes that each list from i on has a predicate that fails.
func (s *search) breakFrom(i int) (open bool) {
	for i < len(s.broken) && s.fails(s.broken[i]) {
		i++
	}
	if i == len(s.broken) {
		s.found = s.example()
		return s.found == nil
	}
	for _, p := range s.broken[i] {
		open = s.assume(p, false, func() bool { return s.breakFrom(i + 1) }) || open
		if s.found != nil {
			return false
		}
	}
	return open
}

// fails reports whether what is assumed already makes one of the predicates false.
func (s *search) fails(list []*Predicate) bool {
	for _, p := range list {
		if p.every {
			continue // two ways to fail; left to the search
		}
		k := s.about(p)
		if p.not {
			for _, d := range k.some { // a value that meets it is what not forbids
				if entails(d, demand{p, true}) {
					return true
				}
			}
			continue
		}
		for _, d := range k.all {
			if entails(d, demand{p, false}) {
				return true
			}
		}
	}
	return false
}

// assume adds that p is truth to what is known, in each way in which that can be, and goes on with then where it does not
// contradict the rest.
func (s *search) assume(p *Predicate, truth bool, then func() bool) (open bool) {
	k := s.about(p)
	if p.not {
		truth = !truth
	}
	switch {
	case !p.every && truth:
		return s.try(k, []demand{{p, true}}, nil, then)
	case !p.every:
		return s.try(k, nil, []demand{{p, false}}, then)
	case truth:
		return s.try(k, []demand{{p, true}}, []demand{{p, true}}, then)
	}
	// Not every value meets it: there is none, or one that does not.
	open = s.try(k, nil, []demand{{&anyValue, false}}, then)
	if s.found != nil {
		return false
	}
	return s.try(k, []demand{{p, false}}, nil, then) || open
}

// anyValue is met by every value; no value can fail it.
var anyValue = Predicate{op: Present}

func (s *search) try(k *knowledge, some, all []demand, then func() bool) (open bool) {
	if s.steps--; s.steps < 0 {
		return true
	}
	nSome, nAll := len(k.some), len(k.all)
	k.some, k.all = append(k.some, some...), append(k.all, all...)
	if !k.contradicts(nSome, nAll) {
		open = then()
	}
	k.some, k.all = k.some[:nSome], k.all[:nAll]
	return open
}

// contradicts reports whether the demands after nSome and nAll cannot be met together with the ones before.
func (k *knowledge) contradicts(nSome, nAll int) bool {
	for i, e := range k.some {
		from := nAll
		if i >= nSome {
			from = 0
		}
		if entails(e, demand{&anyValue, false}) {
			return true
		}
		for _, f := range k.all[from:] {
			if excludes(e, f) {
				return true
			}
		}
	}
	return false
}

// about returns what is known about the name p looks at.
func (s *search) about(p *Predicate) *knowledge {
	for _, k := range s.known {
		if k.place == p.place && k.name == p.name {
			return k
		}
	}
	k := &knowledge{place: p.place, name: p.name}
	s.known = append(s.known, k)
	return k
}

// excludes reports that no value meets both demands. False means "not known to".
func excludes(a, b demand) bool { return entails(a, demand{b.p, !b.want}) }

// entails reports that every value that meets a meets b. False means "not known to".
func entails(a, b demand) bool {
	switch {
	case a.p.op == Present && !a.want:
		return true // there is no such value
	case b.p.op == Present:
		return b.want
	case a.want && a.p.op == Exact:
		return b.p.meets([]byte(a.p.value)) == b.want
	case a.want && b.want:
		return implies(a.p, b.p)
	case !a.want && !b.want:
		return implies(b.p, a.p) // the contrapositive
	case a.want: // b is unwanted
		return disjoint(a.p, b.p)
	}
	return false
}

// implies reports that every value that meets a meets b.
func implies(a, b *Predicate) bool {
	switch {
	case a.op == b.op && a.value == b.value:
		return true
	case a.op == Exact:
		return b.meets([]byte(a.value))
	case b.op == Prefix:
		return a.op == Prefix && strings.HasPrefix(a.value, b.value)
	case b.op == Suffix:
		return a.op == Suffix && strings.HasSuffix(a.value, b.value)
	case b.op == Contains:
		return (a.op == Prefix || a.op == Suffix || a.op == Contains) && strings.Contains(a.value, b.value)
	}
	return false
}

// disjoint reports that no value meets both.
func disjoint(a, b *Predicate) bool {
	switch {
	case a.op == Exact:
		return !b.meets([]byte(a.value))
	case b.op == Exact:
		return !a.meets([]byte(b.value))
	case a.op == Prefix && b.op == Prefix:
		return !strings.HasPrefix(a.value, b.value) && !strings.HasPrefix(b.value, a.value)
	case a.op == Suffix && b.op == Suffix:
		return !strings.HasSuffix(a.value, b.value) && !strings.HasSuffix(b.value, a.value)
	}
	return false
}
