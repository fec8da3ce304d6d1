package config

import (
	"sync"

	"go.yaml.in/yaml/v3"
)

// LimitShared is a limit that all gateways share through Redis.
type LimitShared struct {
	Pos
	Redis           RedisServer
	Mode            LimitSharedMode
	Name            string // in Redis; empty: that of filter and rule
	WhenUnreachable LimitUnreachable
	Nodes           int
}

// LimitSharedMode is how a limit is shared.
type LimitSharedMode string

// The modes.
const (
	LimitLeased LimitSharedMode = "leased"
	LimitExact  LimitSharedMode = "exact"
)

// LimitUnreachable is what becomes of requests while Redis cannot be reached.
type LimitUnreachable string

// What can become of them.
const (
	LimitLocalShare LimitUnreachable = "local_share"
	LimitOpen       LimitUnreachable = "open"
	LimitClosed     LimitUnreachable = "closed"
)

// limitNodesMax is that of policy/quota.
const limitNodesMax = 128

var limitSharedObject = sync.OnceValue(func() *object[LimitShared] {
	type T = LimitShared
	return &object[T]{
		name: "shared_limit", article: "a",
		about: "How all gateways share one limit, through Redis.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("redis", section(redisServerObject), func(v *T) *RedisServer { return &v.Redis }, `The Redis that all gateways have in common: 10.0.0.5:6379.`),
			def("mode", choice("mode", LimitLeased, LimitExact), func(v *T) *LimitSharedMode { return &v.Mode }, LimitLeased,
				`leased (each gateway takes what it needs for the next 150 ms out of a common token bucket, and gives back what is left: no request of a busy key waits, and all together stay within rate and burst) or exact (each request is asked for, and counted in a sliding window; it waits for a round trip, and Redis keeps each request of the window, at most 10000). Leased by default: it costs Redis little, and a request nothing.`),
			def("when_unreachable", choice("word", LimitLocalShare, LimitOpen, LimitClosed), func(v *T) *LimitUnreachable { return &v.WhenUnreachable }, LimitLocalShare,
				`While Redis does not answer: local_share (each gateway admits its part of the limit by itself), open (all is admitted) or closed (503, once what was granted before is spent). A share by default: the limit goes on to be about what it is, and nobody is turned away because of Redis alone.`),
			def("nodes", integer(1, limitNodesMax), func(v *T) *int { return &v.Nodes }, 1,
				`Among how many gateways the limit is divided at least while Redis does not answer. Each gateway knows how many it saw there last; this is for one that starts while Redis is gone. 1 by default: a gateway that is alone has all of it. With several, write how many.`),
			may("name", text("name", checkName), func(v *T) *string { return &v.Name },
				`What the limit is called in Redis: rules of the same name count together, also those of other gateways and other filters; give them the same rate. By default the name of the filter and of the rule.`),
		},
		short: &short[T]{
			about:  "the address of Redis",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { section(redisServerObject).read(d, n, &v.Redis) },
			schema: func(b *schemaBuilder) map[string]any { return redisAddress().schema(b) },
		},
	}
})

// sharedLimit is the kind of a section that may be absent, which is nil; if it is there, its keys have their defaults.
func sharedLimit() kind[*LimitShared] {
	inner := section(limitSharedObject)
	k := pointer(inner)
	k.inside = inner.inside
	k.read = func(d *decoder, n *yaml.Node, v **LimitShared) {
		before := d.errors
		one := new(LimitShared)
		inner.fill(d, one)
		if inner.read(d, n, one); d.errors == before {
			*v = one
		}
	}
	return k
}

// checkLimitShared looks for what a shared limit cannot be.
func checkLimitShared(d *decoder, n *yaml.Node, v *LimitRule) {
	switch {
	case v.Shared.Mode == LimitLeased && v.Algorithm != LimitTokenBucket:
		d.fail(n, "use algorithm: token_bucket; or algorithm: sliding_window with shared: {mode: exact}", "gateways lease tokens: a %s has none", v.Algorithm)
	case v.Shared.Mode == LimitExact && v.Algorithm != LimitSlidingWindow:
		d.fail(n, "add algorithm: sliding_window, or use mode: leased", "mode exact counts in a sliding window, which a %s is not", v.Algorithm)
	}
}
