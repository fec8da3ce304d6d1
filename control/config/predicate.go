package config

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Predicate is a condition on a header field, a query parameter or a cookie.
type Predicate struct {
	Pos
	Name  string
	Op    PredicateOp
	Value string // empty for present
	Not   bool   // the condition holds when the rest does not
}

// PredicateOp is how a predicate compares.
type PredicateOp string

// The ways to compare.
const (
	OpExact    PredicateOp = "exact"
	OpPrefix   PredicateOp = "prefix"
	OpSuffix   PredicateOp = "suffix"
	OpContains PredicateOp = "contains"
	OpRegex    PredicateOp = "regex" // RE2, the whole value
	OpPresent  PredicateOp = "present"
)

// rawPredicate is a predicate as it is written, one key for each way to compare.
type rawPredicate struct {
	pos     Pos
	values  [len(comparisons)]*string
	present *bool
	not     bool
}

var comparisons = [...]PredicateOp{OpExact, OpPrefix, OpSuffix, OpContains, OpRegex}

// regexAt is the place of OpRegex among comparisons.
const regexAt = 4

// predicateMax bounds the text of a predicate: it is compared with each request.
const predicateMax = 4 << 10

var rawPredicateObject = sync.OnceValue(func() *object[rawPredicate] {
	type T = rawPredicate
	about := [...]string{
		`The value is this.`,
		`The value begins with this.`,
		`The value ends with this.`,
		`The value holds this.`,
		`The whole value matches this regular expression (RE2): next|beta takes next and beta, and not nextbeta. Write .* where anything may stand: next.* takes next-2 as well.`,
	}
	keys := make([]key[T], 0, len(comparisons)+2)
	for i, op := range comparisons {
		checks := []check{shortEnough}
		if op == OpRegex {
			checks = append(checks, isRegex)
		}
		keys = append(keys, may(string(op), pointer(text("text", checks...)), func(v *T) **string { return &v.values[i] }, about[i]))
	}
	keys = append(keys,
		may("present", pointer(boolean()), func(v *T) **bool { return &v.present }, `It is there, whatever its value; false: it is not there.`),
		def("not", boolean(), func(v *T) *bool { return &v.not }, false, `The condition holds when the rest does not.`))
	return &object[T]{
		name: "predicate", article: "a",
		about: "A condition on a header field, a query parameter or a cookie: one way to compare.",
		pos:   func(v *T) *Pos { return &v.pos },
		keys:  keys,
		short: &short[T]{
			about: "a text for exact, or true or false for present",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				// Only a plain true or false asks for presence; "true" in quotes is a text.
				if n.Tag == "!!bool" {
					is, _ := parseSwitch(n.Value)
					v.present = &is
					return
				}
				pointer(text("text", shortEnough)).read(d, n, &v.values[0])
			},
			schema: func(*schemaBuilder) map[string]any {
				return map[string]any{"type": []any{"string", "number", "boolean"}}
			},
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			ways := 0
			for _, value := range v.values {
				if value != nil {
					ways++
				}
			}
			if v.present != nil {
				ways++
			}
			if ways == 0 && n.Kind == yaml.MappingNode && !anyGiven(&g) {
				d.fail(n, "write one of exact, prefix, suffix, contains, regex, present", "the predicate does not say what to compare with")
			}
			if ways > 1 {
				d.fail(n, "keep one of exact, prefix, suffix, contains, regex, present", "the predicate compares in %d ways", ways)
			}
			if at := g.value(string(OpRegex)); at != nil && v.values[regexAt] != nil {
				d.at(string(OpRegex), func() { warnHalfAnchored(d, at, *v.values[regexAt]) })
			}
		},
	}
})

// anyGiven reports a key that says how to compare, if perhaps wrongly.
func anyGiven(g *given[rawPredicate]) bool {
	for _, op := range append(comparisons[:], OpPresent) {
		if g.key(string(op)) != nil {
			return true
		}
	}
	return false
}

// predicates is a map of names to predicates. fold brings a name to the form it is compared in.
func predicates(checkName check, fold func(string) string) kind[[]Predicate] {
	raw := section(rawPredicateObject)
	k := kind[Predicate]{
		word:   raw.word,
		schema: raw.schema,
		inside: raw.inside,
		read: func(d *decoder, n *yaml.Node, v *Predicate) {
			var r rawPredicate
			raw.fill(d, &r)
			raw.read(d, n, &r)
			r.into(v)
			v.Name = fold(v.Name)
		},
		write: func(v *Predicate) *yaml.Node {
			r := rawPredicate{not: v.Not}
			for i, op := range comparisons {
				if op == v.Op {
					r.values[i] = &v.Value
				}
			}
			if v.Op == OpPresent {
				yes := true
				r.present = &yes
			}
			return raw.write(&r)
		},
	}
	return mapOf(k, func(v *Predicate) *string { return &v.Name }, func(v *Predicate) *Pos { return &v.Pos },
		func(d *decoder, n *yaml.Node, name string) bool {
			return d.passes(n, name, []check{checkName})
		}, fold)
}

func (r *rawPredicate) into(v *Predicate) {
	v.Not = r.not
	for i, value := range r.values {
		if value != nil {
			v.Op, v.Value = comparisons[i], *value
		}
	}
	if r.present != nil {
		v.Op = OpPresent
		v.Not = v.Not == *r.present // absent is not present, and not absent is present
	}
}

// pointer is a kind whose absence can be told from its zero.
func pointer[T any](k kind[T]) kind[*T] {
	return kind[*T]{
		word:   k.word,
		schema: k.schema,
		read: func(d *decoder, n *yaml.Node, v **T) {
			before := len(d.problems) + d.hidden
			var one T
			k.read(d, n, &one)
			if len(d.problems)+d.hidden == before {
				*v = &one
			}
		},
		write: func(v **T) *yaml.Node { return k.write(*v) },
	}
}

func shortEnough(s string) (cause, fix string) {
	if len(s) > predicateMax {
		return fmt.Sprintf("the text is longer than %d bytes", predicateMax), ""
	}
	return "", ""
}

func isRegex(s string) (cause, fix string) {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Sprintf("%s is not a regular expression: %s", quote(s), strings.TrimPrefix(err.Error(), "error parsing regexp: ")),
			"the syntax is RE2: no look-around, no back-references"
	}
	return "", ""
}

// warnHalfAnchored points at ^next and next$: whoever writes one anchor believes that the other end is open, as it is
// where expressions are searched for. Here the whole value is matched.
func warnHalfAnchored(d *decoder, n *yaml.Node, expr string) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat {
		return
	}
	first, last := re.Sub[0], re.Sub[len(re.Sub)-1]
	begins, ends := first.Op == syntax.OpBeginText, last.Op == syntax.OpEndText
	switch {
	case begins && !ends && !isOpen(last):
		d.warn(n, "write "+quote(expr+".*")+" if more may follow, or remove the ^", "a regex matches the whole value, so that nothing may follow %s", quote(expr))
	case ends && !begins && !isOpen(first):
		d.warn(n, "write "+quote(".*"+expr)+" if more may come before, or remove the $", "a regex matches the whole value, so that nothing may come before %s", quote(expr))
	}
}

// isOpen reports an expression that can repeat, as .* and [a-z]+ can: its author thought of the end.
func isOpen(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar || re.Op == syntax.OpPlus || re.Op == syntax.OpRepeat
}
