package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/policy/match"
)

// Small alphabets, so that random patterns and requests meet.

var (
	drawListener  = rapid.SampledFrom([]string{"", "", "", "web", "admin"})
	drawHost      = rapid.SampledFrom([]string{"*", "a.x", "b.x", "c.a.x", "x", "*.x", "*.a.x", "*.c.a.x", "A.X"})
	drawPath      = rapid.Custom(drawPathPattern)
	drawMethods   = rapid.SampledFrom([][]string{nil, nil, {"GET"}, {"POST"}, {"GET", "POST"}, {"HEAD"}, {"PURGE"}, {"POST", "PURGE"}})
	drawCondition = rapid.Custom(func(t *rapid.T) match.Condition {
		c := match.Condition{
			Name: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "name"),
			Op:   rapid.SampledFrom([]match.Op{match.Present, match.Absent, match.Exact, match.Exact, match.Prefix, match.Suffix, match.Contains, match.Regex}).Draw(t, "op"),
			Not:  rapid.IntRange(0, 3).Draw(t, "not") == 0,
		}
		if c.Op != match.Present && c.Op != match.Absent {
			c.Value = rapid.SampledFrom([]string{"1", "2", "12"}).Draw(t, "value")
			c.Every = rapid.IntRange(0, 3).Draw(t, "every") == 0
		}
		return c
	})
	drawConditions = rapid.SliceOfN(drawCondition, 0, 2)
	drawSpec       = rapid.Custom(func(t *rapid.T) Spec {
		s := Spec{
			Listener: drawListener.Draw(t, "listener"),
			Hosts:    rapid.SliceOfNDistinct(drawHost, 0, 2, strings.ToLower).Draw(t, "hosts"),
			Path:     drawPath.Draw(t, "path"),
			Match:    match.Spec{Methods: drawMethods.Draw(t, "methods")},
		}
		if rapid.Bool().Draw(t, "conditions") {
			s.Match.Headers = drawConditions.Draw(t, "headers")
			s.Match.Query = rapid.SliceOfN(drawCondition, 0, 1).Draw(t, "query")
		}
		return s
	})
	drawRequest = rapid.Custom(func(t *rapid.T) *match.Request {
		r := &match.Request{
			Listener: rapid.SampledFrom([]string{"web", "admin", "other"}).Draw(t, "listener"),
			Host:     []byte(rapid.SampledFrom([]string{"", "x", "a.x", "b.x", "a.x.", "c.a.x", "d.c.a.x", "y", ".x"}).Draw(t, "host")),
			Method:   []byte(rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PURGE", "OTHER"}).Draw(t, "method")),
			Path:     []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"/", "/", "a", "b", "c"}), 0, 7).Draw(t, "path"), "")),
			Query:    []byte(rapid.SampledFrom([]string{"", "p=1", "p=12&p=2", "q", "p=2&q=1"}).Draw(t, "query")),
		}
		var h witnessFields
		for range rapid.IntRange(0, 3).Draw(t, "fields") {
			h = append(h, Header{rapid.SampledFrom([]string{"p", "Q"}).Draw(t, "name"), rapid.SampledFrom([]string{"", "1", "2", "12", "21", "3"}).Draw(t, "value")})
		}
		r.Fields = h
		return r
	})
)

func drawPathPattern(t *rapid.T) string {
	var b strings.Builder
	n := rapid.IntRange(1, 4).Draw(t, "segments")
	for i := range n {
		kind := rapid.IntRange(0, 4).Draw(t, "kind")
		switch {
		case kind == 4 && i == n-1:
			b.WriteString(rapid.SampledFrom([]string{"/*", "/*rest"}).Draw(t, "wildcard"))
		case kind == 3 && i == n-1:
			b.WriteString("/")
		case kind >= 2:
			fmt.Fprintf(&b, "/:p%d", i)
		default:
			b.WriteString("/" + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "literal"))
		}
	}
	return b.String()
}

func drawTable(t *rapid.T) ([]Spec, *compilation, []twinRoute) {
	specs := rapid.SliceOfN(drawSpec, 1, 12).Draw(t, "specs")
	return specs, newCompilation(specs), newTwin(specs)
}

func TestTableAgreesWithTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, c, twin := drawTable(t)
		var p Params
		for range 10 {
			r := drawRequest.Draw(t, "request")
			won, allow := twinMatch(twin, r)
			got := c.table.Match(r, &p)
			want := -1
			if won != nil {
				want = won[0].spec
			}
			if got.Index != want {
				t.Fatalf("%s %s%s: route %d, want %d", r.Method, r.Host, r.Path, got.Index, want)
			}
			if a := allowNames(c.table, got.Allow); !slices.Equal(a, allow) {
				t.Fatalf("%s %s%s: allow %q, want %q", r.Method, r.Host, r.Path, a, allow)
			}
			var names, values []string
			if won != nil {
				names, values = won[0].params(string(r.Path))
			}
			if !slices.Equal(p.names, names) {
				t.Fatalf("parameters %q, want %q", p.names, names)
			}
			for i, name := range names {
				if v, ok := p.Get(name); !ok || string(v) != values[i] {
					t.Fatalf("parameter %s is %q, want %q", name, v, values[i])
				}
			}
		}
	})
}

func allowNames(t *Table, a Allow) []string {
	if a == 0 {
		return nil
	}
	names := strings.Split(string(t.AppendAllow(nil, a)), ", ")
	slices.Sort(names)
	return names
}

func TestOrderOfTheFileNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs, c, _ := drawTable(t)
		order := rapid.Permutation(indices(len(specs))).Draw(t, "order")
		shuffled := make([]Spec, len(specs))
		for to, from := range order {
			shuffled[to] = specs[from]
		}
		d := newCompilation(shuffled)
		var p Params
		for range 10 {
			r := drawRequest.Draw(t, "request")
			a, b := c.table.Match(r, &p).Index, d.table.Match(r, &p).Index
			if b >= 0 {
				b = order[b]
			}
			// Duplicates may stand in for one another; nothing else may.
			if a != b && (a < 0 || b < 0 || !sameRule(specs[a], specs[b])) {
				t.Fatalf("%s %s%s: route %d, in another order %d", r.Method, r.Host, r.Path, a, b)
			}
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func sameRule(a, b Spec) bool {
	x, _ := match.Compile(a.Match)
	y, _ := match.Compile(b.Match)
	return a.Listener == b.Listener && match.CompareText(x, y) == 0
}

func TestExplainTellsWhatMatchDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, c, twin := drawTable(t)
		var p Params
		r := drawRequest.Draw(t, "request")
		won := c.table.Match(r, &p).Index
		chosen, candidates := -1, c.table.Explain(r)
		for _, k := range candidates {
			if k.Chosen {
				chosen = k.Index
			}
			if k.Chosen != (k.Why == "") || k.Chosen && !k.Holds {
				t.Fatalf("candidate %+v contradicts itself", k)
			}
		}
		if chosen != won {
			t.Fatalf("explained %d, matched %d", chosen, won)
		}
		var fit []twinRoute
		for _, tr := range twin {
			if tr.fits(r) {
				fit = append(fit, tr)
			}
		}
		slices.SortFunc(fit, twinOrder)
		if len(fit) != len(candidates) {
			t.Fatalf("%d candidates, want %d", len(candidates), len(fit))
		}
		for i, tr := range fit {
			if candidates[i].Index != tr.spec {
				t.Fatalf("place %d is route %d, want %d", i, candidates[i].Index, tr.spec)
			}
			if candidates[i].Holds != tr.matches(r) {
				t.Fatalf("candidate %d holds: %v, want %v", candidates[i].Index, candidates[i].Holds, tr.matches(r))
			}
		}
	})
}

// table compiles routes written "METHODS host/path" or "host/path", in which nothing may be wrong.
func table(t testing.TB, routes ...string) *Table {
	t.Helper()
	specs := make([]Spec, len(routes))
	for i, s := range routes {
		specs[i] = parseSpec(s)
	}
	tab, problems := Compile(specs)
	for _, p := range problems {
		t.Fatalf("%s: %s", p.Kind, p.Text)
	}
	return tab
}

func parseSpec(s string) Spec {
	spec := Spec{Name: s}
	if methods, rest, ok := strings.Cut(s, " "); ok {
		spec.Match.Methods, s = strings.Split(methods, ","), rest
	}
	host, _, _ := strings.Cut(s, "/")
	spec.Path = s[len(host):]
	if host != "" {
		spec.Hosts = []string{host}
	}
	return spec
}

func request(s string) *match.Request {
	method, rest, _ := strings.Cut(s, " ")
	host, _, _ := strings.Cut(rest, "/")
	return &match.Request{Method: []byte(method), Host: []byte(host), Path: []byte(rest[len(host):])}
}

func TestMostSpecificWins(t *testing.T) {
	f := func(routes, req, want string) {
		t.Helper()
		list := strings.Split(routes, " | ")
		tab := table(t, list...)
		var p Params
		got := "none"
		res := tab.Match(request(req), &p)
		if res.Index >= 0 {
			got = list[res.Index]
		} else if res.Allow != 0 {
			got = "allow " + string(tab.AppendAllow(nil, res.Allow))
		}
		if got != want {
			t.Errorf("%s in %s: %s, want %s", req, routes, got, want)
		}
	}
	f("/* | /a/* | /a/:x | /a/b", "GET h/a/b", "/a/b")
	f("/* | /a/* | /a/:x | /a/b", "GET h/a/c", "/a/:x")
	f("/* | /a/* | /a/:x | /a/b", "GET h/a/b/", "/a/*")
	f("/* | /a/* | /a/:x | /a/b", "GET h/a/", "/a/*")
	f("/* | /a/* | /a/:x | /a/b", "GET h/a", "/*")
	f("/a/b/z | /a/:x/c", "GET h/a/b/c", "/a/:x/c")           // back from text to parameter
	f("/:x/b/* | /a/:y/c", "GET h/a/b/d", "/:x/b/*")          // back over two levels
	f("x.y/a | *.y/:p | /*", "GET x.y/b", "*.y/:p")           // back to a wider host
	f("x.y/a | *.y/:p | /*", "GET x.y/b/c", "/*")             // and to any
	f("*.y/* | *.x.y/*", "GET a.b.x.y/", "*.x.y/*")           // the longest suffix
	f("*.y/* | *.x.y/*", "GET x.y/", "*.y/*")                 // not the name itself
	f("*.y/*", "GET y/", "none")                              //
	f("EXAMPLE.com/*", "GET example.com./", "EXAMPLE.com/*")  // case and the root's dot
	f("[::0001]/*", "GET [::1]/", "[::0001]/*")               // RFC 5952
	f("GET /a | POST /a", "HEAD h/a", "GET /a")               // RFC 9110 section 9.3.2
	f("GET /a | HEAD /a", "HEAD h/a", "HEAD /a")              //
	f("GET /a | POST /a", "PUT h/a", "allow GET, HEAD, POST") // RFC 9110 section 15.5.6
	f("GET /a | POST /:x | PURGE /*", "PUT h/a", "allow GET, HEAD, POST, PURGE")
	f("GET /a | /*", "PUT h/a", "/*") // not a 405 while someone takes it
	f("/v1/jobs\\:purge | /v1/:x", "GET h/v1/jobs:purge", "/v1/jobs\\:purge")
	f("/caf%c3%a9 | /%2f", "GET h/caf%C3%A9", "/caf%c3%a9") // RFC 3986 section 6.2.2.1
	f("/*", "OPTIONS h*", "none")
}

func TestPatternErrors(t *testing.T) {
	path := func(s, want string) {
		t.Helper()
		if _, err := parsePattern(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want ... %s ...", s, err, want)
		}
	}
	path("", "missing")
	path("a", "begin with '/'")
	path("/a//b", "empty segment")
	path("/a/../b", "never occurs")
	path("/%2e%2E/b", "never occurs")
	path("/file-:id", "mixes text")
	path("/a*", "mixes text")
	path("/*rest/a", "last segment")
	path("/:", "needs a parameter name")
	path("/:1a", "needs a parameter name")
	path("/*a-b", "needs a name")
	path("/:a/:a", "used twice")
	path("/a?b", "match.query")
	path("/%zz", "two hex digits")
	path("/%2", "two hex digits")
	path(`/a\b`, "backslash")
	path("/a%00", "control character")
	path("/a\n", "control character")
	path(strings.Repeat("/:a", 1)+pathOf(17, "/:p%d"), "at most 16")
	path(strings.Repeat("/a", 65), "at most 64")
	path("/"+strings.Repeat("a", 4096), "at most 4096")

	host := func(s, want string) {
		t.Helper()
		if _, err := parseHost(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want ... %s ...", s, err, want)
		}
	}
	host("a.com:80", "has a port")
	host("[::1]:80", "has a port")
	host("[::1", "not an IPv6")
	host("[1.2.3.4]", "not an IPv6")
	host("[::1]x", "goes on")
	host("::1", "needs brackets")
	host("a..com", "empty label")
	host("a.*.com", "odd place")
	host("*a.com", "odd place")
	host("bücher.de", "xn--")
	host("a b", "character ' '")
	host(strings.Repeat("a", 64)+".com", "at most 63")
	host(strings.Repeat("aaaaaaaaa.", 26)+"com", "at most 253")
}

func pathOf(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestParamsOfTheWinnerOnly(t *testing.T) {
	tab := table(t, "/:a/:b/x", "/:c/*rest")
	var p Params
	r := request("GET h/1/2/y")
	if got := tab.Match(r, &p).Index; got != 1 {
		t.Fatalf("route %d", got)
	}
	for name, want := range map[string]string{"c": "1", "rest": "2/y"} {
		if v, ok := p.Get(name); !ok || string(v) != want {
			t.Errorf("%s is %q, %v, want %q", name, v, ok, want)
		}
	}
	if _, ok := p.Get("a"); ok {
		t.Error("a belongs to a route that did not win")
	}
	tab.Match(request("GET h/1"), &p)
	if _, ok := p.Get("c"); ok {
		t.Error("after a miss nothing is captured")
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	specs := mixedSpecs(1000)
	specs = append(specs, Spec{Hosts: []string{"h.test"}, Path: "/p/:id", Match: match.Spec{
		Methods: []string{"PUT"},
		Headers: []match.Condition{{Name: "X-A", Op: match.Exact, Value: "1"}},
		Query:   []match.Condition{{Name: "q", Op: match.Regex, Value: "[a-z ]+"}},
		Cookies: []match.Condition{{Name: "c", Op: match.Contains, Value: "v"}},
	}})
	tab, problems := Compile(specs)
	if tab == nil {
		t.Fatal(problems)
	}
	r := &match.Request{Host: []byte("h.test"), Method: []byte("PUT"), Path: []byte("/p/7"), Query: []byte("q=a%20b"),
		Fields: headFields{&Header{"x-a", "1"}, &Header{"cookie", "a=b; c=v"}}}
	var p Params
	if got := tab.Match(r, &p).Index; got != len(specs)-1 {
		t.Fatalf("route %d", got)
	}
	miss := request("PATCH h.test/p/7")
	miss.Query, miss.Fields = r.Query, r.Fields
	if tab.Match(miss, &p).Allow == 0 {
		t.Fatal("method should have been the only fault")
	}
	requests := append(mixedRequests(1000), r, miss)
	i := 0
	if n := testing.AllocsPerRun(len(requests)*3, func() {
		tab.Match(requests[i%len(requests)], &p)
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// headFields keeps values as bytes, as a parsed head does.
type headFields []*Header

func (f headFields) NextField(name string, from int) ([]byte, int) {
	for i := from; i < len(f); i++ {
		if f[i].Name == name {
			return byteValues[f[i].Value], i + 1
		}
	}
	return nil, -1
}

var byteValues = map[string][]byte{"1": []byte("1"), "a=b; c=v": []byte("a=b; c=v")}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/", "/a/:b/*c", "/%41%2f\\:", "//", "/:", "/*"} {
		f.Add(s, "a.b")
	}
	f.Add("/a", "*.example.com")
	f.Add("/a", "[::1]")
	f.Fuzz(func(t *testing.T, path, host string) {
		if p, err := parsePattern(path); err == nil {
			c := newCompilation([]Spec{{Path: path}})
			var params Params
			r := &match.Request{Path: []byte(p.sample("any", "rest/of/it"))}
			if c.table.Match(r, &params).Index != 0 {
				t.Errorf("%q does not match its own sample %q", path, r.Path)
			}
		}
		if h, err := parseHost(host); err == nil {
			if again, err := parseHost(h.String()); err != nil || again != h {
				t.Errorf("%q is %q and that is %q, %v", host, h, again, err)
			}
		}
	})
}

func FuzzMatch(f *testing.F) {
	specs := append(mixedSpecs(200), parseSpec("/*"), parseSpec("/:a/:b/c"), parseSpec("*.x/a/*"), parseSpec("GET /a/"))
	tab := newCompilation(specs).table
	twin := newTwin(specs)
	f.Add("h", "/a/b", "GET")
	f.Add("a.x", "/a//", "")
	f.Add("...", "//", "\x00")
	f.Fuzz(func(t *testing.T, host, path, method string) {
		r := &match.Request{Host: []byte(host), Path: []byte(path), Method: []byte(method)}
		var p Params
		got, want := tab.Match(r, &p).Index, -1
		if won, _ := twinMatch(twin, r); won != nil {
			want = won[0].spec
		}
		if got != want {
			t.Errorf("%q %q %q: route %d, want %d", method, host, path, got, want)
		}
		tab.Explain(r)
	})
}

// TestLargeLeafAgreesWithTwin asks leaves that are divided, with no, one and very many of the dividing values.
func TestLargeLeafAgreesWithTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		specs := rapid.SliceOfN(drawSpec, 1, 6).Draw(t, "specs")
		for i := range 20 {
			s := drawSpec.Draw(t, "tenant")
			s.Match.Cookies = []match.Condition{{Name: "t", Op: match.Exact, Value: fmt.Sprint(i % 18), Every: i == 7}}
			specs = append(specs, s)
		}
		for i := range specs {
			specs[i].Path, specs[i].Hosts = "/:x", nil
		}
		c, twin := newCompilation(specs), newTwin(specs)
		if len(c.specs) == len(c.table.entries) && len(c.table.large) != 1 {
			t.Fatal("the leaf is not divided")
		}
		var p Params
		for range 10 {
			r := drawRequest.Draw(t, "request")
			r.Path = []byte("/a")
			for _, v := range rapid.SliceOfN(rapid.IntRange(0, 19), 0, 12).Draw(t, "tenants") {
				r.Fields = append(r.Fields.(witnessFields), Header{"Cookie", fmt.Sprint("t=", v)})
			}
			won, allow := twinMatch(twin, r)
			got, want := c.table.Match(r, &p), -1
			if won != nil {
				want = won[0].spec
			}
			if a := allowNames(c.table, got.Allow); got.Index != want || !slices.Equal(a, allow) {
				t.Fatalf("%s %v: route %d, allow %q; want %d, %q", r.Method, r.Fields, got.Index, a, want, allow)
			}
		}
	})
}
