package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/policy/match"
)

// Conditions for the columns below, by a letter.
var conditions = map[string]match.Condition{
	"p":      {Name: "p"},
	"!p":     {Name: "p", Op: match.Absent},
	"q":      {Name: "q"},
	"p=1":    {Name: "p", Op: match.Exact, Value: "1"},
	"p=2":    {Name: "p", Op: match.Exact, Value: "2"},
	"q=1":    {Name: "q", Op: match.Exact, Value: "1"},
	"p!=1":   {Name: "p", Op: match.Exact, Value: "1", Not: true},
	"p^ab":   {Name: "p", Op: match.Prefix, Value: "ab"},
	"p^ac":   {Name: "p", Op: match.Prefix, Value: "ac"},
	"p^a":    {Name: "p", Op: match.Prefix, Value: "a"},
	"p$c":    {Name: "p", Op: match.Suffix, Value: "c"},
	"p=abc":  {Name: "p", Op: match.Exact, Value: "abc"},
	"p~a+":   {Name: "p", Op: match.Regex, Value: "a+"},
	"p~a*b?": {Name: "p", Op: match.Regex, Value: "a*b?"},
	"p~(":    {Name: "p", Op: match.Regex, Value: "("},
}

// parseRoute reads "METHODS host/path [condition ...]".
func parseRoute(s string) Spec {
	s, rest, _ := strings.Cut(s, " [")
	spec := parseSpec(s)
	spec.Name = ""
	for c := range strings.FieldsSeq(strings.TrimSuffix(rest, "]")) {
		if l, ok := strings.CutPrefix(c, "on:"); ok {
			spec.Listener = l
			continue
		}
		spec.Match.Headers = append(spec.Match.Headers, conditions[c])
	}
	return spec
}

func TestProblemsAreFound(t *testing.T) {
	f := func(routes string, want ...string) {
		t.Helper()
		var specs []Spec
		for s := range strings.SplitSeq(routes, " | ") {
			specs = append(specs, parseRoute(s))
		}
		tab, problems := Compile(specs)
		var got []string
		errors := 0
		for _, p := range problems {
			got = append(got, fmt.Sprint(p.Kind, " ", p.Routes))
			if p.Severity == Error {
				errors++
			}
		}
		if !slices.Equal(got, want) || (tab == nil) != (errors > 0) {
			t.Errorf("%s\n got %q\nwant %q", routes, got, want)
		}
	}
	f("/a | /b | /* | x/a | *.x/a")
	f("/a/b | /:x/b | /a/:x | /*") // overlapping patterns are in order
	f("/a | /a", "duplicate [1 0]")
	f("/:x/a | /:y/a", "duplicate [1 0]") // names do not tell them apart
	f("x.y/a | X.Y./%61", "duplicate [1 0]")
	f("GET /a | GET /a | GET /a", "duplicate [1 0]", "duplicate [2 1]")
	f("POST,GET /a | GET,POST /a", "duplicate [1 0]")
	f("/a [on:web] | /a [on:admin] | /a")
	f("/a [p~a+] | /a [p~a+]", "duplicate [1 0]")

	f("/a [p=1] | /a [q=1]", "ambiguous [1 0]")
	f("/a [p=1] | /a [p=2]") // only a request that sends p twice meets both
	f("/a [p^ab] | /a [p^ac]")
	f("/a [p^ab] | /a [p^a]") // the longer comes first
	f("/a [p~a+] | /a [p~a*b?]", "ambiguous [1 0]")
	f("GET /a | POST /a")
	f("GET,POST /a | POST,PUT,HEAD /a", "ambiguous [1 0]")
	f("/a [p=1 on:web] | /a [q=1 on:admin]")
	f("/a [p=1] | /a [q=1] | /a [p=1 q=1]") // who sends both goes to the third

	f("GET /a | POST /a | GET,POST /a", "unreachable [2 0 1]")
	f("GET /a | POST /a | GET,POST,PUT /a")
	f("/a [p] | /a [!p] | /a", "unreachable [2 1 0]")
	f("/a [p=1] | /a [p!=1] | /a", "unreachable [2 1 0]")
	f("/a [p=abc] | /a [p^a p$c]", "unreachable [0 1]") // two conditions before one
	f("/a [p=1 on:web] | /a [on:web]")
	f("/a [p on:web] | /a [!p on:web] | /a [on:web] | /a", "unreachable [2 1 0]")
	f("/:x/a [p] | /:x/a [!p] | /:x/a | /b/a", "unreachable [2 1 0]")
	f("/any/a [q] | /:x/a [p] | /:x/a [!p] | /:x/a", "unreachable [3 2 1]") // the first sample is somebody else's

	f("/a [p~(]", "bad match [0]")
	f("/a [p !p]", "bad match [0]")
	f("get /a", "bad match [0]")
	f("/a:b", "bad pattern [0]")
	f("x:80/a", "bad pattern [0]")
}

func TestProblemNamesFieldAndReason(t *testing.T) {
	_, problems := Compile([]Spec{{
		Name: "shop", Hosts: []string{"a.com", "b.com:80"}, Path: "/:",
		Match: match.Spec{Methods: []string{"GET", "post"}, Cookies: []match.Condition{{Name: "a b"}}},
	}})
	var got []string
	for _, p := range problems {
		got = append(got, p.Field+": "+p.Text)
	}
	want := []string{
		`path: route "shop": the segment ":" needs a parameter name of letters, digits and '_' after the colon; \: is a plain colon`,
		`hosts[1]: route "shop": the host "b.com:80" has a port; hosts are matched without: write "b.com"`,
		`match.methods[1]: route "shop": method "post": methods are case-sensitive, this should be POST`,
		`match.cookies[0]: route "shop": cookie "a b": not a valid name: it has to be a token (RFC 9110 section 5.6.2)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTooManyMethods(t *testing.T) {
	var specs []Spec
	for i := range methodsMax + 1 {
		specs = append(specs, parseSpec(fmt.Sprintf("M%d /a", i)))
	}
	if tab, problems := Compile(specs[:methodsMax-len(usualMethods)]); tab == nil {
		t.Fatal(problems)
	}
	if tab, problems := Compile(specs); tab != nil || problems[0].Field != "match.methods" {
		t.Fatal(problems)
	}
}

// everyRequest yields requests to one host and path with all combinations of a small alphabet, repeated fields included.
func everyRequest(w *Witness, f func(r *match.Request)) {
	values := []string{"", "1", "2", "12", "21", "112", "3"}
	var sets []witnessFields
	for _, name := range []string{"p", "q"} {
		var one []witnessFields
		one = append(one, nil)
		for i, v := range values {
			one = append(one, witnessFields{{name, v}})
			for _, u := range values[i+1:] {
				one = append(one, witnessFields{{name, v}, {name, u}})
			}
		}
		if sets == nil {
			sets = one
			continue
		}
		var both []witnessFields
		for _, a := range sets {
			for _, b := range one[:9] { // all pairs with all pairs would be too many
				both = append(both, slices.Concat(a, b))
			}
		}
		sets = both
	}
	for _, listener := range []string{"web", "admin", "other"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PURGE", "OTHER"} {
			for _, query := range []string{"", "p=1", "p=2&p=12", "q=1&p", "p=3"} {
				for _, fields := range sets {
					f(&match.Request{Listener: listener, Host: []byte(w.Host), Method: []byte(method), Path: []byte(w.Path), Query: []byte(query), Fields: fields})
				}
			}
		}
	}
}

// TestEveryProblemIsTrue holds each problem against the twin: its witness, and for unreachable routes all requests of an
// alphabet that reaches every value the random conditions compare with.
func TestEveryProblemIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := drawPath.Draw(t, "path")
		specs := rapid.SliceOfN(drawSpec, 2, 8).Draw(t, "specs")
		for i := range specs { // together, so that there are problems
			specs[i].Path, specs[i].Hosts = path, specs[0].Hosts
		}
		_, problems := Compile(specs)
		twin := newTwin(specs)
		for _, p := range problems {
			if p.Kind == BadMatch {
				continue
			}
			if p.Witness == nil {
				t.Fatalf("%s without a witness: %s", p.Kind, p.Text)
			}
			won, _ := twinMatch(twin, p.Witness.Request())
			at := func(spec int) *twinRoute {
				if i := slices.IndexFunc(won, func(r twinRoute) bool { return r.spec == spec }); i >= 0 {
					return &won[i]
				}
				t.Fatalf("%s: witness %s does not match route %d", p.Kind, p.Witness, spec)
				return nil
			}
			a, b := at(p.Routes[0]), at(p.Routes[1])
			switch p.Kind {
			case Duplicate:
				if !sameRule(specs[a.spec], specs[b.spec]) {
					t.Fatalf("not the same: %s", p.Text)
				}
			case Ambiguous:
				if twinRank(a, b) != 0 || won[0].spec != a.spec && won[0].spec != b.spec {
					t.Fatalf("not ambiguous: %s", p.Text)
				}
			case Unreachable:
				if won[0].spec != b.spec {
					t.Fatalf("the witness goes to route %d: %s", won[0].spec, p.Text)
				}
				everyRequest(p.Witness, func(r *match.Request) {
					if a.matches(r) {
						if won, _ := twinMatch(twin, r); won[0].spec == a.spec {
							t.Fatalf("reached by %s %v %s: %s", r.Method, r.Fields, r.Query, p.Text)
						}
					}
				})
			}
		}
	})
}

func TestTenantsByHeaderAreAnalysedQuickly(t *testing.T) {
	specs := tenantSpecs(2000)
	specs = append(specs, specs[77])
	c := newCompilation(specs)
	c.analyse()
	if len(c.problems) != 1 || c.problems[0].Kind != Duplicate {
		t.Errorf("%d problems, the first %+v", len(c.problems), c.problems[0])
	}
	if used := workMax - c.workLeft; used > workMax/10 {
		t.Errorf("%d units of work", used)
	}
}

func TestAnalysisThatIsCutShortSaysSo(t *testing.T) {
	var specs []Spec
	for i := range 100 { // each its own name: nothing divides them
		specs = append(specs, Spec{Path: "/*", Match: match.Spec{Query: []match.Condition{
			{Name: fmt.Sprint("n", i), Op: match.Contains, Value: "a", Not: true},
			{Name: "only", Op: match.Regex, Value: fmt.Sprintf("%d\\b", i)}}}})
	}
	c := newCompilation(specs)
	c.workLeft = 1000
	c.analyse()
	if len(c.problems) != 1 || c.problems[0].Kind != Unchecked || c.problems[0].Severity != Warning {
		t.Errorf("%d problems, the first %+v", len(c.problems), c.problems[0])
	}
}
