package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// check judges a text: an empty cause accepts it.
type check func(text string) (cause, fix string)

// text is a string. Plain YAML scalars that other readers take for numbers, dates or booleans are taken as written, so
// that "version: 1.10" stays "1.10"; only null is refused.
func text(word string, checks ...check) kind[string] {
	want := withArticle(word)
	return kind[string]{
		word: word,
		read: func(d *decoder, n *yaml.Node, v *string) {
			s, ok := d.scalar(n, want)
			if ok && d.passes(n, s, checks) {
				*v = s
			}
		},
		write: func(v *string) *yaml.Node { return textNode(*v) },
		schema: func(*schemaBuilder) map[string]any {
			return map[string]any{"type": []any{"string", "number", "boolean"}}
		},
	}
}

// place is a string that remembers where it stood.
func place(word string, checks ...check) kind[Text] {
	inner := text(word, checks...)
	return kind[Text]{
		word: word,
		read: func(d *decoder, n *yaml.Node, v *Text) {
			before := len(d.problems)
			var s string
			inner.read(d, n, &s)
			if len(d.problems) == before {
				*v = Text{posOf(n), s}
			}
		},
		write:  func(v *Text) *yaml.Node { return textNode(v.Value) },
		schema: inner.schema,
	}
}

// passes reports the first check that refuses s.
func (d *decoder) passes(n *yaml.Node, s string, checks []check) bool {
	for _, c := range checks {
		if cause, fix := c(s); cause != "" {
			d.fail(n, fix, "%s", cause)
			return false
		}
	}
	return true
}

// parsed is the kind of a value with a text form of its own: a duration, a size, an address.
func parsed[T any](word, example, pattern string, parse func(string) (v T, cause, fix string), format func(T) string) kind[T] {
	want := withArticle(word) + " such as " + example
	return kind[T]{
		word: word,
		read: func(d *decoder, n *yaml.Node, v *T) {
			s, ok := d.scalar(n, want)
			if !ok {
				return
			}
			out, cause, fix := parse(s)
			if cause != "" {
				d.fail(n, fix, "%s", cause)
				return
			}
			*v = out
		},
		write:  func(v *T) *yaml.Node { return valueNode(format(*v)) },
		schema: func(*schemaBuilder) map[string]any { return patternSchema(pattern) },
	}
}

// boolean is true or false; on and off say the same.
func boolean() kind[bool] {
	return kind[bool]{
		word: "boolean",
		read: func(d *decoder, n *yaml.Node, v *bool) {
			s, ok := d.scalar(n, "true or false")
			if !ok {
				return
			}
			if is, known := parseSwitch(s); known {
				*v = is
				return
			}
			d.fail(n, "write true or false", "expected true or false, found %s", quote(s))
		},
		write: func(v *bool) *yaml.Node {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(*v)}
		},
		schema: func(*schemaBuilder) map[string]any { return orVariable(switchSchema()) },
	}
}

func parseSwitch(s string) (on, ok bool) {
	switch s {
	case "true", "on":
		return true, true
	case "false", "off":
		return false, true
	}
	return false, false
}

// integer is a whole number from low to high.
func integer(low, high int) kind[int] {
	return kind[int]{
		word: "number",
		read: func(d *decoder, n *yaml.Node, v *int) {
			s, ok := d.scalar(n, "a whole number")
			if !ok {
				return
			}
			i, err := strconv.Atoi(s)
			switch {
			case err != nil:
				d.fail(n, fmt.Sprintf("write a number from %d to %d", low, high), "expected a whole number, found %s", quote(s))
			case i < low || i > high:
				d.fail(n, fmt.Sprintf("write a number from %d to %d", low, high), "%d is not between %d and %d", i, low, high)
			default:
				*v = i
			}
		},
		write: func(v *int) *yaml.Node {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(*v)}
		},
		schema: func(*schemaBuilder) map[string]any {
			return orVariable(map[string]any{"anyOf": []any{
				map[string]any{"type": "integer", "minimum": low, "maximum": high},
				map[string]any{"type": "string", "pattern": "^[+-]?[0-9]+$"},
			}})
		},
	}
}

// orOff lets "off" stand for zero, and zero be written so.
func orOff[T comparable](k kind[T]) kind[T] {
	var zero T
	return kind[T]{
		word: k.word + ", or off",
		read: func(d *decoder, n *yaml.Node, v *T) {
			if target := resolved(n); target.Kind == yaml.ScalarNode && !isNull(target) {
				if s, ok := d.expand(target, target.Value); !ok {
					return
				} else if is, known := parseSwitch(s); known && !is {
					*v = zero
					return
				}
			}
			k.read(d, n, v)
		},
		write: func(v *T) *yaml.Node {
			if *v == zero {
				return switchNode(false)
			}
			return k.write(v)
		},
		schema: func(b *schemaBuilder) map[string]any {
			return anyOf(k.schema(b), map[string]any{"enum": []any{"off", "false", false}})
		},
	}
}

// choice is one word of a closed list.
func choice[T ~string](word string, words ...T) kind[T] { return choiceOr(word, nil, words...) }

// choiceOr is choice with fixes for words that are often written in place of those of the list; its keys are folded.
func choiceOr[T ~string](word string, fixes map[string]string, words ...T) kind[T] {
	known := make([]string, len(words))
	for i, w := range words {
		known[i] = string(w)
	}
	list := strings.Join(known, ", ")
	return kind[T]{
		word: word,
		read: func(d *decoder, n *yaml.Node, v *T) {
			s, ok := d.scalar(n, "one of "+list)
			if !ok {
				return
			}
			for _, w := range words {
				if s == string(w) {
					*v = w
					return
				}
			}
			fix := fixes[fold(s)]
			if fix == "" {
				fix = didYouMean(s, known)
			}
			if fix == "" {
				fix = "known: " + list
			}
			d.fail(n, fix, "%s is not %s", quote(s), withArticle(word))
		},
		write: func(v *T) *yaml.Node { return textNode(string(*v)) },
		schema: func(*schemaBuilder) map[string]any {
			enum := make([]any, len(words))
			for i, w := range words {
				enum[i] = string(w)
			}
			return orVariable(map[string]any{"enum": enum})
		},
	}
}

// textNode renders a string, marked for quotes where a reader could take it for something else.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: escapeVariables(s)}
	if looksTyped(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// switchNode is on or off where a switch is meant: without quotes.
func switchNode(on bool) *yaml.Node {
	word := "off"
	if on {
		word = "on"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: word}
}

// valueNode renders the text form of a value that is never taken for anything else: a duration, an address.
func valueNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// inLowerCase reads as k does, and keeps what it read in lower case: it is for names that are equal whatever their case.
func inLowerCase(k kind[string]) kind[string] {
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *string) {
		read(d, n, v)
		*v = strings.ToLower(*v)
	}
	return k
}
