package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// listOf is a list of values of one kind. Nothing at all is an empty list, so that the last element of one can be
// commented out.
func listOf[T any](k kind[T]) kind[[]T] {
	return kind[[]T]{
		word: "list of " + plural(k.word),
		read: func(d *decoder, n *yaml.Node, v *[]T) {
			if n = d.enter(n); n == nil {
				return
			}
			if isNull(n) {
				*v = nil
				return
			}
			if n.Kind != yaml.SequenceNode {
				fix := "put it in brackets: [...]"
				if n.Kind == yaml.MappingNode {
					fix = "write a dash before each, and nothing but the " + plural(k.word) + " in the list"
				}
				d.mismatchFix(n, "a list of "+plural(k.word), fix)
				return
			}
			*v = readElements(d, n, k)
		},
		write: func(v *[]T) *yaml.Node {
			n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
			for i := range *v {
				n.Content = append(n.Content, k.write(&(*v)[i]))
			}
			if k.inside == nil {
				n.Style = yaml.FlowStyle
			}
			return n
		},
		schema: func(b *schemaBuilder) map[string]any {
			return map[string]any{"type": []any{"array", "null"}, "items": k.schema(b)}
		},
		inside: asElements(k.inside),
	}
}

// oneOrMore is a list that may be written without brackets when it has one element.
func oneOrMore[T any](k kind[T]) kind[[]T] {
	out := listOf(k)
	many := out
	out.word = k.word + ", or a list of " + plural(k.word)
	out.read = func(d *decoder, n *yaml.Node, v *[]T) {
		if target := resolved(n); target.Kind != yaml.ScalarNode || isNull(target) {
			many.read(d, n, v)
			return
		}
		var one T
		if k.fill != nil {
			k.fill(d, &one)
		}
		k.read(d, n, &one)
		*v = []T{one}
	}
	out.schema = func(b *schemaBuilder) map[string]any {
		return map[string]any{"anyOf": []any{k.schema(b), many.schema(b)}}
	}
	return out
}

func readElements[T any](d *decoder, n *yaml.Node, k kind[T]) []T {
	if len(n.Content) == 0 {
		return nil
	}
	out := make([]T, len(n.Content))
	for i, element := range n.Content {
		if d.spent {
			break
		}
		d.path = append(d.path, step{index: i})
		if k.fill != nil {
			k.fill(d, &out[i])
		}
		k.read(d, element, &out[i])
		d.path = d.path[:len(d.path)-1]
	}
	return out
}

// part is the kind of an S of which only one part is said: the rest of it is where it stands, or what it is called.
func part[S, T any](k kind[T], at func(*S) *T) kind[S] {
	return kind[S]{
		word:   k.word,
		read:   func(d *decoder, n *yaml.Node, s *S) { k.read(d, n, at(s)) },
		write:  func(s *S) *yaml.Node { return k.write(at(s)) },
		schema: k.schema,
	}
}

// mapOf is a map from names the user chooses to values of one kind, kept in the order of the file. label gives the
// place of the name in the element; checkName accepts the name or reports it; fold brings names to one spelling where
// several mean the same.
func mapOf[T any](k kind[T], label func(*T) *string, pos func(*T) *Pos, checkName func(d *decoder, n *yaml.Node, name string) bool, fold func(string) string) kind[[]T] {
	return kind[[]T]{
		word: "map of names to " + plural(k.word),
		read: func(d *decoder, n *yaml.Node, v *[]T) {
			if n = d.enter(n); n == nil {
				return
			}
			*v = nil
			if isNull(n) {
				return
			}
			if n.Kind != yaml.MappingNode {
				word, _, _ := strings.Cut(k.word, ",")
				d.mismatchFix(n, "a map of names to "+plural(k.word), "write each under its name, without a dash: NAME: "+strings.ToUpper(word))
				return
			}
			var out []T
			first := make(map[string]*yaml.Node, len(n.Content)/2)
			for i := 0; i+1 < len(n.Content) && !d.spent; i += 2 {
				at := n.Content[i]
				name, ok := d.mapKey(at)
				if !ok {
					continue
				}
				d.at(name, func() {
					if !checkName(d, at, name) {
						return
					}
					same := fold(name)
					if earlier := first[same]; earlier != nil {
						d.repeated(at, name, earlier)
						return
					}
					first[same] = at
					var one T
					if k.fill != nil {
						k.fill(d, &one)
					}
					*label(&one) = name
					k.read(d, n.Content[i+1], &one)
					*pos(&one) = posOf(at)
					out = append(out, one)
				})
			}
			*v = out
		},
		write: func(v *[]T) *yaml.Node {
			n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			for i := range *v {
				n.Content = append(n.Content, textNode(*label(&(*v)[i])), k.write(&(*v)[i]))
			}
			return n
		},
		schema: func(b *schemaBuilder) map[string]any {
			return map[string]any{"type": []any{"object", "null"}, "additionalProperties": k.schema(b)}
		},
		inside: asElements(k.inside),
	}
}

// asElements marks an outline as that of elements, which are reached through a name or an index.
func asElements(inside func() *outline) func() *outline {
	if inside == nil {
		return nil
	}
	return func() *outline {
		o := *inside()
		o.named = true
		return &o
	}
}

// plural is English enough for the words of kinds.
func plural(word string) string {
	word, _, _ = strings.Cut(word, ",")
	switch {
	case strings.HasSuffix(word, "s"):
		return word + "es"
	case strings.HasSuffix(word, "key"):
		return word + "s"
	case strings.HasSuffix(word, "y"):
		return strings.TrimSuffix(word, "y") + "ies"
	default:
		return word + "s"
	}
}

// withArticle puts "a" or "an" before a word.
func withArticle(word string) string {
	if word != "" && strings.ContainsRune("aeiou", rune(word[0])) {
		return "an " + word
	}
	return "a " + word
}

// asWritten is the fold of names that mean the same only when they are the same.
func asWritten(s string) string { return s }
