package config

import (
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// SplitFilter divides requests among variants.
type SplitFilter struct {
	Pos
	Variants []SplitVariant
	Key      []GuardKey
	Rules    []SplitRule
	Cookie   *SplitCookie // nil: none
	Salt     string       // empty: the filter's name
	Header   string       // empty: none
	Canary   *Canary      // nil: none
}

func (v *SplitFilter) clusterNames() []string {
	list := make([]string, len(v.Variants))
	for i := range v.Variants {
		list[i] = v.Variants[i].Cluster.Value
	}
	return list
}

// SplitVariant is one of those that requests are divided among.
type SplitVariant struct {
	Pos
	Name    string
	Cluster Text
	Weight  *Percent // nil: what the others leave
}

// SplitRule sends requests to a variant whatever the weights are.
type SplitRule struct {
	Pos
	When    SplitWhen
	Variant string
}

// SplitWhen is what has to hold, all of it.
type SplitWhen struct {
	Headers, Cookies, Claims []Predicate
	Clients                  []netip.Prefix
}

// SplitCookie is how clients without a key are known again.
type SplitCookie struct {
	Name   string
	MaxAge time.Duration // 0: until the browser is closed
}

const (
	// splitVariantsMax and splitRulesMax are those of policy/split and filters/split: each is asked for each request.
	splitVariantsMax = 16
	splitRulesMax    = 32
	// splitSteps is how many weights there are in a percent.
	splitSteps = 100
)

var splitFilterObject = sync.OnceValue(func() *object[SplitFilter] {
	type T = SplitFilter
	return &object[T]{
		name: "split", article: "a",
		about: "Divides requests among variants, each a cluster: a canary and the version before it, blue and green. By rules first, then by weight. The same key always gets the same variant, on every gateway; a variant that grows only wins keys: who is in at 5% is in at 10%. Weights can be changed while this document stays: yumen split NAME canary=10%.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("variants", listOf(section(splitVariantObject)), func(v *T) *[]SplitVariant { return &v.Variants },
				`Two to sixteen.`),
			may("key", guardKey(), func(v *T) *[]GuardKey { return &v.Key },
				`Who keeps a variant: `+guardKeyAbout+` Requests that lack a part go by the cookie, or, without one, by the client's address, which is also the default.`),
			may("rules", listOf(section(splitRuleObject)), func(v *T) *[]SplitRule { return &v.Rules },
				`Who gets a variant whatever the weights are: the first rule that holds decides.`),
			may("cookie", present(splitCookieObject), func(v *T) **SplitCookie { return &v.Cookie },
				`A cookie, by which clients without a key are known again; the first answer sets it. None by default: it is for browsers, and a cookie is something to tell their users of.`),
			may("salt", text("text", notEmpty, shortEnough), func(v *T) *string { return &v.Salt },
				`Splits with one salt have the same keys in variants of the same name and weight, others have nothing to do with each other. By default the name of the filter: so the same users are not in every canary. A filter written on its route is called after the route: name it, or give it a salt, before the route gets another name.`),
			may("header", fieldName(ownField), func(v *T) *string { return &v.Header },
				`Header field that tells the upstream the name of the variant. What clients send under that name is dropped. With it the variant can also be in the access log (request_headers), and in the key of a guard or a cache behind this filter. None by default.`),
			may("canary", present(canaryObject), func(v *T) **Canary { return &v.Canary },
				`A variant whose weight goes up by itself while it is no worse than another, and to nothing if it is.`),
		},
		check: checkSplit,
	}
})

func checkSplit(d *decoder, _ *yaml.Node, v *SplitFilter, g given[SplitFilter]) {
	if !g.clean {
		return
	}
	if len(v.Variants) < 2 || len(v.Variants) > splitVariantsMax {
		d.fail(g.key("variants"), "write variants: [{name: stable, cluster: app}, {name: canary, cluster: app-next, weight: 5%}]",
			"a split has 2 to %d variants, found %d", splitVariantsMax, len(v.Variants))
		return
	}
	known := &names{}
	sum, rest := 0.0, false
	for i := range v.Variants {
		o := &v.Variants[i]
		if !known.add(o.Name) {
			d.fail(nodeAt(o.Pos), "give each a name of its own", "there are two variants %s", quote(o.Name))
		}
		if o.Weight == nil {
			rest = true
		} else {
			sum += float64(*o.Weight)
		}
	}
	total := Percent(math.Round(sum*1e6) / 1e6)
	switch {
	case total > 100:
		d.fail(g.key("variants"), "let the weights sum up to 100%, or leave one out: it gets the rest", "the weights sum up to %s", total)
	case total < 100 && !rest:
		d.fail(g.key("variants"), "let the weights sum up to 100%, or leave one out: it gets the rest", "the weights sum up to %s, and every variant has one", total)
	}
	checkCanary(d, v)
	if len(v.Rules) > splitRulesMax {
		d.fail(g.key("rules"), "let a guard before this filter set a header field for all of them", "a split has at most %d rules, found %d", splitRulesMax, len(v.Rules))
	}
	for i := range v.Rules {
		if _, ok := known.find(v.Rules[i].Variant); !ok {
			fix := didYouMean(v.Rules[i].Variant, known.list)
			if fix == "" {
				fix = "there are: " + strings.Join(known.list, ", ")
			}
			d.fail(nodeAt(v.Rules[i].Pos), fix, "there is no variant named %s", quote(v.Rules[i].Variant))
		}
	}
}

var splitVariantObject = sync.OnceValue(func() *object[SplitVariant] {
	type T = SplitVariant
	return &object[T]{
		name: "variant", article: "a",
		about: "One of those that requests are divided among.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("name", text("name", checkName), func(v *T) *string { return &v.Name },
				`What it is called. A key's variant depends on the names: under another name it is another variant.`),
			need("cluster", clusterName(), func(v *T) *Text { return &v.Cluster }, `Where its requests go, in place of the route's cluster.`),
			may("weight", pointer(splitWeight()), func(v *T) **Percent { return &v.Weight },
				`Its share of the keys, in steps of 0.01%. Without one it gets what the others leave, in equal parts with others that have none.`),
		},
	}
})

// splitWeight is a share in steps of a hundredth of a percent.
func splitWeight() kind[Percent] {
	k := percent()
	read := k.read
	k.word = "weight"
	k.read = func(d *decoder, n *yaml.Node, v *Percent) {
		before := d.errors
		var one Percent
		read(d, n, &one)
		if d.errors > before {
			return
		}
		if steps := float64(one) * splitSteps; math.Abs(steps-math.Round(steps)) > 1e-6 {
			d.fail(n, "write "+Percent(math.Round(steps)/splitSteps).String(), "weights go in steps of 0.01%%")
			return
		}
		*v = one
	}
	return k
}

var splitRuleObject = sync.OnceValue(func() *object[SplitRule] {
	type T = SplitRule
	return &object[T]{
		name: "split_rule", article: "a",
		about: "Sends requests to a variant whatever the weights are.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("when", section(splitWhenObject), func(v *T) *SplitWhen { return &v.When }, `What has to hold, all of it.`),
			need("variant", text("name", notEmpty), func(v *T) *string { return &v.Variant }, `Name of a variant. Its weight may be 0%.`),
		},
	}
})

var splitWhenObject = sync.OnceValue(func() *object[SplitWhen] {
	type T = SplitWhen
	return &object[T]{
		name: "split_when", article: "a",
		about: "Conditions of a rule, all of which have to hold.",
		keys: []key[T]{
			may("header", predicates(fieldNameText, strings.ToLower), func(v *T) *[]Predicate { return &v.Headers },
				`Conditions on header fields, by name: {x-beta: "1"}. Clients can write what they like there, unless a filter colour before this one sets it.`),
			may("cookie", predicates(fieldNameText, asWritten), func(v *T) *[]Predicate { return &v.Cookies }, `Conditions on cookies, by name.`),
			may("claim", predicates(notEmpty, asWritten), func(v *T) *[]Predicate { return &v.Claims },
				`Conditions on claims of who asks, which a guard before this filter has verified.`),
			may("client", oneOrMore(prefix()), func(v *T) *[]netip.Prefix { return &v.Clients },
				`Networks, or single addresses, that the client's address is in; the address is the one that trust: finds out.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.clean && len(v.Headers)+len(v.Cookies)+len(v.Claims)+len(v.Clients) == 0 {
				d.fail(n, `write when: {header: {x-beta: "1"}}, or give the variant a weight of 100%`, "the rule fits every request")
			}
		},
	}
})

var splitCookieObject = sync.OnceValue(func() *object[SplitCookie] {
	type T = SplitCookie
	return &object[T]{
		name: "split_cookie", article: "a",
		about: "A cookie with a number drawn by chance, which keeps a client's variant. It is HttpOnly, SameSite=Lax, and Secure where the listener speaks TLS.",
		keys: []key[T]{
			need("name", text("cookie name", fieldNameText), func(v *T) *string { return &v.Name }, `What it is called.`),
			def("max_age", orOff(duration(time.Minute, 400*24*time.Hour)), func(v *T) *time.Duration { return &v.MaxAge }, 30*24*time.Hour,
				`How long browsers keep it, from the answer that sets it. Off: until they are closed. 720h, a month: longer than a release takes.`),
		},
		short: &short[T]{
			about:  "its name",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { text("cookie name", fieldNameText).read(d, n, &v.Name) },
			schema: text("cookie name", fieldNameText).schema,
		},
	}
})
