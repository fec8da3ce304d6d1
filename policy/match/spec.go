package match

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Spec is a rule as its author writes it: all of it has to hold. The zero Spec holds for every request.
type Spec struct {
	Methods []string // any of these; empty for every method; GET includes HEAD
	Headers []Condition
	Query   []Condition
	Cookies []Condition
}

// Condition is one predicate over the values found under a name.
type Condition struct {
	Name  string
	Op    Op
	Value string // what Op compares with; empty for Present and Absent
	Not   bool   // turn the answer around: "no value is", and with Every "not every value is, or there is none"
	Every bool   // every value has to meet Op, and there must be one; otherwise one that does is enough
}

// Op is how a value is compared.
type Op uint8

const (
	Present  Op = iota // the name is there, whatever its value
	Absent             // the name is not there
	Exact              // the value is Value; an empty Value asks for an empty value
	Prefix             // the value begins with Value
	Suffix             // the value ends with Value
	Contains           // Value is somewhere in the value
	Regex              // the whole value matches the RE2 expression Value
)

// String is the word for the operator in a configuration.
func (o Op) String() string {
	return [...]string{"present", "absent", "exact", "prefix", "suffix", "contains", "regex"}[o]
}

// Place is the part of the head a condition looks at.
type Place uint8

const (
	Method Place = iota
	Header
	Query
	Cookie
)

// String is the word for the place in a message.
func (p Place) String() string { return [...]string{"method", "header", "query", "cookie"}[p] }

const (
	// conditionsMax bounds the work that one rule costs one request.
	conditionsMax = 32
	// valueBytesMax is the longest text a condition compares with. Longer ones than a usual limit on a whole head would
	// never hold, and a regex of this size still compiles to a program of some hundred kilobytes at most.
	valueBytesMax = 1024
)

// SpecError says which part of a Spec is wrong and why.
type SpecError struct {
	Place  Place
	Index  int // in the list of that place; -1 for the Spec as a whole
	Name   string
	Reason string
}

func (e *SpecError) Error() string {
	if e.Index < 0 {
		return e.Reason
	}
	return fmt.Sprintf("%s %q: %s", e.Place, e.Name, e.Reason)
}

// Matcher is a compiled Spec. It is immutable.
type Matcher struct {
	methods    []string
	predicates []Predicate
	text       string // canonical: equal for equal rules, whatever order they were written in
}

// Methods returns the methods allowed, sorted, HEAD beside GET; empty for every method. The caller only reads it.
func (m *Matcher) Methods() []string { return m.methods }

// Predicates returns what has to hold, in canonical order. The caller only reads it.
func (m *Matcher) Predicates() []Predicate { return m.predicates }

// Compile checks and compiles a rule. It reports everything that is wrong, and then there is no Matcher.
func Compile(s Spec) (*Matcher, []*SpecError) {
	var errs []*SpecError
	m := &Matcher{}
	m.methods, errs = compileMethods(s.Methods)
	for _, list := range []struct {
		place      Place
		conditions []Condition
	}{{Header, s.Headers}, {Query, s.Query}, {Cookie, s.Cookies}} {
		for i, c := range list.conditions {
			p, reason := compileCondition(list.place, c)
			if reason == "" && slices.ContainsFunc(m.predicates, func(q Predicate) bool { return q.text == p.text }) {
				reason = "the same condition is given twice"
			}
			if reason != "" {
				errs = append(errs, &SpecError{list.place, i, c.Name, reason})
				continue
			}
			m.predicates = append(m.predicates, p)
		}
	}
	if n := len(s.Headers) + len(s.Query) + len(s.Cookies); n > conditionsMax {
		errs = append(errs, &SpecError{Index: -1, Reason: fmt.Sprintf("%d conditions on header, query and cookies; at most %d are allowed", n, conditionsMax)})
	}
	if errs != nil {
		return nil, errs
	}
	if len(m.predicates) > 1 {
		slices.SortFunc(m.predicates, func(a, b Predicate) int { return strings.Compare(a.text, b.text) })
		if Solve(pointers(m.predicates), nil).Verdict == Impossible {
			return nil, []*SpecError{{Index: -1, Reason: "the conditions contradict each other, no request can meet them all"}}
		}
	}
	m.text = canonicalText(m)
	return m, nil
}

// compileMethods checks the names, adds HEAD to GET and sorts.
func compileMethods(names []string) (set []string, errs []*SpecError) {
	for i, name := range names {
		reason := ""
		switch upper := strings.ToUpper(name); {
		case !isToken(name):
			reason = "not a method name"
		case upper != name && slices.Contains(usualMethods, upper):
			reason = "methods are case-sensitive, this should be " + upper
		case slices.Contains(names[:i], name):
			reason = "listed twice"
		}
		if reason != "" {
			errs = append(errs, &SpecError{Method, i, name, reason})
			continue
		}
		set = append(set, name)
	}
	if slices.Contains(set, "GET") && !slices.Contains(set, "HEAD") {
		set = append(set, "HEAD")
	}
	slices.Sort(set)
	return set, errs
}

// usualMethods are those of RFC 9110 section 9.3 and RFC 5789. Written in small letters they are surely meant to be these.
var usualMethods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// compileCondition returns why c cannot be compiled, or an empty reason.
func compileCondition(place Place, c Condition) (p Predicate, reason string) {
	if reason = checkName(place, c.Name); reason != "" {
		return p, reason
	}
	p = Predicate{place: place, name: c.Name, op: c.Op, value: c.Value, not: c.Not, every: c.Every}
	if place == Header {
		p.name = strings.ToLower(c.Name)
	}
	if len(c.Value) > valueBytesMax {
		return p, fmt.Sprintf("the value has %d bytes, at most %d are allowed", len(c.Value), valueBytesMax)
	}
	switch c.Op {
	case Present, Absent:
		if c.Value != "" {
			return p, c.Op.String() + " takes no value"
		}
		if c.Every {
			return p, c.Op.String() + " is about the name, \"every value\" says nothing there"
		}
		if c.Op == Absent {
			p.op, p.not = Present, !p.not
		}
	case Prefix, Suffix, Contains:
		if c.Value == "" {
			return p, "an empty " + c.Op.String() + " is met by every value; write present"
		}
	case Regex:
		// Alone first: the parentheses put around it below would rescue "a)(b".
		if _, err := regexp.Compile(c.Value); err != nil {
			return p, err.Error()
		}
		re, err := regexp.Compile(`\A(?:` + c.Value + `)\z`)
		if err != nil {
			return p, err.Error()
		}
		p.regex = re
	case Exact:
	default:
		return p, fmt.Sprintf("unknown operator %d", c.Op)
	}
	p.text = p.canonicalText()
	return p, ""
}

// checkName returns why a name cannot occur in its place, or nothing.
func checkName(place Place, name string) string {
	switch {
	case name == "":
		return "the name is missing"
	case len(name) > valueBytesMax:
		return fmt.Sprintf("the name has %d bytes, at most %d are allowed", len(name), valueBytesMax)
	case place == Header && strings.EqualFold(name, "host"):
		return "the host is matched by the route's host, not as a header: with HTTP/2 there is no such field"
	case place != Query && !isToken(name):
		return "not a valid name: it has to be a token (RFC 9110 section 5.6.2)"
	}
	return ""
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
