package transcode

import (
	"bytes"
	"slices"
	"strings"
)

// Captures are the values of a template's variables, as places in a path. The zero value is ready; it may be used again.
type Captures struct {
	path  []byte
	spans [variablesMax]span
}

// table finds bindings by method and path. It is a tree, a level for each segment. At each level a literal goes before *,
// and * before **; where the more special branch leads to nothing, the next one is tried. A template's place in the tree is
// its depth in the path, so a match visits each node at most once, whatever the path.
//
// A verb goes before everything: /v1/{name=**} and /v1/{name=**}:cancel both match /v1/a:cancel, and the second is meant.
type table struct {
	root  node
	verbs bool
}

type node struct {
	literals map[string]*node
	one      *node
	ends     []*Binding // of templates that end here
	rest     []*Binding // of templates that go on with **
}

func (t *table) add(b *Binding) {
	n := &t.root
	t.verbs = t.verbs || b.template.verb != ""
	for _, s := range b.template.segments {
		switch s.kind {
		case literalSegment:
			next := n.literals[s.literal]
			if next == nil {
				next = &node{}
				if n.literals == nil {
					n.literals = map[string]*node{}
				}
				n.literals[s.literal] = next
			}
			n = next
		case oneSegment:
			if n.one == nil {
				n.one = &node{}
			}
			n = n.one
		case restSegment:
			n.rest = append(n.rest, b)
			return
		}
	}
	n.ends = append(n.ends, b)
}

// passage is one walk through the tree.
type passage struct {
	method string
	verb   string // only of this verb
	path   []byte // without it
	// Segment i is path[starts[i] : starts[i+1]-1]. Those beyond segmentsMax are not noted; only ** can have them.
	starts [segmentsMax + 2]int
	count  int
	more   bool
	// allow collects the methods of all that match but for the method; then nothing is found.
	allow *[]string
}

// split notes the segments of path. "/" has none.
func (w *passage) split(path []byte) {
	w.path, w.count, w.more = path, 0, false
	if len(path) == 1 {
		w.starts[0] = 1
		return
	}
	for at := 1; ; {
		if w.count == segmentsMax {
			w.more = true
			return
		}
		w.starts[w.count] = at
		w.count++
		slash := bytes.IndexByte(path[at:], '/')
		if slash < 0 {
			w.starts[w.count] = len(path) + 1
			return
		}
		at += slash + 1
		w.starts[w.count] = at
	}
}

func (w *passage) segment(i int) []byte { return w.path[w.starts[i] : w.starts[i+1]-1] }

func (w *passage) walk(n *node, i int) *Binding {
	if i == w.count && !w.more {
		if b := w.choose(n.ends); b != nil {
			return b
		}
		return w.choose(n.rest)
	}
	if i < w.count && len(w.segment(i)) > 0 { // nothing but ** matches an empty segment
		if next := n.literals[string(w.segment(i))]; next != nil {
			if b := w.walk(next, i+1); b != nil {
				return b
			}
		}
		if n.one != nil {
			if b := w.walk(n.one, i+1); b != nil {
				return b
			}
		}
	}
	if len(n.rest) == 0 {
		return nil
	}
	if i < w.count && len(w.segment(i)) == 0 && (i+1 < w.count || w.more) {
		// The value would begin with a slash, as an absolute path does to whoever joins it to another; the rules forbid it.
		return nil
	}
	return w.choose(n.rest)
}

// choose finds the binding for method and verb. One for all methods ("*") is the last choice.
func (w *passage) choose(bindings []*Binding) (found *Binding) {
	for _, b := range bindings {
		if b.template.verb != w.verb {
			continue
		}
		switch {
		case w.allow != nil:
			if !slices.Contains(*w.allow, b.Method) {
				*w.allow = append(*w.allow, b.Method)
			}
		case b.Method == w.method:
			return b
		case b.Method == "*":
			found = b
		}
	}
	return found
}

// verbAt is the place of the colon before the verb that path may have, -1 if there is none.
func verbAt(path []byte) int {
	colon := bytes.LastIndexByte(path, ':')
	if colon <= bytes.LastIndexByte(path, '/') || colon == len(path)-1 {
		return -1
	}
	return colon
}

// Match finds the binding that method and path mean. The path must be in normal form (message.NormalizePath), with neither
// query nor fragment. What it captures refers to path, and is valid as long. nil: none matches; then allow is the methods
// that the path has, for a 405, or nil if it has none. Only a miss allocates.
func (s *Schema) Match(method, path []byte, c *Captures) (b *Binding, allow []string) {
	if len(path) == 0 || path[0] != '/' {
		return nil, nil
	}
	w := passage{method: s.methods[string(method)]}
	if b = s.match(&w, path, c); b != nil {
		return b, nil
	}
	return nil, s.allowed(path, c)
}

// allowed is which methods a path has.
func (s *Schema) allowed(path []byte, c *Captures) []string {
	var all []string
	w := passage{allow: &all}
	s.match(&w, path, c)
	slices.Sort(all)
	return all
}

func (s *Schema) match(w *passage, path []byte, c *Captures) *Binding {
	if s.table.verbs {
		if colon := verbAt(path); colon >= 0 {
			w.verb = s.verbs[string(path[colon+1:])]
			if w.verb != "" {
				w.split(path[:colon])
				if b := w.walk(&s.table.root, 0); b != nil {
					w.capture(b, c)
					return b
				}
			}
		}
	}
	w.verb = ""
	w.split(path)
	b := w.walk(&s.table.root, 0)
	if b != nil {
		w.capture(b, c)
	}
	return b
}

func (w *passage) capture(b *Binding, c *Captures) {
	c.path = w.path
	for i := range b.variables {
		v := &b.variables[i].capture
		switch {
		case v.from >= w.count:
			c.spans[i] = span{len(w.path), len(w.path)}
		case b.template.segments[v.to-1].kind == restSegment:
			c.spans[i] = span{w.starts[v.from], len(w.path)}
		default:
			c.spans[i] = span{w.starts[v.from], w.starts[v.to] - 1}
		}
	}
}

// Value is what a variable captured, percent-encoded as in the path; the variables are in the order of the template.
func (c *Captures) Value(i int) []byte { return c.path[c.spans[i].start:c.spans[i].end] }

// String shows the binding: "GET /v1/{name=shelves/*} -> library.v1.Library/GetShelf".
func (b *Binding) String() string {
	return b.Method + " " + b.Template + " -> " + strings.TrimPrefix(b.RPC, "/")
}
