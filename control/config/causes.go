package config

import "go.yaml.in/yaml/v3"

// causes is a set of reasons to act, written as a list in which words and statuses stand side by side: connect, 503, 5xx.
type causes[T any] struct {
	word     string // what one is called
	unknown  string // what is said of one that is none: "is no failure that a breaker knows"
	known    string // the words there are, for who wrote none that is near
	empty    string // what is wrong with a list of none, and emptyFix what to do; empty: nothing is
	emptyFix string
	words    func(*T) []switchWord
	statuses func(*T) *[]StatusRange
}

// switchWord is a word of a list that says that something holds.
type switchWord struct {
	name string
	is   *bool
}

// kind is how such a list is read and written. Statuses below 400 are no failures, and refused.
func (c causes[T]) kind() kind[T] {
	list := oneOrMore(c.one())
	return kind[T]{
		word: list.word, schema: list.schema,
		read: func(d *decoder, n *yaml.Node, v *T) {
			var said []T
			before := d.errors
			list.read(d, n, &said)
			if d.errors > before {
				return
			}
			*v = *new(T)
			statuses := c.statuses(v)
			for i := range said {
				is := c.words(v)
				for j, w := range c.words(&said[i]) {
					*is[j].is = *is[j].is || *w.is
				}
				*statuses = append(*statuses, *c.statuses(&said[i])...)
			}
			*statuses = joinRanges(*statuses)
			if len(said) == 0 && c.empty != "" {
				d.fail(n, c.emptyFix, "%s", c.empty)
			}
		},
		write: func(v *T) *yaml.Node {
			var said []T
			for i, w := range c.words(v) {
				if *w.is {
					var one T
					*c.words(&one)[i].is = true
					said = append(said, one)
				}
			}
			for _, r := range *c.statuses(v) {
				var one T
				*c.statuses(&one) = []StatusRange{r}
				said = append(said, one)
			}
			return list.write(&said)
		},
	}
}

// one is an element of the list: a set with one reason.
func (c causes[T]) one() kind[T] {
	var known []string
	enum := []any{}
	for _, w := range c.words(new(T)) {
		known, enum = append(known, w.name), append(enum, w.name)
	}
	return kind[T]{
		word: c.word,
		read: func(d *decoder, n *yaml.Node, v *T) {
			s, ok := d.scalar(n, withArticle(c.word))
			if !ok {
				return
			}
			for _, w := range c.words(v) {
				if w.name == s {
					*w.is = true
					return
				}
			}
			r, cause, _ := parseStatusRange(s)
			switch {
			case cause != "":
				fix := didYouMean(s, known)
				if fix == "" {
					fix = c.known
				}
				d.fail(n, fix, "%s %s", quote(s), c.unknown)
			case r.From < 400:
				d.fail(n, "list statuses from 400 to 599", "an answer with status %s is no failure", r)
			default:
				*c.statuses(v) = append(*c.statuses(v), r)
			}
		},
		write: func(v *T) *yaml.Node {
			for _, w := range c.words(v) {
				if *w.is {
					return textNode(w.name)
				}
			}
			return textNode((*c.statuses(v))[0].String())
		},
		schema: func(b *schemaBuilder) map[string]any {
			return anyOf(map[string]any{"enum": enum}, statusRangeSchema(b))
		},
	}
}
