package route

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/policy/match"
)

// Spec is a route as its author writes it.
type Spec struct {
	Name     string   // for messages; may be empty
	Listener string   // the only listener it serves; empty for all
	Hosts    []string // host patterns, any of them; empty for every host
	Path     string   // path pattern
	Match    match.Spec
}

// Table is a compiled set of routes. It is immutable and safe for use by any number of goroutines.
type Table struct {
	hosts   index    // (exactHost, name) or (wildHost, ".suffix") to a host number
	statics index    // (host number, path) to the first entry of a leaf
	edges   index    // (node number, segment) to a node number
	roots   []uint32 // by host number: the trie of the patterns with parameters; 0 for none
	nodes   []node   // nodes[0] is none
	entries []entry  // leaf after leaf, each in the order of the package documentation
	large   []*division

	methods   []string         // by bit number
	listeners []string         // by number less one: those that routes name
	matchers  []*match.Matcher // those that have predicates
	names     [][]string       // of path parameters; names[0] is none

	// The lengths of the wildcard suffixes, dot included: a host is not cut where no suffix can fit.
	wildBytesMin, wildBytesMax int
}

// anyHost is the host number of the routes for every host.
const anyHost = 0

// Owners in the hosts index.
const (
	exactHost = iota
	wildHost
)

// node is a place between two segments of patterns, half a cache line. Nodes with one literal child are the most, and they
// hold it themselves: the nodes of one pattern lie side by side, while every edge in the index is somewhere else.
type node struct {
	param uint32 // the node after a parameter segment; 0 for none
	leaf  uint32 // the first entry of the patterns that end here, plus one; 0 for none
	wild  uint32 // the same for those that end with a wildcard from here
	child uint32 // the node after the only literal, whose text is below; 0 for none
	many  bool   // the literals are in the edges index
	size  uint8
	text  [nodeTextBytes]byte
}

// nodeTextBytes fills a node up to 32 bytes.
const nodeTextBytes = 14

// entry is one route on one host, half a cache line. Entries with the same host and path pattern, names aside, are a leaf.
type entry struct {
	methods  uint64 // bits of the methods allowed; 0 for all
	spec     int32
	listener uint32 // number; 0 for all
	matcher  uint32 // number in Table.matchers plus one; 0 if there are no predicates
	names    uint32 // number in Table.names
	division uint32 // of a large leaf, at its first entry: number in Table.large plus one
	last     bool   // of its leaf
}

// Result is the outcome of a match.
type Result struct {
	// Index of the winning spec, or -1.
	Index int
	// Allow holds, if there is no winner, the methods with which there would have been one. Empty means not found.
	Allow Allow
}

// Allow is a set of methods, meaningful to the table it came from.
type Allow uint64

// AppendAllow appends the methods of a as the value of an Allow field (RFC 9110 section 10.2.1).
func (t *Table) AppendAllow(dst []byte, a Allow) []byte {
	first := true
	for i, name := range t.methods {
		if a>>i&1 == 0 {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		dst, first = append(dst, name...), false
	}
	return dst
}

// Match finds the route of a request and fills p with what its pattern captured. It allocates nothing.
func (t *Table) Match(r *match.Request, p *Params) Result {
	w := t.walk(r, p)
	if w.hosts() {
		return Result{Index: int(t.entries[w.won].spec)}
	}
	p.names = nil
	if !w.methodRefused {
		return Result{Index: -1}
	}
	return Result{Index: -1, Allow: t.allowed(r, p)}
}

// allowed collects the methods of all routes that refuse r for its method alone. It is a second walk, so that requests
// that have a route do not pay for the question.
func (t *Table) allowed(r *match.Request, p *Params) Allow {
	w := t.walk(r, p)
	w.method, w.collecting = ^uint64(0), true
	w.hosts()
	return Allow(w.collected)
}

// walk is one passage through the table, from the most specific route to the least.
type walk struct {
	t        *Table
	r        *match.Request
	p        *Params
	method   uint64 // bit of the request's method; 0 if no route names it
	listener uint32 // number of the request's listener; 0 if no route names it

	won           uint32 // the winning entry
	methodRefused bool   // some entry refused the method
	collecting    bool   // go on after a match and unite the methods
	collected     uint64
	trace         *trace // of Explain: go on after a match and note everything
}

func (t *Table) walk(r *match.Request, p *Params) walk {
	w := walk{t: t, r: r, p: p, method: t.methodBit(r.Method)}
	for i, name := range t.listeners {
		if name == r.Listener {
			w.listener = uint32(i + 1)
		}
	}
	return w
}

// hosts tries the hosts that fit, from exact to any, and reports whether there was a winner.
func (w *walk) hosts() bool {
	w.p.path = w.r.Path
	if len(w.r.Path) == 0 || w.r.Path[0] != '/' {
		return false
	}
	t, name := w.t, bytes.TrimSuffix(w.r.Host, dot)
	if id, ok := t.hosts.find(exactHost, name); ok && w.host(id) {
		return true
	}
	// A wildcard stands for at least one byte, so the first dot that counts is at 1 or later.
	for at := max(1, len(name)-t.wildBytesMax); len(name)-at >= t.wildBytesMin; at++ {
		i := bytes.IndexByte(name[at:], '.')
		if i < 0 {
			break
		}
		at += i
		if id, ok := t.hosts.find(wildHost, name[at:]); ok && w.host(id) {
			return true
		}
	}
	return w.host(anyHost)
}

var dot = []byte(".")

// host tries the paths of one host.
func (w *walk) host(id uint32) bool {
	// A path without parameters is more specific than every pattern that also matches it.
	if first, ok := w.t.statics.find(id, w.r.Path); ok && w.leaf(first) {
		return true
	}
	root := w.t.roots[id]
	return root != 0 && w.node(root, 1, 0)
}

// node tries the patterns below a node against the path from at on, where a segment begins. captured counts the
// parameters so far.
func (w *walk) node(n uint32, at, captured int) bool {
	nd := &w.t.nodes[n]
	path := w.r.Path
	end := len(path)
	if i := bytes.IndexByte(path[at:], '/'); i >= 0 {
		end = at + i
	}
	switch {
	case nd.many:
		if child, ok := w.t.edges.find(n, path[at:end]); ok && w.child(child, end, captured) {
			return true
		}
	case nd.child != 0 && string(nd.text[:nd.size]) == string(path[at:end]) && w.child(nd.child, end, captured):
		return true
	}
	if nd.param != 0 && end > at {
		w.p.spans[captured] = span{uint32(at), uint32(end)}
		if w.child(nd.param, end, captured+1) {
			return true
		}
	}
	if nd.wild != 0 {
		w.p.spans[captured] = span{uint32(at), uint32(len(path))}
		return w.leaf(nd.wild - 1)
	}
	return false
}

// child goes on behind a segment that ended at end.
func (w *walk) child(n uint32, end, captured int) bool {
	if end < len(w.r.Path) {
		return w.node(n, end+1, captured)
	}
	leaf := w.t.nodes[n].leaf
	return leaf != 0 && w.leaf(leaf-1)
}

// leaf tries the entries of a leaf. It reports whether the walk is over.
func (w *walk) leaf(i uint32) bool {
	if d := w.t.entries[i].division; d != 0 && w.trace == nil {
		if over, ok := w.divided(w.t.large[d-1]); ok {
			return over
		}
	}
	for ; ; i++ {
		if w.entry(i) {
			return true
		}
		if w.t.entries[i].last {
			return false
		}
	}
}

// entry asks one entry. It reports whether the walk is over.
func (w *walk) entry(i uint32) bool {
	e := &w.t.entries[i]
	by := w.refusal(e)
	switch {
	case w.trace != nil:
		w.trace.note(w, i, by)
	case by == byMethod:
		w.methodRefused = true
	case by == accepted && w.collecting:
		w.collected |= e.methods
	case by == accepted:
		w.won, w.p.names = i, w.t.names[e.names]
		return true
	}
	return false
}

// refusal is why an entry does not take a request.
type refusal uint8

const (
	accepted refusal = iota
	byMethod
	byListener
	byPredicate
)

// refusal asks an entry about everything but host and path.
func (w *walk) refusal(e *entry) refusal {
	if e.methods != 0 && e.methods&w.method == 0 {
		return byMethod
	}
	if e.listener != 0 && e.listener != w.listener {
		return byListener
	}
	if e.matcher != 0 && w.failing(e) != nil {
		return byPredicate
	}
	return accepted
}

// failing returns the first predicate of an entry with predicates that does not hold, or nil.
func (w *walk) failing(e *entry) *match.Predicate {
	predicates := w.t.matchers[e.matcher-1].Predicates()
	for i := range predicates {
		if !predicates[i].Holds(w.r) {
			return &predicates[i]
		}
	}
	return nil
}

// methodsMax is the number of different methods in one table, the bits of a word. RFC 9110 has nine, the registry of
// IANA forty.
const methodsMax = 64

// usualMethods have the first bits.
var usualMethods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// methodBit returns the bit of a method, or 0 if no route names it.
func (t *Table) methodBit(m []byte) uint64 {
	switch string(m) {
	case "GET":
		return 1 << 0
	case "HEAD":
		return 1 << 1
	case "POST":
		return 1 << 2
	}
	for i := 3; i < len(t.methods); i++ {
		if t.methods[i] == string(m) {
			return 1 << i
		}
	}
	return 0
}

// builder grows a table. Until it is sealed, statics and nodes hold leaf numbers where they will hold entry numbers.
type builder struct {
	t      *Table
	leaves uint32
	names  map[string]uint32 // numbers of sets of parameter names, by the names with slashes between
}

func newBuilder() builder {
	seed := maphash.MakeSeed()
	return builder{names: map[string]uint32{}, t: &Table{
		hosts:   newIndex(seed),
		statics: newIndex(seed),
		edges:   newIndex(seed),
		roots:   make([]uint32, 1),
		nodes:   make([]node, 1),
		methods: append([]string(nil), usualMethods[:]...),
		names:   make([][]string, 1),
	}}
}

// methodBits returns the bits of a set of methods, giving new names the next ones; false if there are none left.
func (b *builder) methodBits(names []string) (bits uint64, ok bool) {
	for _, name := range names {
		bit := b.t.methodBit([]byte(name))
		if bit == 0 {
			if len(b.t.methods) == methodsMax {
				return 0, false
			}
			bit = 1 << len(b.t.methods)
			b.t.methods = append(b.t.methods, strings.Clone(name))
		}
		bits |= bit
	}
	return bits, true
}

// listener returns the number of a listener.
func (b *builder) listener(name string) uint32 {
	if name == "" {
		return 0
	}
	i := slices.Index(b.t.listeners, name)
	if i < 0 {
		i = len(b.t.listeners)
		b.t.listeners = append(b.t.listeners, strings.Clone(name))
	}
	return uint32(i + 1)
}

// matcher returns the number plus one of a matcher, 0 if it has no predicates.
func (b *builder) matcher(m *match.Matcher) uint32 {
	if len(m.Predicates()) == 0 {
		return 0
	}
	b.t.matchers = append(b.t.matchers, m)
	return uint32(len(b.t.matchers))
}

// paramNames returns the number of a set of names. A large table has few different ones.
func (b *builder) paramNames(names []string) uint32 {
	if len(names) == 0 {
		return 0
	}
	key := strings.Join(names, "/")
	n, ok := b.names[key]
	if !ok {
		n = uint32(len(b.t.names))
		b.names[key] = n
		b.t.names = append(b.t.names, names)
	}
	return n
}

// host returns the number of a host pattern.
func (b *builder) host(h host) uint32 {
	t, owner, name := b.t, uint32(exactHost), []byte(h.name)
	if h.kind == wildcard {
		if h.name == "" {
			return anyHost
		}
		owner = wildHost
		if t.wildBytesMax == 0 || len(name) < t.wildBytesMin {
			t.wildBytesMin = len(name)
		}
		t.wildBytesMax = max(t.wildBytesMax, len(name))
	}
	if id, ok := t.hosts.find(owner, name); ok {
		return id
	}
	id := uint32(len(t.roots))
	t.roots = append(t.roots, 0)
	t.hosts.add(owner, name, id)
	return id
}

// leaf returns the number of the leaf of a path pattern on a host.
func (b *builder) leaf(hostID uint32, p *pattern) uint32 {
	t := b.t
	if p.static() {
		leaf, ok := t.statics.find(hostID, []byte(p.key))
		if !ok {
			leaf = b.newLeaf()
			t.statics.add(hostID, []byte(p.key), leaf)
		}
		return leaf
	}
	if t.roots[hostID] == 0 {
		t.roots[hostID] = b.newNode()
	}
	at := t.roots[hostID]
	for _, s := range p.segments {
		switch s.kind {
		case literal:
			at = b.child(at, s.text)
		case param:
			if t.nodes[at].param == 0 {
				n := b.newNode() // first: it may move the nodes
				t.nodes[at].param = n
			}
			at = t.nodes[at].param
		case wildcard:
			return b.leafAt(&t.nodes[at].wild)
		}
	}
	return b.leafAt(&t.nodes[at].leaf)
}

// child returns the node behind a literal segment.
func (b *builder) child(at uint32, text string) uint32 {
	t := b.t
	n := &t.nodes[at]
	switch {
	case n.many:
		if next, ok := t.edges.find(at, []byte(text)); ok {
			return next
		}
	case n.child == 0 && len(text) <= nodeTextBytes:
		n.size = uint8(copy(n.text[:], text))
		next := b.newNode() // moves the nodes
		t.nodes[at].child = next
		return next
	case n.child != 0 && string(n.text[:n.size]) == text:
		return n.child
	default:
		if n.child != 0 {
			t.edges.add(at, n.text[:n.size], n.child)
		}
		n.child, n.many = 0, true
	}
	next := b.newNode()
	t.edges.add(at, []byte(text), next)
	return next
}

func (b *builder) leafAt(field *uint32) uint32 {
	if *field == 0 {
		*field = b.newLeaf() + 1
	}
	return *field - 1
}

func (b *builder) newLeaf() uint32 { b.leaves++; return b.leaves - 1 }

func (b *builder) newNode() uint32 {
	b.t.nodes = append(b.t.nodes, node{})
	return uint32(len(b.t.nodes) - 1)
}

// seal puts the entries of all leaves in and replaces leaf numbers by where each leaf begins.
func (b *builder) seal(entries []entry, first []uint32) *Table {
	t := b.t
	t.entries = entries
	t.statics.renumber(func(leaf uint32) uint32 { return first[leaf] })
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.leaf != 0 {
			n.leaf = first[n.leaf-1] + 1
		}
		if n.wild != 0 {
			n.wild = first[n.wild-1] + 1
		}
	}
	return t
}
