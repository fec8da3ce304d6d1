package limit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/limit"
)

func compiled(t *testing.T, s Spec, memory *gateway.Recollection) *Filter {
	t.Helper()
	f, problems := Compile(s, gateway.NewGuard("limit", "api", gateway.Enforce, memory), memory)
	if problems != nil {
		t.Fatal(problems)
	}
	return f
}

func rule(rate string, more func(*Rule)) Spec {
	r := Rule{Name: "default", Key: gateway.KeyParts{{By: gateway.ByClientAddress}}}
	var unit string
	var n int64
	if _, err := fmt.Sscanf(rate, "%d/%s", &n, &unit); err == nil {
		r.Rate = &limit.Config{Count: n, Per: map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]}
	}
	if more != nil {
		more(&r)
	}
	return Spec{Rules: []Rule{r}, Fields: true}
}

func TestInWordsAndInFields(t *testing.T) {
	for _, c := range []struct {
		spec         Spec
		text, policy string
	}{
		{rule("100/s", nil), "at most 100/s, 100 at a time for each client_address", `"default";q=100;w=1`},
		{rule("100/s", func(r *Rule) { r.Rate.Burst = 250 }), "at most 100/s, 250 at a time for each client_address", `"default";q=250;w=3`},
		{rule("5/m", func(r *Rule) { r.Key = nil }), "at most 5/m, 5 at a time for all together", `"default";q=5;w=60`},
		{rule("10/s", func(r *Rule) { r.Rate.Algorithm = limit.LeakyBucket }),
			"at most 10/s, 1 at a time, others wait up to 1s for each client_address", `"default";q=1;w=1`},
		{rule("1000/h", func(r *Rule) {
			r.Rate.Algorithm = limit.SlidingWindow
			r.Key = gateway.KeyParts{{By: gateway.ByClaim, Name: "tenant"}, {By: gateway.ByPath}}
		}), "at most 1000/h, in a sliding window for each claim tenant, path", `"default";q=1000;w=3600`},
		{rule("10/s", func(r *Rule) { r.AtOnce = 5 }),
			"at most 10/s, 10 at a time for each client_address, and at most 5 at once for each client_address",
			`"default_concurrency";q=5;qu="concurrent-requests", "default";q=10;w=1`},
		{rule("", func(r *Rule) { r.AtOnce = 5 }), "at most 5 at once for each client_address", `"default";q=5;qu="concurrent-requests"`},
	} {
		f := compiled(t, c.spec, nil)
		if f.String() != c.text {
			t.Errorf("in words:\n got %s\nwant %s", f, c.text)
		}
		if string(f.policy) != c.policy {
			t.Errorf("%s:\n got %s\nwant %s", f, f.policy, c.policy)
		}
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	two := rule("10/s", nil)
	two.Rules = append(two.Rules, Rule{Name: "b", Rate: &limit.Config{Count: 1, Per: time.Hour, Burst: 1e9}})
	for _, c := range []struct {
		spec  Spec
		field string
	}{
		{Spec{}, "rules"},
		{Spec{Rules: make([]Rule, RulesMax+1)}, "rules"},
		{rule("", nil), ""},
		{rule("0/s", nil), "rate"},
		{rule("1/s", func(r *Rule) { r.AtOnce = -1 }), "concurrency"},
		{two, "rules[1].burst"},
	} {
		f, problems := Compile(c.spec, gateway.NewGuard("limit", "api", gateway.Enforce, nil), nil)
		if f != nil || len(problems) == 0 || problems[0].Field != c.field {
			t.Errorf("%+v: %v, want one of %q", c.spec, problems, c.field)
		}
	}
}

// What a change of the document keeps, and what it does not.
func TestCountsOverConfigurations(t *testing.T) {
	start := rule("100/s", func(r *Rule) { r.AtOnce = 10 })
	for _, c := range []struct {
		name       string
		next       Spec
		atOnce     bool // is kept
		rate       bool
		otherGuard bool
	}{
		{"nothing", start, true, true, false},
		{"rate, burst and concurrency", rule("5/m", func(r *Rule) { r.AtOnce, r.Rate.Burst = 20, 7 }), true, true, false},
		{"the number of keys", rule("100/s", func(r *Rule) { r.AtOnce, r.KeysMax = 10, 5 }), true, true, false},
		{"algorithm", rule("100/s", func(r *Rule) { r.AtOnce, r.Rate.Algorithm = 10, limit.FixedWindow }), true, false, false},
		{"key", rule("100/s", func(r *Rule) { r.AtOnce, r.Key = 10, nil }), false, false, false},
		{"another filter", start, false, false, true},
	} {
		memory := gateway.NewMemory()
		before := memory.Recollect()
		a := compiled(t, start, before)
		before.Hold()
		after := memory.Recollect()
		name := "api"
		if c.otherGuard {
			name = "other"
		}
		b, problems := Compile(c.next, gateway.NewGuard("limit", name, gateway.Enforce, after), after)
		if problems != nil {
			t.Fatal(problems)
		}
		if got := a.checks[0].counters == b.checks[0].counters; got != c.atOnce {
			t.Errorf("%s: who is under way is kept: %v", c.name, got)
		}
		if got := a.checks[1].counters == b.checks[1].counters; got != c.rate {
			t.Errorf("%s: what is used is kept: %v", c.name, got)
		}
	}
	// A window of another length begins anew.
	memory := gateway.NewMemory()
	r := memory.Recollect()
	window := func(rate string) *Counters {
		return compiled(t, rule(rate, func(r *Rule) { r.Rate.Algorithm = limit.FixedWindow }), r).checks[0].counters
	}
	if window("5/s") != window("9/s") || window("5/s") == window("5/m") {
		t.Error("windows of one length share their counts, of two lengths they do not")
	}
}

func TestReasonsAreWords(t *testing.T) {
	for _, r := range Reasons() {
		if strings.ContainsAny(r, " -A") {
			t.Errorf("%q is no snake_case word", r)
		}
	}
}
