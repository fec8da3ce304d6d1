package config

import (
	"strings"
	"testing"
)

func TestLimitProblems(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"{}", "nothing is limited"},
		{"{key: client_address}", "nothing is limited"},
		{"100", "the number \"100\" has no unit"},
		{"{rate: 100/d}", "is not a rate"},
		{"{rate: 1/s, burst: 0}", "0 is not between 1 and"},
		{"{concurrency: 5, burst: 2}", `"burst" is part of a rate, and there is none`},
		{"{concurrency: 5, algorithm: token_bucket}", `"algorithm" is part of a rate`},
		{"{rate: 1/s, algorithm: fixed_window, burst: 2}", "a fixed_window has no burst"},
		{"{rate: 1/s, max_delay: 1s}", "a token_bucket lets nothing wait"},
		{"{rate: 1/s, algorithm: leaky_bucket, max_delay: 2m}", "2m is not between 1ms and 1m"},
		{"{rate: 1/s, key: all, missing: pass}", `"missing" is about keys, and there is one count for all`},
		{"{rate: 1/s, key: [], keys_max: 5}", `"keys_max" is about keys`},
		{"{rate: 1/s, key: }", "the key is empty"},
		{"{rate: 1/s, key: [all, host]}", `"all" is not a key`},
		{"{rate: 1/s, status: 200}", "200 is not between 400 and 599"},
		{"{rate: 1/s, mode: maybe}", "is not a mode"},
		{"{rate: 1/s, rules: [{name: a, rate: 1/s}]}", `"rate" beside rules is that of none of them`},
		{"{rules: []}", "found 0 rules"},
		{"{rules: [{rate: 1/s}]}", `a limit rule needs "name"`},
		{"{rules: [{name: a}]}", "nothing is limited"},
		{"{rules: [{name: a, rate: 1/s}, {name: a, rate: 2/s}]}", `there are two rules "a"`},
		{"{rules: [" + strings.Repeat("{name: a, rate: 1/s}, ", 9) + "]}", "found 9 rules"},
	} {
		_, problems := Parse("t.yaml", []byte("listen: ':80'\nroutes: [{path: /, respond: 200, filters: [{limit: "+c.body+"}]}]"), nil)
		found := false
		for _, p := range problems {
			found = found || strings.Contains(p.String(), c.want) && p.Line > 0
		}
		if !found {
			t.Errorf("%s: %v, want %s", c.body, problems, c.want)
		}
	}
}

// What is not said is the same in both forms: each client counts on its own.
func TestLimitKeys(t *testing.T) {
	for _, c := range []struct {
		body string
		want string // source and name of each part
		said bool   // in the text
	}{
		{"1/s", "client_address", true},
		{"{rate: 1/s}", "client_address", false},
		{"{concurrency: 1}", "client_address", false},
		{"{rules: [{name: a, rate: 1/s}]}", "client_address", false},
		{"{rate: 1/s, key: client_address}", "client_address", true},
		{"{rate: 1/s, key: {header: X-Tenant}}", "header x-tenant", true},
		{"{rate: 1/s, key: [host, cookie: id]}", "host, cookie id", true},
		{"{rate: 1/s, key: all}", "", false},
		{"{rate: 1/s, key: []}", "", false},
	} {
		doc, problems := Parse("t.yaml", []byte("listen: ':80'\nroutes: [{path: /, respond: 200, filters: [{limit: "+c.body+"}]}]"), nil)
		if len(problems) > 0 {
			t.Fatalf("%s: %v", c.body, problems)
		}
		var parts []string
		said := false
		for _, k := range doc.Routes[0].Filters[0].Filter.Body.(*LimitFilter).All()[0].Key {
			parts = append(parts, strings.TrimSpace(string(k.Source)+" "+k.Name))
			said = said || k.Line > 0
		}
		if got := strings.Join(parts, ", "); got != c.want || said != c.said {
			t.Errorf("%s: counted by %q, said in the text: %v; want %q, %v", c.body, got, said, c.want, c.said)
		}
	}
}
