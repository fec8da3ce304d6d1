package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// CacheRedis is the Redis in which gateways share what they keep.
type CacheRedis struct {
	Pos
	Server       RedisServer
	Name         string // in Redis; empty: that of the filter
	Wait         time.Duration
	MaxEntrySize int64 // bytes
}

var cacheRedisObject = sync.OnceValue(func() *object[CacheRedis] {
	type T = CacheRedis
	return &object[T]{
		name: "cache_redis", article: "a",
		about: "The Redis in which gateways share the responses that they keep. Each has its memory besides, and asks Redis for what it does not find there.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: append(redisServerKeys(func(v *T) *RedisServer { return &v.Server },
			`For a round trip, and for connecting. The first that takes longer makes Redis unreachable: it is not asked any more until it answers again.`),
			def("wait", duration(time.Millisecond, time.Second), func(v *T) *time.Duration { return &v.Wait }, 50*time.Millisecond,
				`How long a request waits for Redis before it goes on to the upstream. 50ms is fifty times what Redis takes, and less than most upstreams do.`),
			def("max_entry_size", size(1<<10, 1<<26), func(v *T) *int64 { return &v.MaxEntrySize }, 256<<10,
				`Responses that are longer, with their fields, stay in the memory of the gateway that asked for them; at most the cache's own max_entry_size counts. Redis does one thing at a time: large values hold up all who use it.`),
			may("name", text("name", checkName), func(v *T) *string { return &v.Name },
				`What the cache is called in Redis: gateways that say the same share what they keep, so give them the same upstreams and the same key. By default the name of the filter.`),
		),
		short: &short[T]{
			about:  "its address",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { redisAddress().read(d, n, &v.Server.Address) },
			schema: func(b *schemaBuilder) map[string]any { return redisAddress().schema(b) },
		},
	}
})

// sharedCache is the kind of a section that may be absent, which is nil; if it is there, its keys have their defaults.
func sharedCache() kind[*CacheRedis] {
	inner := section(cacheRedisObject)
	k := pointer(inner)
	k.inside = inner.inside
	k.read = func(d *decoder, n *yaml.Node, v **CacheRedis) {
		before := d.errors
		one := new(CacheRedis)
		inner.fill(d, one)
		if inner.read(d, n, one); d.errors == before {
			*v = one
		}
	}
	return k
}
