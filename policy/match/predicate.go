package match

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

// Predicate is one compiled Condition. It is immutable.
type Predicate struct {
	place Place
	name  string // header names in lower case
	op    Op     // never Absent: that is a Present with not
	value string
	regex *regexp.Regexp // of op Regex, anchored at both ends
	not   bool
	every bool
	text  string
}

// Holds reports whether the predicate is true of r. It does not allocate, except that the decoding buffer of r may grow.
func (p *Predicate) Holds(r *Request) bool {
	c := p.Values(r)
	seen := false
	for v, ok := c.Next(); ok; v, ok = c.Next() {
		seen = true
		if p.meets(v) != p.every {
			// Decided: one value that does for "some", one that does not for "every".
			return !p.every != p.not
		}
	}
	return (p.every && seen) != p.not
}

// meets reports whether one value passes the comparison, before every and not.
func (p *Predicate) meets(v []byte) bool {
	switch p.op {
	case Exact:
		return string(v) == p.value
	case Prefix:
		return len(v) >= len(p.value) && string(v[:len(p.value)]) == p.value
	case Suffix:
		return len(v) >= len(p.value) && string(v[len(v)-len(p.value):]) == p.value
	case Contains:
		return contains(v, p.value)
	case Regex:
		return p.regex.Match(v)
	}
	return true // Present
}

// contains is bytes.Contains with a string, which would otherwise have to be copied.
func contains(v []byte, s string) bool {
	for {
		i := bytes.IndexByte(v, s[0])
		if i < 0 || len(v)-i < len(s) {
			return false
		}
		if string(v[i:i+len(s)]) == s {
			return true
		}
		v = v[i+1:]
	}
}

// String describes the predicate for people: header x-version exact "2".
func (p *Predicate) String() string {
	var b strings.Builder
	b.WriteString(p.place.String() + " " + p.name + " ")
	switch {
	case p.op == Present && p.not:
		b.WriteString("absent")
		return b.String()
	case p.not:
		b.WriteString("not ")
	}
	if p.every {
		b.WriteString("every ")
	}
	b.WriteString(p.op.String())
	if p.op != Present {
		b.WriteString(" " + strconv.Quote(p.value))
	}
	return b.String()
}

// canonicalText is String with the name quoted: a query name may contain anything, words of ours too, and what has the
// same text has to be the same predicate.
func (p *Predicate) canonicalText() string {
	q := *p
	q.name = strconv.Quote(p.name)
	return q.String()
}

// Found describes what r holds under the predicate's name, for explanations: absent, or its values quoted.
func (p *Predicate) Found(r *Request) string {
	c := p.Values(r)
	var values []string
	for v, ok := c.Next(); ok; v, ok = c.Next() {
		values = append(values, strconv.Quote(string(v)))
	}
	if values == nil {
		return "absent"
	}
	return strings.Join(values, ", ")
}

// AsksExact reports whether the predicate holds only if one value, given back, is under its name.
func (p *Predicate) AsksExact() (place Place, name, value string, ok bool) {
	return p.place, p.name, p.value, p.op == Exact && !p.not
}

func pointers(ps []Predicate) []*Predicate {
	out := make([]*Predicate, len(ps))
	for i := range ps {
		out[i] = &ps[i]
	}
	return out
}
