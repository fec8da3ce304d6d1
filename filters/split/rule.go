package split

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/cidr"
	"github.com/yumen-io/yumen/policy/match"
)

// Rule sends requests to a variant whatever the weights are. The first rule of which all holds decides.
type Rule struct {
	Headers, Cookies []match.Condition
	Claims           []match.Condition // of what a guard before this filter has verified
	Clients          []netip.Prefix    // the client's address is in one of them
	Variant          string
}

type rule struct {
	head    []match.Predicate
	claims  []claimTest
	clients *cidr.Table // nil: all
	variant int
	text    string
}

// claimTest is a predicate on a claim. match knows heads: it is shown one with the claim as its only field.
type claimTest struct {
	name string
	on   match.Predicate
}

// asking is a loop's memory for asking predicates.
type asking struct {
	request match.Request
	claim   claimField
}

// claimField is the head that has one claim.
type claimField struct {
	value []byte
	there bool
}

// claimName is the field's name there.
const claimName = "claim"

// NextField is for match.Fields.
func (c *claimField) NextField(_ string, from int) (value []byte, next int) {
	if from > 0 || !c.there {
		return nil, -1
	}
	return c.value, 1
}

func (f *Filter) compileRules(said []Rule) []Problem {
	var problems []Problem
	if len(said) > RulesMax {
		problems = append(problems, Problem{"rules", fmt.Sprintf("there are %d rules, and at most %d can be", len(said), RulesMax), ""})
	}
	for i := range said {
		s := &said[i]
		field := "rules[" + strconv.Itoa(i) + "]"
		r := rule{variant: f.place(s.Variant)}
		if r.variant < 0 {
			problems = append(problems, Problem{field + ".variant", fmt.Sprintf("there is no variant %q", s.Variant), "name one of variants"})
		}
		if len(s.Headers)+len(s.Cookies)+len(s.Claims)+len(s.Clients) == 0 {
			problems = append(problems, Problem{field, "the rule fits every request", `write when: {header: {x-beta: "1"}}, or give the variant a weight of 100%`})
		}
		var words []string
		m, errs := match.Compile(match.Spec{Headers: s.Headers, Cookies: s.Cookies})
		for _, err := range errs {
			problems = append(problems, Problem{field + ".when", err.Error(), ""})
		}
		if m != nil {
			r.head = m.Predicates()
			for j := range r.head {
				words = append(words, r.head[j].String())
			}
		}
		for _, c := range s.Claims {
			name := c.Name
			c.Name = claimName
			m, errs := match.Compile(match.Spec{Headers: []match.Condition{c}})
			for _, err := range errs {
				problems = append(problems, Problem{field + ".when.claim", fmt.Sprintf("claim %q: %s", name, err.Reason), ""})
			}
			if m != nil {
				r.claims = append(r.claims, claimTest{name, m.Predicates()[0]})
				words = append(words, "claim "+name+" "+strings.TrimPrefix(m.Predicates()[0].String(), "header "+claimName+" "))
			}
		}
		if len(s.Clients) > 0 {
			entries := make([]cidr.Entry, len(s.Clients))
			for j, p := range s.Clients {
				entries[j].Prefix = p
			}
			r.clients = cidr.Compile(entries)
			words = append(words, fmt.Sprintf("client in %v", s.Clients))
		}
		r.text = strings.Join(words, " and ")
		f.rules = append(f.rules, r)
	}
	return problems
}

// byRules returns the variant of the first rule that fits; -1 if none does.
func (f *Filter) byRules(a *asking, h *message.Head, client netip.Addr, claims gateway.Claims) int {
	for i := range f.rules {
		if f.rules[i].fits(a, h, client, claims) {
			return f.rules[i].variant
		}
	}
	return -1
}

func (r *rule) fits(a *asking, h *message.Head, client netip.Addr, claims gateway.Claims) bool {
	if !r.fitsBut(a, h, client) {
		return false
	}
	if len(r.claims) == 0 {
		return true
	}
	a.request.Fields = &a.claim
	for i := range r.claims {
		c := &r.claims[i]
		a.claim.value, a.claim.there = claims.Claim(c.name)
		if !c.on.Holds(&a.request) {
			return false
		}
	}
	return true
}

// fitsBut leaves the claims aside.
func (r *rule) fitsBut(a *asking, h *message.Head, client netip.Addr) bool {
	if r.clients != nil && !r.clients.Lookup(client).OK {
		return false
	}
	a.request.Fields = &h.Fields
	for i := range r.head {
		if !r.head[i].Holds(&a.request) {
			return false
		}
	}
	return true
}
