package config

import (
	"sync"
	"time"

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

// RedisServer is a Redis and how to reach it.
type RedisServer struct {
	Pos
	Address     Address
	Username    string
	PasswordEnv string
	Database    int
	TLS         bool
	Timeout     time.Duration
}

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

var redisServerObject = sync.OnceValue(func() *object[RedisServer] {
	type T = RedisServer
	return &object[T]{
		name: "redis_server", article: "a",
		about: "A Redis and how to reach it.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: redisServerKeys(func(v *T) *RedisServer { return v },
			`For a round trip, and for connecting. The first that takes longer makes Redis unreachable; no request waits longer than two of them. 100ms is a hundred times what it takes within a data centre, and little for whoever waits.`),
		short: &short[T]{
			about:  "its address",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { redisAddress().read(d, n, &v.Address) },
			schema: func(b *schemaBuilder) map[string]any { return redisAddress().schema(b) },
		},
	}
})

// redisServerKeys are the keys of whatever has a Redis.
func redisServerKeys[T any](of func(v *T) *RedisServer, aboutTimeout string) []key[T] {
	return []key[T]{
		need("address", redisAddress(), func(v *T) *Address { return &of(v).Address }, `Where it listens; of a Redis Cluster, one of its nodes.`),
		may("username", text("name", notEmpty), func(v *T) *string { return &of(v).Username }, `Of the user to log in as. Without one, the default user.`),
		may("password_env", text("name of a variable", isVariableName), func(v *T) *string { return &of(v).PasswordEnv }, `Name of the environment variable that holds the password: REDIS_PASSWORD. Its value is in nothing that is made of the document.`),
		def("database", integer(0, 15), func(v *T) *int { return &of(v).Database }, 0, `Number of the database. 0, which every Redis has.`),
		def("tls", boolean(), func(v *T) *bool { return &of(v).TLS }, false, `Speak TLS, and verify the server's certificate for the host of the address by the system's authorities. Off, as Redis is by default.`),
		def("timeout", duration(time.Millisecond, time.Second), func(v *T) *time.Duration { return &of(v).Timeout }, 100*time.Millisecond, aboutTimeout),
	}
}

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

// redisAddress is where a Redis listens: an IP address or a name, and a port.
func redisAddress() kind[Address] {
	return parsed("address", "10.0.0.5:6379 or redis.internal:6379", `.+:[0-9]+`, func(s string) (Address, string, string) {
		a, cause, fix := splitAddress(s, "6379")
		switch {
		case cause != "":
			return Address{}, cause, fix
		case a.Host == "":
			return Address{}, quote(s) + " has no host", "write 127.0.0.1:6379 for this machine"
		case a.Port == 0:
			return Address{}, quote(s) + " has port 0", "write the port that Redis listens on, 6379 as a rule"
		}
		return a, "", ""
	}, Address.String)
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
