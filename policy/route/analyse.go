package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/policy/match"
)

// The analysis looks at one leaf at a time, and that is enough: patterns on different hosts or of different paths that
// match the same request are in a strict order (steps 1 and 2 of the package documentation), and the more specific of them
// never covers the other, nor do several together, since they would need one route for each of infinitely many hosts
// or segments.
//
// It trusts nothing it has not seen happen. A possible request is worked out by match.Solve and given to the table; who
// wins there is the next thing to avoid, until the route in question wins (all is well), no request is left (proven)
// or the patience ends (nothing is said).

const (
	// roundsMax is that patience: how many winners are worked around for one question. Routes written by people are
	// covered by two or three others.
	roundsMax = 16
	// workMax bounds the work on one table: two hundred thousand questions to solver and table, of one to ten
	// microseconds each. A hundred thousand routes, four of them on each path, need half of it.
	workMax = 4_000_000
	// solveWork is what such a question counts, pairWork a look at a pair that needs none.
	solveWork = 20
	pairWork  = 1
)

func (c *compilation) analyse() {
	for leaf, first := range c.first {
		if end := c.end(uint32(leaf)); end-first > 1 && c.workLeft > 0 {
			c.analyseLeaf(first, end)
		}
	}
}

// analyseLeaf looks at the entries from first to end.
func (c *compilation) analyseLeaf(first, end uint32) {
	duplicate := make([]bool, end-first)
	for i := first + 1; i < end; i++ {
		if c.same(i-1, i) {
			duplicate[i-first] = true
			c.reportDuplicate(i-1, i)
		}
	}
	g := c.divide(first, end)
	for from := first; from < end; {
		to := from + 1
		for to < end && c.rank(from, to) == 0 {
			to++
		}
		for j := from + 1; j < to && c.workLeft > 0; j++ {
			if !duplicate[j-first] {
				c.findAmbiguity(&g, from, j, duplicate)
			}
		}
		from = to
	}
	for i := first + 1; i < end && c.workLeft > 0; i++ {
		if !duplicate[i-first] {
			c.findCover(&g, i)
		}
	}
	if c.workLeft <= 0 {
		c.reportUnchecked(first, end)
	}
}

func (c *compilation) rank(i, j uint32) int {
	e := c.table.entries
	return compareRank(&e[i], &c.origins[i], &e[j], &c.origins[j])
}

// same reports whether two entries of a leaf ask for the same.
func (c *compilation) same(i, j uint32) bool {
	e := c.table.entries
	return e[i].listener == e[j].listener && match.CompareText(c.origins[i].matcher, c.origins[j].matcher) == 0
}

// findAmbiguity compares entry j with those of equal rank before it, which begin at from, and reports the first with which
// it is ambiguous.
func (c *compilation) findAmbiguity(g *groups, from, j uint32, duplicate []bool) {
	for i := range g.before(j) {
		c.workLeft -= pairWork
		if i >= from && !duplicate[i-g.first] && c.ambiguous(i, j) {
			return
		}
	}
}

// ambiguous reports whether one request matches entries i and j of equal rank and comes to one of them.
func (c *compilation) ambiguous(i, j uint32) bool {
	a, b := &c.table.entries[i], &c.table.entries[j]
	if a.listener != b.listener || a.methods != 0 && b.methods != 0 && a.methods&b.methods == 0 {
		return false
	}
	methods := []string{usualMethods[0], c.method(0)} // the second for when routes for GET come before both
	if common := a.methods & b.methods; a.methods != 0 {
		methods = []string{c.method(common)} // of equal rank: both name methods or neither does
	}
	both := slices.Concat(c.holdOf(i), c.holdOf(j))
	var w *Witness
	for n := 0; w == nil && n < len(methods); n++ {
		w = c.avoid(i, methods[n], both, func(winner uint32) bool { return winner == i || winner == j })
	}
	if w == nil || !c.takes(i, w) || !c.takes(j, w) {
		return false
	}
	if a.spec > b.spec {
		i, j, a, b = j, i, b, a // of two equals, the later one in the file is at fault
	}
	c.report(Problem{Kind: Ambiguous, Severity: Error, Routes: c.routes(j, i), Witness: w,
		Text: fmt.Sprintf("%s and %s are equally specific and both match %s; give one of them a condition more",
			label(c.specs, int(b.spec)), label(c.specs, int(a.spec)), w)})
	return true
}

// avoid looks for a request to entry i's pattern that meets hold and whose winner is wanted, working around the other
// winners of the leaf one by one. It returns nil if it found none.
func (c *compilation) avoid(i uint32, method string, hold []*match.Predicate, wanted func(winner uint32) bool) *Witness {
	var broken [][]*match.Predicate
	for range roundsMax {
		c.workLeft -= solveWork
		s := match.Solve(hold, broken)
		if s.Verdict != match.Possible || s.Repeated {
			return nil
		}
		w, winner, ok := c.witness(i, method, s.Example)
		if !ok {
			return nil
		}
		if wanted(winner) {
			return w
		}
		broken = append(broken, c.holdOf(winner))
	}
	return nil
}

// findCover reports entry i if the entries of its leaf before it take all of its requests.
func (c *compilation) findCover(g *groups, i uint32) {
	e := &c.table.entries[i]
	methods := c.origins[i].matcher.Methods()
	if e.methods == 0 {
		// A method that no route names meets the fewest others: a route for all methods is covered if it is covered
		// there. GET comes along for the sake of a familiar witness.
		methods = []string{usualMethods[0], c.method(0)}
	}
	for _, method := range methods {
		if !c.contested(g, i, method) {
			return
		}
	}
	var cover []uint32 // the winner of the witness first
	var shown *Witness
	for _, method := range methods {
		w, winners := c.coverFor(i, method)
		if w == nil {
			return
		}
		if shown == nil {
			shown = w
		}
		for _, winner := range winners {
			if !slices.Contains(cover, winner) {
				cover = append(cover, winner)
			}
		}
	}
	names := make([]string, len(cover))
	for n, winner := range cover {
		names[n] = label(c.specs, int(c.table.entries[winner].spec))
	}
	takes := "takes"
	if len(cover) > 1 {
		takes = "together take"
	}
	c.report(Problem{Kind: Unreachable, Severity: Warning, Routes: c.routes(i, cover...), Witness: shown,
		Text: fmt.Sprintf("%s is never reached on host %s: %s %s everything it matches, such as %s",
			label(c.specs, int(e.spec)), c.origins[i].host, strings.Join(names, " and "), takes, shown)})
}

// contested reports whether an entry before i could take a request of i's with this method. It is a cheap question that
// spares most routes the dear one.
func (c *compilation) contested(g *groups, i uint32, method string) bool {
	e, bit := &c.table.entries[i], c.table.methodBit([]byte(method))
	for j := range g.before(i) {
		c.workLeft -= pairWork
		b := &c.table.entries[j]
		if (b.methods == 0 || b.methods&bit != 0) && (b.listener == 0 || b.listener == e.listener) {
			return true
		}
	}
	return false
}

// coverFor returns entries of i's leaf that together take every request with the method that i matches, and one such
// request; or nil if there is one that comes to i, or if it cannot tell.
func (c *compilation) coverFor(i uint32, method string) (w *Witness, cover []uint32) {
	wanted := c.holdOf(i)
	var broken [][]*match.Predicate
	for range roundsMax {
		c.workLeft -= solveWork
		s := match.Solve(wanted, broken)
		if s.Verdict == match.Impossible {
			return w, cover
		}
		if s.Verdict == match.Unknown {
			return nil, nil
		}
		next, winner, ok := c.witness(i, method, s.Example)
		if !ok || winner == i {
			return nil, nil
		}
		if w == nil {
			w = next
		}
		cover = append(cover, winner)
		broken = append(broken, c.holdOf(winner))
	}
	return nil, nil
}

// witness makes a request for the pattern of entry i that carries the values, one that comes to i's leaf. It returns the
// entry that wins it there.
func (c *compilation) witness(i uint32, method string, values []match.Value) (w *Witness, winner uint32, ok bool) {
	w = &Witness{Listener: c.listener(i), Method: method}
	w.carry(values)
	r := w.Request()
	for _, filler := range [...]string{"any", "other", "0", "any-other"} {
		w.Host = c.origins[i].host.sample(filler)
		r.Host = []byte(w.Host)
		// What a wildcard stands for is tried in several depths: a pattern with parameters may take one of them.
		for _, rest := range [...]string{filler, "", filler + "/", filler + "/" + filler, filler + "/" + filler + "/" + filler} {
			w.Path = c.origins[i].pattern.sample(filler, rest)
			r.Path = []byte(w.Path)
			var p Params
			probe := c.table.walk(r, &p)
			if probe.hosts() && c.origins[probe.won].leaf == c.origins[i].leaf && c.takes(i, w) {
				return w, probe.won, true
			}
			if !c.origins[i].pattern.open() {
				break
			}
		}
		if c.origins[i].pattern.static() && c.origins[i].host.kind == literal {
			break // nothing to vary
		}
	}
	return nil, 0, false
}

// takes reports whether entry i, asked alone, accepts the request.
func (c *compilation) takes(i uint32, w *Witness) bool {
	var p Params
	probe := c.table.walk(w.Request(), &p)
	return probe.refusal(&c.table.entries[i]) == accepted
}

// listener returns the name of the only listener that an entry serves, or nothing.
func (c *compilation) listener(i uint32) string { return c.specs[c.table.entries[i].spec].Listener }

// method returns one of a set of methods; for the set of all, one that no route names.
func (c *compilation) method(bits uint64) string {
	if bits == 0 {
		name := "ANY"
		for slices.Contains(c.table.methods, name) {
			name += "-OTHER"
		}
		return name
	}
	for i, name := range c.table.methods {
		if bits>>i&1 != 0 {
			return name
		}
	}
	panic("route: a bit without a method")
}

// holdOf returns the predicates of an entry.
func (c *compilation) holdOf(i uint32) []*match.Predicate {
	ps := c.origins[i].matcher.Predicates()
	out := make([]*match.Predicate, len(ps))
	for n := range ps {
		out[n] = &ps[n]
	}
	return out
}

// routes returns the specs of entries, each once.
func (c *compilation) routes(i uint32, others ...uint32) []int {
	out := []int{int(c.table.entries[i].spec)}
	for _, j := range others {
		if spec := int(c.table.entries[j].spec); !slices.Contains(out, spec) {
			out = append(out, spec)
		}
	}
	return out
}

func (c *compilation) reportDuplicate(i, j uint32) {
	a, b := &c.table.entries[i], &c.table.entries[j]
	p := Problem{Kind: Duplicate, Severity: Error, Routes: c.routes(j, i),
		Text: fmt.Sprintf("%s asks for exactly what %s asks for", label(c.specs, int(b.spec)), label(c.specs, int(a.spec)))}
	method := c.method(a.methods)
	if a.methods == 0 {
		method = usualMethods[0]
	}
	if s := match.Solve(c.holdOf(i), nil); s.Verdict == match.Possible {
		w := &Witness{Listener: c.listener(i), Method: method}
		w.carry(s.Example)
		w.Host, w.Path = c.origins[i].host.sample("any"), c.origins[i].pattern.sample("any", "any")
		if c.takes(i, w) && c.takes(j, w) {
			p.Witness = w
			p.Text += fmt.Sprintf("; both match %s", w)
		}
	}
	c.report(p)
}

func (c *compilation) reportUnchecked(first, end uint32) {
	c.report(Problem{Kind: Unchecked, Severity: Warning, Routes: c.routes(first),
		Text: fmt.Sprintf("%s shares host %s and path with %d others; the table holds too many such routes to look for ambiguous and unreachable ones among all of them",
			label(c.specs, int(c.table.entries[first].spec)), c.origins[first].host, end-first-1)})
}

// report adds a problem, once per kind and pair of routes: the hosts of a spec would repeat it.
func (c *compilation) report(p Problem) {
	if len(p.Routes) > 1 {
		key := [3]int{int(p.Kind), p.Routes[0], p.Routes[1]}
		if c.told[key] {
			return
		}
		c.told[key] = true
	}
	c.problems = append(c.problems, p)
}

// sample returns a host that the pattern matches.
func (h host) sample(filler string) string {
	switch {
	case h.kind == literal:
		return h.name
	case h.name == "":
		return filler + ".invalid" // RFC 2606: exists nowhere
	}
	return filler + h.name
}

// open reports whether the pattern ends with a wildcard.
func (p *pattern) open() bool { return p.segments[len(p.segments)-1].kind == wildcard }

// sample returns a path that the pattern matches, with filler for parameters and rest for a wildcard.
func (p *pattern) sample(filler, rest string) string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteString("/" + [...]string{literal: s.text, param: filler, wildcard: rest}[s.kind])
	}
	return b.String()
}
