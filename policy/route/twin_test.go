package route

import (
	"cmp"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/policy/match"
)

// The slow twin: every route is tried, the ones that match are sorted by the order of the package documentation, written
// here a second time from the text. It knows no trie, no index, no leaf.

type twinRoute struct {
	spec     int
	listener string
	host     string // lower-cased pattern, "*" for any
	segments []string
	methods  []string
	matcher  *match.Matcher
}

func newTwin(specs []Spec) (twin []twinRoute) {
	for i, s := range specs {
		m, errs := match.Compile(s.Match)
		if errs != nil {
			continue
		}
		hosts := s.Hosts
		if len(hosts) == 0 {
			hosts = []string{"*"}
		}
		for _, h := range hosts {
			twin = append(twin, twinRoute{i, s.Listener, strings.ToLower(h), strings.Split(s.Path, "/")[1:], m.Methods(), m})
		}
	}
	return twin
}

func (t *twinRoute) hostMatches(h string) bool {
	suffix, wild := strings.CutPrefix(t.host, "*")
	if !wild {
		return t.host == h
	}
	return suffix == "" || strings.HasSuffix(h, suffix) && len(h) > len(suffix)
}

func (t *twinRoute) pathMatches(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	parts := strings.Split(path, "/")[1:]
	for i, s := range t.segments {
		switch {
		case strings.HasPrefix(s, "*"):
			return len(parts) > i
		case i >= len(parts):
			return false
		case strings.HasPrefix(s, ":"):
			if parts[i] == "" {
				return false
			}
		case s != parts[i]:
			return false
		}
	}
	return len(parts) == len(t.segments)
}

func (t *twinRoute) params(path string) (names, values []string) {
	parts := strings.Split(path, "/")[1:]
	for i, s := range t.segments {
		switch {
		case s == "*":
			names, values = append(names, "*"), append(values, strings.Join(parts[i:], "/"))
		case strings.HasPrefix(s, "*"):
			names, values = append(names, s[1:]), append(values, strings.Join(parts[i:], "/"))
		case strings.HasPrefix(s, ":"):
			names, values = append(names, s[1:]), append(values, parts[i])
		}
	}
	return names, values
}

func (t *twinRoute) fits(r *match.Request) bool {
	return t.hostMatches(strings.TrimSuffix(string(r.Host), ".")) && t.pathMatches(string(r.Path))
}

func (t *twinRoute) restMatches(r *match.Request) bool {
	if t.listener != "" && t.listener != r.Listener {
		return false
	}
	ps := t.matcher.Predicates()
	return !slices.ContainsFunc(ps, func(p match.Predicate) bool { return !p.Holds(r) })
}

func (t *twinRoute) methodMatches(r *match.Request) bool {
	return len(t.methods) == 0 || slices.Contains(t.methods, string(r.Method))
}

func (t *twinRoute) matches(r *match.Request) bool {
	return t.fits(r) && t.restMatches(r) && t.methodMatches(r)
}

func hostClass(h string) int {
	switch {
	case h == "*":
		return 2
	case strings.HasPrefix(h, "*"):
		return 1
	}
	return 0
}

func segmentClass(s string) int {
	switch {
	case strings.HasPrefix(s, "*"):
		return 2
	case strings.HasPrefix(s, ":"):
		return 1
	}
	return 0
}

// twinRank is steps 1 to 6 for two routes that match the same request.
func twinRank(a, b *twinRoute) int {
	if o := cmp.Or(cmp.Compare(hostClass(a.host), hostClass(b.host)), cmp.Compare(len(b.host), len(a.host))); o != 0 {
		return o
	}
	for i := range min(len(a.segments), len(b.segments)) {
		if o := cmp.Compare(segmentClass(a.segments[i]), segmentClass(b.segments[i])); o != 0 {
			return o
		}
	}
	count := func(t *twinRoute) int {
		if len(t.methods) == 0 {
			return 1000
		}
		return len(t.methods)
	}
	named := func(t *twinRoute) int {
		if t.listener != "" {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(named(a), named(b)),
		cmp.Compare(count(a), count(b)),
		cmp.Compare(len(b.matcher.Predicates()), len(a.matcher.Predicates())),
		match.Compare(a.matcher, b.matcher),
	)
}

// twinOrder adds step 7. The rest is for pairs that cannot both match (different listeners) and for duplicates.
func twinOrder(a, b twinRoute) int {
	return cmp.Or(twinRank(&a, &b), match.CompareText(a.matcher, b.matcher), cmp.Compare(a.listener, b.listener), cmp.Compare(a.spec, b.spec))
}

// twinMatch returns the matching routes, best first, and for a miss the methods allowed, sorted.
func twinMatch(twin []twinRoute, r *match.Request) (won []twinRoute, allow []string) {
	for i := range twin {
		switch t := &twin[i]; {
		case t.matches(r):
			won = append(won, *t)
		case t.fits(r) && t.restMatches(r):
			allow = append(allow, t.methods...)
		}
	}
	slices.SortFunc(won, twinOrder)
	if won != nil {
		return won, nil
	}
	slices.Sort(allow)
	return nil, slices.Compact(allow)
}
