package config

import (
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// LimitFilter bounds how often, or how many at once, requests of one key pass.
type LimitFilter struct {
	Pos
	LimitRule             // when there is one, written without a list
	Rules     []LimitRule // otherwise
	Status    int
	Headers   bool
	Guard     GuardMode
}

func (v *LimitFilter) guardMode() GuardMode { return v.Guard }

// All are the rules, however they were written.
func (v *LimitFilter) All() []LimitRule {
	if len(v.Rules) > 0 {
		return v.Rules
	}
	one := v.LimitRule
	one.Name = limitName
	return []LimitRule{one}
}

// limitName is what a rule is called that is the only one.
const limitName = "default"

// LimitRule is a rate, or a number of requests at once, or both.
type LimitRule struct {
	Pos
	Name        string
	Rate        *Rate // nil: any
	Burst       int   // 0: what suits the algorithm
	Algorithm   LimitAlgorithm
	MaxDelay    *time.Duration // of a leaky bucket; nil: the default
	Concurrency int            // 0: any
	Key         []GuardKey     // none: all requests together. Without a place in the text, it is the default
	Missing     LimitMissing
	KeysMax     int
	Shared      *LimitShared // nil: each gateway counts by itself
}

// LimitAlgorithm is how a rate is judged.
type LimitAlgorithm string

// The algorithms.
const (
	LimitTokenBucket   LimitAlgorithm = "token_bucket"
	LimitLeakyBucket   LimitAlgorithm = "leaky_bucket"
	LimitFixedWindow   LimitAlgorithm = "fixed_window"
	LimitSlidingWindow LimitAlgorithm = "sliding_window"
)

// LimitMissing is what becomes of a request that lacks a part of the key.
type LimitMissing string

// What can become of it.
const (
	LimitShare  LimitMissing = "share"
	LimitPass   LimitMissing = "pass"
	LimitRefuse LimitMissing = "refuse"
)

const (
	// limitRulesMax is that of filters/limit: each rule is asked for each request.
	limitRulesMax = 8
	// limitCountMax is past what one process has under way, or lets through.
	limitCountMax = 1_000_000_000
	// limitKeysMax is 640 to 960 MB.
	limitKeysMax     = 10_000_000
	limitKeysDefault = 100_000
)

var limitFilterObject = sync.OnceValue(func() *object[LimitFilter] {
	type T = LimitFilter
	return &object[T]{
		name: "limit", article: "a",
		about: "Bounds how often, or how many at once, requests pass: of each client, tenant or user, or all together. Whoever is over is answered 429 with Retry-After. Exact for this node, over all of its loops.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: append(limitRuleKeys(func(v *T) *LimitRule { return &v.LimitRule }, func(v *T) bool { return len(v.Rules) == 0 }),
			may("rules", listOf(section(limitRuleObject)), func(v *T) *[]LimitRule { return &v.Rules },
				`Several limits, in place of one: each is asked in turn until one refuses. Those before it have counted the request, so write the one that refuses most first.`),
			def("status", integer(400, 599), func(v *T) *int { return &v.Status }, 429,
				`Of refusals. 429 (Too Many Requests) says whose doing it is, and clients know to wait.`),
			def("headers", boolean(), func(v *T) *bool { return &v.Headers }, false,
				`Say in each answer what is allowed and what is left: RateLimit-Policy and RateLimit, as draft-ietf-httpapi-ratelimit-headers has them. Off: no standard yet, and it tells everybody. Retry-After is always there.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		),
		short: &short[T]{
			about: "a rate for each client",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				pointer(rate()).read(d, n, &v.Rate)
				v.Key = []GuardKey{{Pos: posOf(n), Source: GuardClientAddress}}
			},
			schema: rate().schema,
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			at := g.key("rules")
			if at == nil {
				if n.Kind == yaml.MappingNode {
					checkLimitRule(d, n, &v.LimitRule, g.key, g.clean)
				}
				return
			}
			for _, k := range limitRuleObject().keys {
				if own := g.key(k.name); own != nil {
					d.fail(own, "move it into the rules it is for", "%s beside rules is that of none of them", quote(k.name))
				}
			}
			if !g.clean {
				return
			}
			if len(v.Rules) == 0 || len(v.Rules) > limitRulesMax {
				d.fail(at, "write one to "+strconv.Itoa(limitRulesMax)+", such as rules: [{name: burst, rate: 10/s}, {name: daily, rate: 1000/h}]", "found %d rules", len(v.Rules))
			}
			for i := range v.Rules {
				for j := range i {
					if v.Rules[i].Name == v.Rules[j].Name {
						d.fail(g.value("rules").Content[i], "give each a name of its own", "there are two rules %s", quote(v.Rules[i].Name))
					}
				}
			}
		},
	}
})

var limitRuleObject = sync.OnceValue(func() *object[LimitRule] {
	type T = LimitRule
	keys := limitRuleKeys(func(v *T) *T { return v }, func(*T) bool { return true })
	return &object[T]{
		name: "limit_rule", article: "a",
		about: "One of several limits.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: append([]key[T]{need("name", text("name", checkName), func(v *T) *string { return &v.Name },
			`Tells it from the others: in the fields of answers, and to go on counting when the rules change.`)}, keys...),
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) { checkLimitRule(d, n, v, g.key, g.clean) },
	}
})

// limitRuleKeys are the keys of a rule that lies at a place of S. They are written if there is one.
func limitRuleKeys[S any](of func(*S) *LimitRule, there func(*S) bool) []key[S] {
	keys := []key[S]{
		may("rate", pointer(rate()), func(v *S) **Rate { return &of(v).Rate },
			`How many may pass in a second, minute or hour: 100/s, 10/m, 1000/h.`),
		def("algorithm", choice("algorithm", LimitTokenBucket, LimitLeakyBucket, LimitFixedWindow, LimitSlidingWindow), func(v *S) *LimitAlgorithm { return &of(v).Algorithm }, LimitTokenBucket,
			`token_bucket (a bucket of burst tokens, filled at the rate; a request takes one), leaky_bucket (requests leave at the rate; those that come faster wait, up to max_delay), fixed_window (so many in each second, minute or hour, reckoned from the gateway's start), sliding_window (so many in the last one, nearly). A token bucket by default: it is exact in any interval and lets bursts be.`).when(func(v *S) bool { return of(v).Rate != nil }),
		may("burst", integer(1, limitCountMax), func(v *S) *int { return &of(v).Burst },
			`How many may come at once after a pause. By default what the rate counts in one unit for a token bucket (100 for 100/s, 5 for 5/m), and 1 for a leaky bucket. Windows have none.`),
		may("max_delay", pointer(duration(time.Millisecond, time.Minute)), func(v *S) **time.Duration { return &of(v).MaxDelay },
			`How long a leaky bucket lets a request wait; what would wait longer is refused. 1s by default: many clients give up soon after.`),
		may("concurrency", integer(1, limitCountMax), func(v *S) *int { return &of(v).Concurrency },
			`How many may be under way at once, from their head to the end of their answer.`),
		def("key", limitKey(), func(v *S) *[]GuardKey { return &of(v).Key }, []GuardKey{{Source: GuardClientAddress}},
			`What is counted apart: `+guardKeyAbout+` all counts all requests together. Each client's address by default: what one client does is no reason to refuse others.`),
		def("missing", choice("word", LimitShare, LimitPass, LimitRefuse), func(v *S) *LimitMissing { return &of(v).Missing }, LimitShare,
			`What becomes of requests that lack a part of the key: share (they all have one count), pass (this limit does not count them) or refuse (400). They share by default: leaving something out opens no way around the limit, and nobody is refused for it alone.`).when(func(v *S) bool { return len(of(v).Key) > 0 }),
		def("keys_max", integer(1, limitKeysMax), func(v *S) *int { return &of(v).KeysMax }, limitKeysDefault,
			`How many keys have a count of their own, at 64 to 96 bytes each, taken as they come. With more, keys that have nothing used make room, then those that have used the least; if all have used most of what they have, new ones share one count. The default is more clients than a node sees while a bucket fills, and 10 MB at most.`).when(func(v *S) bool { return len(of(v).Key) > 0 }),
		may("shared", sharedLimit(), func(v *S) **LimitShared { return &of(v).Shared },
			`Count the rate together with all gateways, through Redis: shared: 10.0.0.5:6379, or more about it. Without it each gateway counts by itself.`),
	}
	for i := range keys {
		keys[i] = keys[i].when(there)
	}
	return keys
}

// limitAll is the key of a rule that counts all requests together.
const limitAll = "all"

// limitKey is a guardKey, or the word for none. An empty list means the same: it leaves nothing that is counted apart.
func limitKey() kind[[]GuardKey] {
	k := guardKey()
	read, write, schema := k.read, k.write, k.schema
	k.word += ", or " + limitAll
	k.read = func(d *decoder, n *yaml.Node, v *[]GuardKey) {
		if at := resolved(n); at.Kind == yaml.ScalarNode && at.Value == limitAll {
			*v = nil
			return
		}
		if isNull(resolved(n)) {
			d.fail(n, "write "+limitAll+", or what is counted apart: client_address; or remove it", "the key is empty")
			return
		}
		read(d, n, v)
	}
	k.write = func(v *[]GuardKey) *yaml.Node {
		if len(*v) == 0 {
			return textNode(limitAll)
		}
		return write(v)
	}
	k.schema = func(b *schemaBuilder) map[string]any {
		return map[string]any{"anyOf": []any{map[string]any{"const": limitAll}, schema(b)}}
	}
	return k
}

// checkLimitRule looks for what no single key of a rule can see. at finds a key in the text.
func checkLimitRule(d *decoder, n *yaml.Node, v *LimitRule, at func(string) *yaml.Node, clean bool) {
	if !clean {
		return
	}
	if v.Rate == nil && v.Concurrency == 0 {
		d.fail(n, "add rate: 100/s, or concurrency: 50", "nothing is limited")
		return
	}
	if v.Rate == nil {
		for _, name := range []string{"burst", "max_delay", "algorithm", "shared"} {
			if k := at(name); k != nil {
				d.fail(k, "add rate: 100/s, or remove it", "%s is part of a rate, and there is none", quote(name))
			}
		}
		return
	}
	if k := at("burst"); k != nil && (v.Algorithm == LimitFixedWindow || v.Algorithm == LimitSlidingWindow) {
		d.fail(k, "remove it, or use algorithm: token_bucket", "a %s has no burst: all that it allows may come at once", v.Algorithm)
	}
	if k := at("max_delay"); k != nil && v.Algorithm != LimitLeakyBucket {
		d.fail(k, "use algorithm: leaky_bucket, or remove it", "a %s lets nothing wait", v.Algorithm)
	}
	if k := at("shared"); k != nil {
		checkLimitShared(d, k, v)
	}
	if len(v.Key) == 0 {
		for _, name := range []string{"missing", "keys_max"} {
			if k := at(name); k != nil {
				d.fail(k, "remove it, or write another key: client_address", "%s is about keys, and there is one count for all", quote(name))
			}
		}
	}
}
