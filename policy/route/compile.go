package route

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/yumen-io/yumen/policy/match"
)

// Compile builds the table of all specs and reports what is wrong with them, errors and warnings. With any error there
// is no table. Problems come in the order of the routes at fault.
func Compile(specs []Spec) (*Table, []Problem) {
	c := newCompilation(specs)
	c.analyse()
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return slices.Compare(a.Routes, b.Routes) })
	if slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Severity == Error }) {
		return nil, c.problems
	}
	return c.table, c.problems
}

// compilation is a table together with what is known of its entries: Match does not need it, the analysis does.
type compilation struct {
	specs    []Spec
	table    *Table
	origins  []origin // by entry number
	first    []uint32 // by leaf: its first entry
	problems []Problem
	workLeft int             // of the analysis
	told     map[[3]int]bool // what report has said of pairs: kind and routes
}

// origin is where an entry came from.
type origin struct {
	leaf    uint32
	host    host
	pattern *pattern
	matcher *match.Matcher // never nil
}

// newCompilation builds the table of all specs that can be read.
func newCompilation(specs []Spec) *compilation {
	c := &compilation{specs: specs, workLeft: workMax, told: map[[3]int]bool{}}
	b := newBuilder()
	type made struct {
		entry
		origin
	}
	all := make([]made, 0, len(specs))
	matchers := plainMatchers{}
	for i := range specs {
		s := &specs[i]
		p, hosts, m := c.read(i, s, matchers)
		if m == nil {
			continue
		}
		bits, ok := b.methodBits(m.Methods())
		if !ok {
			c.report(Problem{Kind: BadMatch, Severity: Error, Routes: []int{i}, Field: "match.methods",
				Text: fmt.Sprintf("%s brings the number of different methods in the table over %d", label(specs, i), methodsMax)})
			continue
		}
		listener, names, matcher := b.listener(s.Listener), b.paramNames(p.names), b.matcher(m)
		for _, h := range hosts {
			e := made{
				entry{spec: int32(i), methods: bits, listener: listener, names: names, matcher: matcher},
				origin{b.leaf(b.host(h), &p), h, &p, m},
			}
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(x, y made) int {
		if o := cmp.Compare(x.leaf, y.leaf); o != 0 {
			return o
		}
		return cmp.Or(
			compareRank(&x.entry, &x.origin, &y.entry, &y.origin),
			match.CompareText(x.origin.matcher, y.origin.matcher),
			cmp.Compare(specs[x.spec].Listener, specs[y.spec].Listener),
			cmp.Compare(x.spec, y.spec),
		)
	})
	entries := make([]entry, len(all))
	c.origins = make([]origin, len(all))
	c.first = make([]uint32, b.leaves)
	for i := range all {
		entries[i], c.origins[i] = all[i].entry, all[i].origin
		entries[i].last = i+1 == len(all) || all[i+1].leaf != all[i].leaf
		if i == 0 || all[i-1].leaf != all[i].leaf {
			c.first[all[i].leaf] = uint32(i)
		}
	}
	c.table = b.seal(entries, c.first)
	for leaf, first := range c.first {
		if d := c.newDivision(b.t.hosts.seed, first, c.end(uint32(leaf))); d != nil {
			c.table.large = append(c.table.large, d)
			entries[first].division = uint32(len(c.table.large))
		}
	}
	return c
}

// end returns the entry after the last of a leaf.
func (c *compilation) end(leaf uint32) uint32 {
	if int(leaf)+1 < len(c.first) {
		return c.first[leaf+1]
	}
	return uint32(len(c.origins))
}

// compareRank is the order within a leaf, steps 3 to 6 of the package documentation.
func compareRank(a *entry, ao *origin, b *entry, bo *origin) int {
	return cmp.Or(
		compareListener(a.listener, b.listener),
		match.Compare(ao.matcher, bo.matcher),
	)
}

func compareListener(a, b uint32) int {
	switch {
	case (a == 0) == (b == 0):
		return 0
	case a != 0:
		return -1
	}
	return 1
}

// plainMatchers keeps compiled the matchers of specs that have nothing but methods, by those: most routes of a large
// table share a few.
type plainMatchers map[string]*match.Matcher

// read parses one spec. Without a matcher it was reported as wrong.
func (c *compilation) read(i int, s *Spec, plain plainMatchers) (p pattern, hosts []host, m *match.Matcher) {
	bad := func(kind Kind, field string, reason string) {
		c.report(Problem{Kind: kind, Severity: Error, Routes: []int{i}, Field: field,
			Text: label(c.specs, i) + ": " + reason})
	}
	before := len(c.problems)
	p, err := parsePattern(s.Path)
	if err != nil {
		bad(BadPattern, "path", err.Error())
	}
	if len(s.Hosts) == 0 {
		hosts = []host{{kind: wildcard}}
	}
	for j, text := range s.Hosts {
		h, err := parseHost(text)
		switch {
		case err != nil:
			bad(BadPattern, fmt.Sprintf("hosts[%d]", j), err.Error())
		case slices.Contains(hosts, h):
			bad(BadPattern, fmt.Sprintf("hosts[%d]", j), fmt.Sprintf("the host %q is listed twice", text))
		default:
			hosts = append(hosts, h)
		}
	}
	m, errs := plain.compile(s.Match)
	for _, e := range errs {
		field := "match"
		if e.Index >= 0 {
			field = fmt.Sprintf("match.%s[%d]", [...]string{"methods", "headers", "query", "cookies"}[e.Place], e.Index)
		}
		bad(BadMatch, field, e.Error())
	}
	if len(c.problems) > before {
		return p, nil, nil
	}
	return p, hosts, m
}

func (p plainMatchers) compile(s match.Spec) (*match.Matcher, []*match.SpecError) {
	if len(s.Headers)+len(s.Query)+len(s.Cookies) > 0 || len(s.Methods) > 1 {
		return match.Compile(s)
	}
	key := ""
	if len(s.Methods) == 1 {
		key = " " + s.Methods[0]
	}
	if m := p[key]; m != nil {
		return m, nil
	}
	m, errs := match.Compile(s)
	if errs == nil {
		p[key] = m
	}
	return m, errs
}
