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
		{"{rate: 1/s, missing: pass}", `"missing" is about keys, and there is none`},
		{"{rate: 1/s, keys_max: 5}", `"keys_max" is about keys`},
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
