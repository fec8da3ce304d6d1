package match

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// head is a list of fields, "name: value" each.
type head []string

func (h head) NextField(name string, from int) ([]byte, int) {
	for i := from; i < len(h); i++ {
		if n, v, _ := strings.Cut(h[i], ":"); strings.EqualFold(n, name) {
			return []byte(strings.TrimSpace(v)), i + 1
		}
	}
	return nil, -1
}

// holds compiles one condition and asks it. The request is "?query" or fields, one a line.
func holds(t testing.TB, place Place, c Condition, req string) bool {
	t.Helper()
	p, reason := compileCondition(place, c)
	if reason != "" {
		t.Fatalf("%+v: %s", c, reason)
	}
	r := &Request{}
	if q, ok := strings.CutPrefix(req, "?"); ok {
		r.Query = []byte(q)
	} else if req != "" {
		r.Fields = head(strings.Split(req, "\n"))
	}
	return p.Holds(r)
}

func TestHeaderConditions(t *testing.T) {
	f := func(c Condition, fields string, want bool) {
		t.Helper()
		if got := holds(t, Header, c, fields); got != want {
			t.Errorf("%+v of %q: %v", c, fields, got)
		}
	}
	f(Condition{Name: "X-A"}, "x-a: ", true)
	f(Condition{Name: "X-A"}, "x-b: 1", false)
	f(Condition{Name: "X-A"}, "", false)
	f(Condition{Name: "X-A"}, "x_a: 1", false) // an underscore is no dash
	f(Condition{Name: "x-a", Op: Absent}, "X-A: 1", false)
	f(Condition{Name: "x-a", Op: Absent}, "X-B: 1", true)
	f(Condition{Name: "x-a", Op: Absent, Not: true}, "X-A: 1", true)
	f(Condition{Name: "x-a", Op: Exact, Value: "1"}, "x-a: 1", true)
	f(Condition{Name: "x-a", Op: Exact, Value: "a"}, "x-a: A", false)
	f(Condition{Name: "x-a", Op: Exact}, "x-a:", true)
	f(Condition{Name: "x-a", Op: Exact, Not: true, Value: "1"}, "", true) // no value is 1
	f(Condition{Name: "x-a", Op: Prefix, Value: "ab"}, "x-a: abc", true)
	f(Condition{Name: "x-a", Op: Prefix, Value: "ab"}, "x-a: a", false)
	f(Condition{Name: "x-a", Op: Suffix, Value: "bc"}, "x-a: abc", true)
	f(Condition{Name: "x-a", Op: Suffix, Value: "bc"}, "x-a: c", false)
	f(Condition{Name: "x-a", Op: Contains, Value: "aab"}, "x-a: aaab", true)
	f(Condition{Name: "x-a", Op: Contains, Value: "ab"}, "x-a: a-b", false)
	f(Condition{Name: "x-a", Op: Regex, Value: "admin|root"}, "x-a: root", true)
	f(Condition{Name: "x-a", Op: Regex, Value: "admin|root"}, "x-a: notroot", false) // the whole value
	f(Condition{Name: "x-a", Op: Regex, Value: "admin|root"}, "x-a: admin2", false)
	f(Condition{Name: "x-a", Op: Regex, Value: "(?m)^a$"}, "x-a: b", false)
}

// TestRepeatedFieldCannotHideBehindTheFirst is class 6 of the threats: a rule that reads one value while the upstream
// reads another (Envoy CVE-2026-26308).
func TestRepeatedFieldCannotHideBehindTheFirst(t *testing.T) {
	f := func(c Condition, fields string, want bool) {
		t.Helper()
		if got := holds(t, Header, c, strings.ReplaceAll(fields, "|", "\n")); got != want {
			t.Errorf("%+v of %q: %v", c, fields, got)
		}
	}
	refuse := Condition{Name: "x-role", Op: Exact, Value: "root"}
	f(refuse, "x-role: guest|x-role: root", true)
	f(refuse, "x-role: root|x-role: guest", true)
	f(refuse, "x-role: |x-other: root|X-ROLE: root", true)
	f(refuse, "x-role: guest|x-role: user", false)

	unless := Condition{Name: "x-role", Op: Exact, Value: "guest", Not: true}
	f(unless, "x-role: user|x-role: guest", false)
	f(unless, "x-role: user|x-role: root", true)

	grant := Condition{Name: "x-verified", Op: Exact, Value: "yes", Every: true}
	f(grant, "x-verified: yes", true)
	f(grant, "x-verified: yes|x-verified: yes", true)
	f(grant, "x-verified: yes|x-verified: no", false) // the trusted hop appended its "no"
	f(grant, "x-verified: no|x-verified: yes", false)
	f(grant, "", false) // nothing said is nothing granted

	withhold := Condition{Name: "x-verified", Op: Exact, Value: "yes", Every: true, Not: true}
	f(withhold, "x-verified: yes|x-verified: no", true)
	f(withhold, "", true)
	f(withhold, "x-verified: yes", false)

	f(refuse, "x-role: guest, root", false) // one line is one value; Contains and Regex look inside
}

func TestQueryIsComparedDecoded(t *testing.T) {
	f := func(name, value, query string, want bool) {
		t.Helper()
		if got := holds(t, Query, Condition{Name: name, Op: Exact, Value: value}, "?"+query); got != want {
			t.Errorf("%s=%q in %q: %v", name, value, query, got)
		}
	}
	f("a", "b", "a=b", true)
	f("a", "b", "%61=%62", true)
	f("a", "b", "x=1&a=c&a=b", true) // all of them
	f("a", "b", "A=b", false)
	f("a", "b c", "a=b+c", true)
	f("a", "b c", "a=b%20c", true)
	f("a", "+", "a=%2B", true)
	f("a", "%62", "a=%2562", true) // decoded once
	f("a", "%6", "a=%6", true)     // a broken escape stands for itself
	f("a", "%zz", "a=%zz", true)
	f("a", "", "a", true)
	f("a", "", "a=", true)
	f("a", "", "", false)
	f("a", "", "&&", false)
	f("a", "b=c", "a=b=c", true)
	f("a", "b;x=1", "a=b;x=1", true) // ';' separates nothing
	f("a b", "1", "a+b=1", true)
	f("ab", "1", "a=1", false)
	f("a", "1", "ab=1", false)
}

func TestCookiesOfAllFields(t *testing.T) {
	f := func(value, fields string, want bool) {
		t.Helper()
		if got := holds(t, Cookie, Condition{Name: "id", Op: Exact, Value: value}, strings.ReplaceAll(fields, "|", "\n")); got != want {
			t.Errorf("id=%q in %q: %v", value, fields, got)
		}
	}
	f("7", "cookie: id=7", true)
	f("7", "Cookie: a=b; id=7; c=d", true)
	f("7", "cookie: a=b|x: y|cookie: id=7", true) // RFC 9113 section 8.2.3: crumbs
	f("7", "cookie: id=6; id=7", true)            // repeated
	f("7", "cookie: a=b;id = 7", true)
	f("7", "cookie: a=b;\tid=7\t;", true)
	f("7", `cookie: id="7"`, true) // RFC 6265 section 4.1.1
	f(`"`, `cookie: id="`, true)
	f("", "cookie: id", true)
	f("a=b", "cookie: id=a=b", true)
	f("7", "cookie: ID=7", false)
	f("7", "cookie: xid=7", false)
	f("7", "cookie: a=\"x; id=7\"", false) // quotes do not protect a ';', and here the value is 7"
	f("7", "", false)
}

func TestSpecErrors(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		m, errs := Compile(s)
		if m != nil || len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%+v: %v, want ... %s ...", s, errs, want)
		}
	}
	h := func(c Condition) Spec { return Spec{Headers: []Condition{c}} }
	f(Spec{Methods: []string{"get"}}, `method "get": methods are case-sensitive, this should be GET`)
	f(Spec{Methods: []string{"A B"}}, "not a method name")
	f(Spec{Methods: []string{"GET", "GET"}}, "twice")
	f(h(Condition{}), "name is missing")
	f(h(Condition{Name: "x y"}), `header "x y": not a valid name`)
	f(h(Condition{Name: "Host"}), "matched by the route's host")
	f(Spec{Cookies: []Condition{{Name: "a;b"}}}, `cookie "a;b"`)
	f(h(Condition{Name: "a", Value: "1"}), "present takes no value")
	f(h(Condition{Name: "a", Op: Absent, Every: true}), "says nothing")
	f(h(Condition{Name: "a", Op: Contains}), "write present")
	f(h(Condition{Name: "a", Op: Regex, Value: "a)(b"}), "unexpected )")
	f(h(Condition{Name: "a", Op: Regex, Value: "(?=a)"}), "invalid or unsupported Perl syntax")
	f(h(Condition{Name: "a", Op: Exact, Value: strings.Repeat("x", 1025)}), "at most 1024")
	f(h(Condition{Name: "a", Op: 99}), "unknown operator")
	f(Spec{Headers: []Condition{{Name: "a"}, {Name: "A"}}}, "given twice")
	f(Spec{Query: []Condition{{Name: "a"}, {Name: "a", Op: Absent}}}, "contradict")
	f(Spec{Query: []Condition{{Name: "a", Op: Exact, Value: "1"}, {Name: "a", Op: Prefix, Value: "2", Every: true}}}, "contradict")
	f(Spec{Query: make33()}, "33 conditions")
}

func make33() (out []Condition) {
	for i := range conditionsMax + 1 {
		out = append(out, Condition{Name: strings.Repeat("a", i+1)})
	}
	return out
}

func TestMoreSpecificMatcherComesFirst(t *testing.T) {
	c := func(op Op, value string) Condition { return Condition{Name: "a", Op: op, Value: value} }
	order := []Spec{
		{Methods: []string{"POST"}, Headers: []Condition{{Name: "a"}}},
		{Methods: []string{"POST"}},
		{Methods: []string{"GET"}, Headers: []Condition{c(Exact, "1")}}, // and HEAD
		{Methods: []string{"PUT", "POST", "GET"}, Headers: []Condition{{Name: "a"}}},
		{Headers: []Condition{c(Exact, "1"), {Name: "b"}}},
		{Headers: []Condition{{Name: "a"}, {Name: "b"}}},
		{Headers: []Condition{c(Exact, "11")}},
		{Headers: []Condition{c(Exact, "2")}},
		{Headers: []Condition{c(Prefix, "abc")}},
		{Headers: []Condition{c(Suffix, "ab")}},
		{Headers: []Condition{c(Regex, "ab+")}},
		{Headers: []Condition{{Name: "a"}}},
		{Headers: []Condition{{Name: "a", Op: Exact, Value: "1", Not: true}}},
		{},
	}
	var ms []*Matcher
	for _, s := range order {
		m, errs := Compile(s)
		if errs != nil {
			t.Fatal(errs[0])
		}
		ms = append(ms, m)
	}
	for i, a := range ms {
		for j, b := range ms {
			if got := Compare(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%+v against %+v: %d", order[i], order[j], got)
			}
		}
	}
}

func TestTextIsTheRuleAndNotItsSpelling(t *testing.T) {
	f := func(a, b Spec, same bool) {
		t.Helper()
		x, _ := Compile(a)
		y, _ := Compile(b)
		if got := CompareText(x, y) == 0; got != same {
			t.Errorf("%q and %q", x.text, y.text)
		}
	}
	f(Spec{Methods: []string{"GET", "POST"}}, Spec{Methods: []string{"POST", "HEAD", "GET"}}, true)
	f(Spec{Headers: []Condition{{Name: "A"}, {Name: "b"}}}, Spec{Headers: []Condition{{Name: "B"}, {Name: "a"}}}, true)
	f(Spec{Headers: []Condition{{Name: "a", Op: Absent}}}, Spec{Headers: []Condition{{Name: "a", Not: true}}}, true)
	f(Spec{Query: []Condition{{Name: "A"}}}, Spec{Query: []Condition{{Name: "a"}}}, false)
	f(Spec{Query: []Condition{{Name: "a every", Op: Exact, Value: "1"}}}, Spec{Query: []Condition{{Name: "a", Op: Exact, Value: "1", Every: true}}}, false)
}

func TestPredicatesDoNotAllocate(t *testing.T) {
	m, errs := Compile(Spec{
		Headers: []Condition{{Name: "X-A", Op: Exact, Value: "1"}, {Name: "x-b", Op: Regex, Value: "[a-z]+[0-9]*"}},
		Query:   []Condition{{Name: "q", Op: Contains, Value: "b c"}, {Name: "r", Op: Regex, Value: ".*x y"}},
		Cookies: []Condition{{Name: "c", Op: Suffix, Value: "z"}},
	})
	if errs != nil {
		t.Fatal(errs[0])
	}
	r := &Request{Query: []byte("x=1&q=a%20b+c%21&r=%78%20y"), Fields: &byteHead{
		{"X-A", []byte("0")}, {"X-A", []byte("1")}, {"x-b", []byte("abc42")}, {"cookie", []byte("a=b; c=xyz")}}}
	n := testing.AllocsPerRun(1000, func() {
		for i := range m.predicates {
			if !m.predicates[i].Holds(r) {
				t.Fatalf("%s: %s", &m.predicates[i], m.predicates[i].Found(r))
			}
		}
	})
	// An expression keeps what it needs in a sync.Pool, which the race detector empties at random: two of them may then
	// allocate now and then.
	if n > 2 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		for i := range m.predicates {
			if m.predicates[i].regex == nil {
				m.predicates[i].Holds(r)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations without expressions", n)
	}
}

type byteHead []struct {
	name  string
	value []byte
}

func (h *byteHead) NextField(name string, from int) ([]byte, int) {
	for i := from; i < len(*h); i++ {
		if strings.EqualFold((*h)[i].name, name) {
			return (*h)[i].value, i + 1
		}
	}
	return nil, -1
}

// values returns what a cursor finds.
func values(place Place, name string, r *Request) (out []string) {
	c := (&Predicate{place: place, name: name}).Values(r)
	for v, ok := c.Next(); ok; v, ok = c.Next() {
		out = append(out, string(v))
	}
	return out
}

func FuzzQuery(f *testing.F) {
	f.Add("a=1&b=%41+&a", "a")
	f.Add("%61=%zz&&=", "")
	f.Fuzz(func(t *testing.T, query, name string) {
		var want []string
		for part := range strings.SplitSeq(query, "&") {
			k, v, _ := strings.Cut(part, "=")
			if part != "" && slowDecode(k) == name {
				want = append(want, slowDecode(v))
			}
		}
		if got := values(Query, name, &Request{Query: []byte(query)}); strings.Join(got, "\x00|") != strings.Join(want, "\x00|") || len(got) != len(want) {
			t.Errorf("%q in %q: %q, want %q", name, query, got, want)
		}
	})
}

// slowDecode escapes the percent signs that begin no escape and leaves the rest to net/url.
func slowDecode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if _, err := url.QueryUnescape(s[i:min(i+3, len(s))]); s[i] == '%' && err != nil {
			b.WriteString("%25")
		} else {
			b.WriteByte(s[i])
		}
	}
	out, err := url.QueryUnescape(b.String())
	if err != nil {
		panic(err)
	}
	return out
}

func FuzzCookie(f *testing.F) {
	f.Add("a=1; b=\"2\"", "b=3", "b")
	f.Add(";;=;", "\"", "")
	f.Fuzz(func(t *testing.T, one, two, name string) {
		var want []string
		for _, field := range []string{one, two} {
			for crumb := range strings.SplitSeq(field, ";") {
				k, v, _ := strings.Cut(crumb, "=")
				k, v = strings.Trim(k, " \t"), strings.Trim(v, " \t")
				if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
					v = v[1 : len(v)-1]
				}
				if k == name && name != "" {
					want = append(want, v)
				}
			}
		}
		if name == "" {
			return // no predicate has an empty name
		}
		r := &Request{Fields: &byteHead{{"Cookie", []byte(one)}, {"x", []byte("y")}, {"cookie", []byte(two)}}}
		if got := values(Cookie, name, r); strings.Join(got, "\x00|") != strings.Join(want, "\x00|") || len(got) != len(want) {
			t.Errorf("%q in %q and %q: %q, want %q", name, one, two, got, want)
		}
	})
}

var drawPredicate = rapid.Custom(func(t *rapid.T) *Predicate {
	c := Condition{
		Name: rapid.SampledFrom([]string{"p", "p", "q"}).Draw(t, "name"),
		Op:   rapid.SampledFrom([]Op{Present, Absent, Exact, Exact, Prefix, Suffix, Contains, Regex}).Draw(t, "op"),
		Not:  rapid.Bool().Draw(t, "not"),
	}
	if c.Op != Present && c.Op != Absent {
		c.Value = rapid.SampledFrom([]string{"1", "2", "12", "21", "11"}).Draw(t, "value")
		c.Every = rapid.Bool().Draw(t, "every")
	}
	if c.Op == Regex {
		c.Value = rapid.SampledFrom([]string{"1*", "1|2", ".+", "(12)?"}).Draw(t, "expr")
	}
	p, reason := compileCondition(Header, c)
	if reason != "" {
		t.Fatal(reason)
	}
	return &p
})

// TestSolveAgainstAllSmallRequests holds the solver against all requests with up to two fields of each name.
func TestSolveAgainstAllSmallRequests(t *testing.T) {
	var sets [][]string
	for _, name := range []string{"p:", "q:"} {
		vs := []string{"", "1", "2", "11", "12", "21", "22", "121", "3"}
		one := [][]string{nil}
		for i, v := range vs {
			one = append(one, []string{name + v})
			for _, u := range vs[i+1:] {
				one = append(one, []string{name + v, name + u})
			}
		}
		if sets == nil {
			sets = one
			continue
		}
		var both [][]string
		for _, a := range sets {
			for _, b := range one[:20] {
				both = append(both, append(append([]string(nil), a...), b...))
			}
		}
		sets = both
	}
	verdicts := map[Verdict]int{}
	rapid.Check(t, func(t *rapid.T) {
		wanted := rapid.SliceOfN(drawPredicate, 0, 3).Draw(t, "hold")
		broken := rapid.SliceOfN(rapid.SliceOfN(drawPredicate, 0, 2), 0, 4).Draw(t, "broken")
		does := func(r *Request) bool {
			for _, p := range wanted {
				if !p.Holds(r) {
					return false
				}
			}
			for _, list := range broken {
				all := true
				for _, p := range list {
					all = all && p.Holds(r)
				}
				if all {
					return false
				}
			}
			return true
		}
		s := Solve(wanted, broken)
		verdicts[s.Verdict]++
		switch s.Verdict {
		case Possible:
			var h head
			seen := map[string]bool{}
			for _, v := range s.Example {
				if seen[v.Name] && !s.Repeated {
					t.Fatalf("%s is repeated and nobody said so", v.Name)
				}
				seen[v.Name] = true
				h = append(h, v.Name+":"+v.Value)
			}
			if !does(&Request{Fields: h}) {
				t.Fatalf("%q does not do it", h)
			}
		case Impossible:
			for _, h := range sets {
				if does(&Request{Fields: head(h)}) {
					t.Fatalf("%q does it", h)
				}
			}
		}
	})
	t.Log("unknown, possible, impossible:", verdicts[Unknown], verdicts[Possible], verdicts[Impossible])
}

func BenchmarkHolds(b *testing.B) {
	r := &Request{Query: []byte("a=1&q=a%20b+c%21"), Fields: &byteHead{
		{"host", nil}, {"x-a", []byte("1")}, {"accept", []byte("*/*")}, {"cookie", []byte("a=b; c=xyz")}}}
	for _, c := range []struct {
		place Place
		Condition
	}{
		{Header, Condition{Name: "x-a", Op: Exact, Value: "1"}},
		{Header, Condition{Name: "x-a", Op: Regex, Value: "[0-9]+"}},
		{Query, Condition{Name: "q", Op: Contains, Value: "b c"}},
		{Cookie, Condition{Name: "c", Op: Suffix, Value: "z"}},
	} {
		p, _ := compileCondition(c.place, c.Condition)
		b.Run(p.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !p.Holds(r) {
					b.Fatal("does not hold")
				}
			}
		})
	}
}
