package match

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Compare says which of two matchers is more specific, negative if a is. In this order:
//
//  1. fewer methods before more, and every method last;
//  2. more predicates before fewer;
//  3. stronger predicates before weaker: both lists sorted from strong to weak, the first difference decides. Exact is
//     the strongest, then prefix, suffix and contains, then regex, then present; anything negated is the weakest;
//  4. the longer sum of the lengths of the values compared with (regexes and negated predicates left out) before the
//     shorter: "prefix abc" before "prefix a".
//
// Zero means that they are equally specific, not that they are the same.
func Compare(a, b *Matcher) int {
	return cmp.Or(
		cmp.Compare(a.methodsRank(), b.methodsRank()),
		cmp.Compare(len(b.predicates), len(a.predicates)),
		slices.Compare(b.strengths(), a.strengths()),
		cmp.Compare(b.literalBytes(), a.literalBytes()),
	)
}

// CompareText orders matchers by their canonical text, which says nothing about meaning but is total and independent of
// the order of any file. Zero means the very same rule.
func CompareText(a, b *Matcher) int { return strings.Compare(a.text, b.text) }

func (m *Matcher) methodsRank() int {
	if len(m.methods) == 0 {
		return int(^uint(0) >> 1)
	}
	return len(m.methods)
}

// strengths lists the strength of each predicate, strongest first.
func (m *Matcher) strengths() []int {
	if len(m.predicates) == 0 {
		return nil
	}
	out := make([]int, len(m.predicates))
	for i := range m.predicates {
		out[i] = m.predicates[i].strength()
	}
	slices.SortFunc(out, func(a, b int) int { return b - a })
	return out
}

func (p *Predicate) strength() int {
	switch {
	case p.not:
		return 0
	case p.op == Present:
		return 1
	case p.op == Regex:
		return 2
	case p.op == Exact:
		return 4
	}
	return 3
}

func (m *Matcher) literalBytes() (n int) {
	for i := range m.predicates {
		if p := &m.predicates[i]; !p.not && p.op != Regex {
			n += len(p.value)
		}
	}
	return n
}

func canonicalText(m *Matcher) string {
	if len(m.methods) == 0 && len(m.predicates) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(strings.Join(m.methods, ","))
	for i := range m.predicates {
		b.WriteString("\n" + strconv.Itoa(len(m.predicates[i].text)) + " " + m.predicates[i].text)
	}
	return b.String()
}
