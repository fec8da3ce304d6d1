package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kind is one sort of value: how it is read, written back, and described to an editor.
type kind[T any] struct {
	word   string                                // "duration": what documentation and messages call it
	read   func(d *decoder, n *yaml.Node, v *T)  // on a problem: reports it and leaves *v
	write  func(v *T) *yaml.Node                 // the long form, which reads back as *v
	fill   func(d *decoder, v *T)                // what an absent part of it becomes; nil for values without parts
	schema func(b *schemaBuilder) map[string]any // JSON Schema
	inside func() *outline                       // of the object it is or holds; nil for plain values
}

// key is one key of an object S: a name and a kind bound to a field. The rest is for those who read about it.
type key[S any] struct {
	name     string
	about    string // what it means, and why its default is what it is; sentences
	word     string
	required bool
	short    bool // another spelling of something else: read, never written
	fill     func(d *decoder, s *S)
	read     func(d *decoder, n *yaml.Node, s *S)
	write    func(s *S) *yaml.Node
	schema   func(b *schemaBuilder) map[string]any
	initial  func() *yaml.Node // the default, nil for none
	inside   func() *outline

	// after, if set, runs once this key and those before it are read; n is its value, nil when it is absent.
	after func(d *decoder, s *S, n *yaml.Node)
}

func newKey[S, T any](name string, k kind[T], at func(*S) *T, about string) key[S] {
	return key[S]{
		name: name, about: about, word: k.word, schema: k.schema, inside: k.inside,
		read: func(d *decoder, n *yaml.Node, s *S) { k.read(d, n, at(s)) },
		fill: func(d *decoder, s *S) {
			if k.fill != nil {
				k.fill(d, at(s))
			}
		},
		write: func(s *S) *yaml.Node {
			if isEmpty(at(s)) {
				return nil
			}
			return k.write(at(s))
		},
	}
}

// may is a key that can be left out; its absence means the zero value.
func may[S, T any](name string, k kind[T], at func(*S) *T, about string) key[S] {
	return newKey(name, k, at, about)
}

// need is a key that cannot be left out.
func need[S, T any](name string, k kind[T], at func(*S) *T, about string) key[S] {
	out := newKey(name, k, at, about)
	out.required = true
	return out
}

// other is a key that says in short what another key says at length: normalised away, so never written.
func other[S, T any](name string, k kind[T], at func(*S) *T, about string) key[S] {
	out := newKey(name, k, at, about)
	out.short = true
	out.fill = func(*decoder, *S) {}
	out.write = func(*S) *yaml.Node { return nil }
	return out
}

// def is a key with a default. The default is said here and nowhere else.
func def[S, T any](name string, k kind[T], at func(*S) *T, value T, about string) key[S] {
	out := always(name, k, at, about)
	out.fill = func(_ *decoder, s *S) { *at(s) = value }
	out.initial = func() *yaml.Node { return k.write(&value) }
	return out
}

// always is a key whose default is said by its parts, or by the one who fills the object around it; it is written
// whatever its value, since zero means something.
func always[S, T any](name string, k kind[T], at func(*S) *T, about string) key[S] {
	out := newKey(name, k, at, about)
	out.write = func(s *S) *yaml.Node { return k.write(at(s)) }
	return out
}

// inherited is a key whose default is taken from elsewhere in the document, by the prepare of its object.
func inherited[S, T any](name string, k kind[T], at func(*S) *T, about string) key[S] {
	out := always(name, k, at, about)
	out.fill = func(*decoder, *S) {}
	return out
}

// emptyByDefault is a list whose absence means no element, said in the effective configuration all the same.
func emptyByDefault[S, T any](name string, k kind[[]T], at func(*S) *[]T, about string) key[S] {
	out := always(name, k, at, about)
	out.initial = func() *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle} }
	return out
}

// then sets what runs after the key is read.
func (k key[S]) then(after func(d *decoder, s *S, n *yaml.Node)) key[S] {
	k.after = after
	return k
}

// when limits writing to the objects in which the key means something.
func (k key[S]) when(applies func(*S) bool) key[S] {
	write := k.write
	k.write = func(s *S) *yaml.Node {
		if !applies(s) {
			return nil
		}
		return write(s)
	}
	return k
}

// isEmpty reports a value that absence also means.
func isEmpty(p any) bool {
	v := reflect.ValueOf(p).Elem()
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}

// object describes a map with known keys, the S it fills, and its short form, if there is one.
type object[S any] struct {
	name    string // "route"
	article string // "a", "an"
	about   string
	keys    []key[S] // in the order they are read, which is not that of the file: defaults before what inherits them
	pos     func(*S) *Pos
	prepare func(d *decoder, s *S) // after the defaults: what is inherited
	short   *short[S]              // what may stand in place of the map
	// elsewhere is the fix where something that is no map stands here, because the word means something else there.
	elsewhere string
	check     func(d *decoder, n *yaml.Node, s *S, given given[S]) // what no single key can see
	schema    func(b *schemaBuilder, self map[string]any)          // constraints between keys, for editors
}

// short is another form of an object: a string, a number or a list in place of the map.
type short[S any] struct {
	about  string
	takes  yaml.Kind // ScalarNode, SequenceNode or both
	read   func(d *decoder, n *yaml.Node, s *S)
	schema func(b *schemaBuilder) map[string]any
}

// keysMax is the most keys an object may have.
const keysMax = 32

// given is which keys the text of an object has, and where.
type given[S any] struct {
	o      *object[S]
	keys   [keysMax]*yaml.Node
	values [keysMax]*yaml.Node
	meant  []string // keys that unknown ones were probably meant to be: not missed a second time
	odd    bool     // a key could not be read at all: nothing is missed
	clean  bool     // nothing was wrong in any of them, warnings aside
}

// key returns the node of the key's name in the text, or nil when the key is absent.
func (g *given[S]) key(name string) *yaml.Node {
	if i := g.o.find(name); i >= 0 {
		return g.keys[i]
	}
	return nil
}

// value returns the node of the key's value, or nil when the key is absent.
func (g *given[S]) value(name string) *yaml.Node {
	if i := g.o.find(name); i >= 0 {
		return g.values[i]
	}
	return nil
}

func (o *object[S]) find(name string) int {
	for i := range o.keys {
		if o.keys[i].name == name {
			return i
		}
	}
	return -1
}

// read fills s, already holding its defaults, from n.
func (o *object[S]) read(d *decoder, n *yaml.Node, s *S) {
	if n = d.enter(n); n == nil {
		return
	}
	if o.pos != nil {
		*o.pos(s) = posOf(n)
	}
	g := given[S]{o: o}
	before := d.errors
	switch {
	case n.Kind == yaml.MappingNode:
		o.collect(d, n, &g)
		o.readKeys(d, n, s, &g)
	case o.short != nil && n.Kind&o.short.takes != 0 && !isNull(n):
		o.short.read(d, n, s)
	default:
		d.mismatchFix(n, o.shape(), o.elsewhere)
		return
	}
	if o.check != nil {
		g.clean = d.errors == before
		o.check(d, n, s, g)
	}
}

// collect sorts the pairs of a map by key, and refuses unknown and repeated ones.
func (o *object[S]) collect(d *decoder, n *yaml.Node, g *given[S]) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, ok := d.mapKey(n.Content[i])
		if !ok {
			g.odd = true
			continue
		}
		switch slot := o.find(name); {
		case slot < 0:
			d.at(name, func() { o.unknown(d, n.Content[i], name, g) })
		case g.keys[slot] != nil:
			d.at(name, func() { d.repeated(n.Content[i], name, g.keys[slot]) })
		default:
			g.keys[slot], g.values[slot] = n.Content[i], n.Content[i+1]
		}
	}
}

func (o *object[S]) readKeys(d *decoder, n *yaml.Node, s *S, g *given[S]) {
	for i := range o.keys {
		k := &o.keys[i]
		switch {
		case g.values[i] != nil:
			d.path = append(d.path, step{key: k.name, isKey: true})
			k.read(d, g.values[i], s)
			d.path = d.path[:len(d.path)-1]
		case k.required && !g.odd && !slices.Contains(g.meant, k.name):
			d.fail(n, "add "+k.name+": with "+withArticle(k.word), "%s %s needs %s", o.article, o.title(), quote(k.name))
		}
		if k.after != nil {
			k.after(d, s, g.values[i])
		}
	}
}

// mapKey reads the name of a pair.
func (d *decoder) mapKey(n *yaml.Node) (name string, ok bool) {
	switch {
	case n.Kind != yaml.ScalarNode || isNull(n):
		d.fail(n, "write a plain word before the colon", "a key must be a word, found %s", describe(n))
	case n.Tag == "!!merge":
		d.fail(n, `say it under "defaults", name a filter under "filters", or repeat the whole value with an alias`,
			"merge keys (<<) are not used here: what overrides what would be hidden")
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, "remove the tag", "YAML tags such as %s are not used here", quote(n.Tag))
	default:
		return n.Value, true
	}
	return "", false
}

func (d *decoder) repeated(n *yaml.Node, name string, first *yaml.Node) {
	d.fail(n, "keep one of them", "%s is given twice, first in line %d", quote(name), first.Line)
}

// unknown reports a key that is not of this object, with the one that was probably meant: of this object, or of one
// of its parts.
func (o *object[S]) unknown(d *decoder, n *yaml.Node, name string, g *given[S]) {
	if d.full() {
		d.hide()
		return
	}
	fix, meant := o.unknownFix(name)
	g.meant = append(g.meant, meant)
	d.fail(n, fix, "unknown key %s in %s %s", quote(name), o.article, o.title())
}

func (o *object[S]) unknownFix(name string) (fix, meant string) {
	known := make([]string, 0, len(o.keys))
	for i := range o.keys {
		known = append(known, o.keys[i].name)
	}
	for i := range o.keys {
		if part := o.keys[i].inside; part != nil && slices.Contains(part().names(), name) && !part().named {
			return "it belongs under " + quote(o.keys[i].name) + ": " + o.keys[i].name + ": {" + name + ": ...}", ""
		}
	}
	if _, cause, _ := parseLocalAddress(name); cause == "" && o.find("listen") >= 0 {
		return "write listen: " + quote(name) + ", and what shall be done there under routes", ""
	}
	if meant = suggest(name, known); meant != "" {
		return "did you mean " + quote(meant) + "?", meant
	}
	if len(known) == 0 {
		return "remove it", ""
	}
	return "known here: " + strings.Join(known, ", "), ""
}

// title is the name of the object in sentences.
func (o *object[S]) title() string { return strings.ReplaceAll(o.name, "_", " ") }

// shape is what may be written for the object.
func (o *object[S]) shape() string {
	if o.short != nil {
		return o.short.about + ", or a map"
	}
	return "a map"
}

// fillWith puts the defaults in.
func (o *object[S]) fillWith(d *decoder, s *S) {
	for i := range o.keys {
		o.keys[i].fill(d, s)
	}
	if o.prepare != nil {
		o.prepare(d, s)
	}
}

// write renders s in long form.
func (o *object[S]) write(s *S) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := range o.keys {
		if v := o.keys[i].write(s); v != nil {
			n.Content = append(n.Content, valueNode(o.keys[i].name), v)
		}
	}
	return n
}

// section is the kind of an object.
func section[S any](get func() *object[S]) kind[S] {
	return kind[S]{
		word:   get().title(),
		read:   func(d *decoder, n *yaml.Node, s *S) { get().read(d, n, s) },
		write:  func(s *S) *yaml.Node { return get().write(s) },
		fill:   func(d *decoder, s *S) { get().fillWith(d, s) },
		schema: func(b *schemaBuilder) map[string]any { return refTo(b, get()) },
		inside: func() *outline { return outlineOf(get()) },
	}
}

// switchable is the kind of an object that can be off, which is nil. The word on stands for all its defaults.
func switchable[S any](get func() *object[S]) kind[*S] {
	inner := section(get)
	fresh := func(d *decoder) *S {
		s := new(S)
		inner.fill(d, s)
		return s
	}
	return kind[*S]{
		word: inner.word + ", or off",
		read: func(d *decoder, n *yaml.Node, s **S) {
			target := d.enter(n)
			if target == nil {
				return
			}
			if target.Kind == yaml.ScalarNode && !isNull(target) {
				// With variables replaced: "${ADMIN:-off}" must be able to switch too.
				if text, ok := d.expand(target, target.Value); !ok {
					return
				} else if on, isSwitch := parseSwitch(text); isSwitch {
					*s = nil
					if on {
						*s = fresh(d)
						if pos := get().pos; pos != nil {
							*pos(*s) = posOf(n)
						}
					}
					return
				}
			}
			v := fresh(d)
			inner.read(d, n, v)
			*s = v
		},
		write: func(s **S) *yaml.Node {
			if *s == nil {
				return switchNode(false)
			}
			return inner.write(*s)
		},
		schema: func(b *schemaBuilder) map[string]any {
			return anyOf(inner.schema(b), orVariable(switchSchema()))
		},
		inside: inner.inside,
	}
}

// unlessOff is switchable for an object whose defaults are not enough: on, which says nothing, is refused with what is
// missing.
func unlessOff[S any](get func() *object[S], cause, fix string) kind[*S] {
	k, inner := switchable(get), section(get)
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, s **S) {
		if target := resolved(n); target.Kind == yaml.ScalarNode && !isNull(target) {
			text, ok := d.expand(target, target.Value)
			if !ok {
				return
			}
			if on, isSwitch := parseSwitch(text); isSwitch && on {
				d.fail(n, fix, "%s", cause)
				return
			}
		}
		read(d, n, s)
	}
	k.schema = func(b *schemaBuilder) map[string]any {
		return anyOf(inner.schema(b), orVariable(map[string]any{"enum": []any{"off", "false", false}}))
	}
	return k
}

// on is the value of a switchable key whose default is to be there, with its own defaults.
func on[S, T any](name string, get func() *object[T], at func(*S) **T, about string) key[S] {
	out := always(name, switchable(get), at, about)
	out.fill = func(d *decoder, s *S) {
		*at(s) = new(T)
		get().fillWith(d, *at(s))
	}
	out.initial = func() *yaml.Node { return textNode("on") }
	return out
}

// off is the same for one whose default is not to be there.
func off[S, T any](name string, get func() *object[T], at func(*S) **T, about string) key[S] {
	out := always(name, switchable(get), at, about)
	out.initial = func() *yaml.Node { return switchNode(false) }
	return out
}
