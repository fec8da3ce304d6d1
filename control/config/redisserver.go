package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// RedisServer is a Redis and how to reach it.
type RedisServer struct {
	Pos
	Address     Address
	Username    string
	PasswordEnv string
	Database    int
	TLS         *RedisTLS // nil for none
	Timeout     time.Duration
}

// RedisTLS is how a Redis is met with TLS.
type RedisTLS struct {
	Pos
	CA        string // file in PEM; empty for the authorities of the system
	SNI       string // host name in lower case, or IP address; empty for the host of the address
	Cert, Key string // files in PEM of our own certificate; empty for none
}

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
		may("password_env", text("name of a variable", isVariableName), func(v *T) *string { return &of(v).PasswordEnv },
			`Name of the environment variable that holds the password: REDIS_PASSWORD. Its value is in nothing that is made of the document.`),
		def("database", integer(0, 15), func(v *T) *int { return &of(v).Database }, 0, `Number of the database. 0, which every Redis has.`),
		off("tls", redisTLSObject, func(v *T) **RedisTLS { return &of(v).TLS },
			`Speak TLS; on verifies the server's certificate for the host of the address by the system's authorities. Off, as Redis is by default.`),
		def("timeout", duration(time.Millisecond, time.Second), func(v *T) *time.Duration { return &of(v).Timeout }, 100*time.Millisecond, aboutTimeout),
	}
}

var redisTLSObject = sync.OnceValue(func() *object[RedisTLS] {
	type T = RedisTLS
	return &object[T]{
		name: "redis_tls", article: "a",
		about: "How a Redis is met with TLS. Files are read again for each new connection; what they held before stays in use while they cannot be used.",
		pos:   func(v *T) *Pos { return &v.Pos },

		elsewhere: "write tls: on, or tls: {ca: roots.pem}",
		keys: []key[T]{
			may("ca", fileName(), func(v *T) *string { return &v.CA },
				`File with the certificates, in PEM, of the authorities the server's certificate is believed of; or with that certificate itself, if it is of its own making. By default those of the system.`),
			may("sni", serverName(), func(v *T) *string { return &v.SNI },
				`The name asked for, and verified in the certificate; of a Redis Cluster, in that of each node. By default the host of the address.`),
			may("cert", fileName(), func(v *T) *string { return &v.Cert },
				`File with our own certificate in PEM, for a Redis with tls-auth-clients, which asks for one.`),
			may("key", fileName(), func(v *T) *string { return &v.Key },
				`File with its private key in PEM; it may be the same file.`),
		},
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) {
			if v.Key != "" && v.Cert == "" && g.clean {
				d.fail(g.key("key"), "add cert: with the file of its certificate, which may be the same file", "the key %s has no certificate", quote(v.Key))
			}
			if v.Cert != "" && v.Key == "" && g.clean {
				d.fail(g.key("cert"), "add key: with the file of its private key, which may be the same file", "the certificate %s has no key", quote(v.Cert))
			}
		},
	}
})

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
