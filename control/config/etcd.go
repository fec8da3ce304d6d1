package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// EtcdService is the instances of a service that have registered in etcd, as kit/registry has them.
type EtcdService struct {
	Pos
	Service               string
	Zone, Colour, Version string      // of the instances that are meant; empty: any
	Server                *EtcdServer // never nil in a document without errors
}

// EtcdServer is an etcd and how to reach it.
type EtcdServer struct {
	Pos
	Addresses   []Address
	Username    string
	PasswordEnv string
	TLS         *RedisTLS // nil for none; the same files as for Redis
	Prefix      string
	Timeout     time.Duration
	Grace       time.Duration
}

// etcdServersMax is how many members of etcd can be named: kit/registry takes as many.
const etcdServersMax = 64

var etcdServiceObject = sync.OnceValue(func() *object[EtcdService] {
	type T = EtcdService
	return &object[T]{
		name: "etcd_service", article: "an",
		about: "The instances of a service that have registered in etcd with kit/registry. They come and go without a change of the document; while etcd cannot be asked, those that were known last are used.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("service", text("name of a service", checkEtcdName), func(v *T) *string { return &v.Service },
				`The name under which its instances register.`),
			may("zone", text("zone", notEmpty), func(v *T) *string { return &v.Zone }, `Only instances of this zone.`),
			may("colour", text("colour", notEmpty), func(v *T) *string { return &v.Colour }, `Only instances of this colour.`),
			may("version", text("version", notEmpty), func(v *T) *string { return &v.Version }, `Only instances of this version.`),
			inherited("server", present(etcdServerObject), func(v *T) **EtcdServer { return &v.Server },
				`The etcd. By default that of defaults.etcd.`).when(func(v *T) bool { return v.Server != nil }),
		},
		prepare: func(d *decoder, v *T) { v.Server = d.doc.Defaults.Etcd },
		short: &short[T]{
			about: "the name of a service",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				text("name of a service", checkEtcdName).read(d, n, &v.Service)
			},
			schema: text("name of a service", checkEtcdName).schema,
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if v.Server == nil && g.key("server") == nil {
				d.fail(n, "add server: [10.0.0.1:2379] here, or etcd: [10.0.0.1:2379] under defaults", "nothing says where etcd is")
			}
		},
	}
})

var etcdServerObject = sync.OnceValue(func() *object[EtcdServer] {
	type T = EtcdServer
	return &object[T]{
		name: "etcd_server", article: "an",
		about: "An etcd and how to reach it. Clusters that say the same share one connection.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("addresses", oneOrMore(etcdAddress()), func(v *T) *[]Address { return &v.Addresses },
				`Client ports of its members. One is used at a time, and the next when it does not answer.`),
			may("username", text("name", notEmpty), func(v *T) *string { return &v.Username }, `Of the user to log in as. Without one, nobody.`),
			may("password_env", text("name of a variable", isVariableName), func(v *T) *string { return &v.PasswordEnv },
				`Name of the environment variable that holds the password: ETCD_PASSWORD. Its value is in nothing that is made of the document.`),
			off("tls", etcdTLSObject, func(v *T) **RedisTLS { return &v.TLS },
				`Speak TLS; on verifies the members' certificates by the system's authorities. Off, as etcd is by default.`),
			def("prefix", text("prefix", checkEtcdPrefix), func(v *T) *string { return &v.Prefix }, "/yumen",
				`Before all keys. /yumen is what kit/registry takes by default.`),
			def("timeout", duration(100*time.Millisecond, time.Minute), func(v *T) *time.Duration { return &v.Timeout }, 2*time.Second,
				`For one request to etcd. A member that is frozen is given up after two of them.`),
			def("grace", duration(100*time.Millisecond, time.Hour), func(v *T) *time.Duration { return &v.Grace }, time.Minute,
				`How long instances are kept that vanish suspiciously: all, or more than half of them. A minute is longer than an instance needs to register again.`),
		},
		short: &short[T]{
			about:  "an address, or a list of addresses",
			takes:  yaml.ScalarNode | yaml.SequenceNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { oneOrMore(etcdAddress()).read(d, n, &v.Addresses) },
			schema: func(b *schemaBuilder) map[string]any { return oneOrMore(etcdAddress()).schema(b) },
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if len(v.Addresses) > etcdServersMax {
				d.fail(n, "name some of them: members tell nothing that the others do not know", "etcd has %d addresses, more than %d", len(v.Addresses), etcdServersMax)
			}
			if g.clean && len(v.Addresses) == 0 {
				d.fail(n, "write addresses: [10.0.0.1:2379]", "etcd has no address")
			}
			if at := g.key("username"); at != nil && v.PasswordEnv == "" && g.clean {
				d.fail(at, "add password_env: with the name of the environment variable that holds the password", "the user %s has no password", quote(v.Username))
			}
			if at := g.key("password_env"); at != nil && v.Username == "" && g.clean {
				d.fail(at, "add username:", "the password is nobody's")
			}
		},
	}
})

var etcdTLSObject = sync.OnceValue(func() *object[RedisTLS] {
	type T = RedisTLS
	return &object[T]{
		name: "etcd_tls", article: "a",
		about: "How the members of an etcd are met with TLS. Files are read when the document is.",
		pos:   func(v *T) *Pos { return &v.Pos },

		elsewhere: "write tls: on, or tls: {ca: roots.pem}",
		keys: []key[T]{
			may("ca", fileName(), func(v *T) *string { return &v.CA },
				`File with the certificates, in PEM, of the authorities the members' certificates are believed of. By default those of the system.`),
			may("sni", serverName(), func(v *T) *string { return &v.SNI },
				`The name asked for, and verified in the certificate of each member. By default the host of the first address.`),
			may("cert", fileName(), func(v *T) *string { return &v.Cert },
				`File with our own certificate in PEM, for an etcd with client-cert-auth, which asks for one.`),
			may("key", fileName(), func(v *T) *string { return &v.Key },
				`File with its private key in PEM; it may be the same file.`),
		},
		check: redisTLSObject().check,
	}
})

// etcdServer is the kind of an etcd that may be absent, which is nil.
func etcdServer() kind[*EtcdServer] {
	inner := section(etcdServerObject)
	k := pointer(inner)
	k.inside = inner.inside
	k.read = func(d *decoder, n *yaml.Node, v **EtcdServer) {
		before := d.errors
		one := new(EtcdServer)
		inner.fill(d, one)
		if inner.read(d, n, one); d.errors == before {
			*v = one
		}
	}
	return k
}

func etcdAddress() kind[Address] {
	return parsed("address", "10.0.0.1:2379 or etcd.internal:2379", `.+:[0-9]+`, func(s string) (Address, string, string) {
		a, cause, fix := splitAddress(s, "2379")
		switch {
		case cause != "":
			return Address{}, cause, fix
		case a.Host == "":
			return Address{}, quote(s) + " has no host", "write 127.0.0.1:2379 for this machine"
		case a.Port == 0:
			return Address{}, quote(s) + " has port 0", "write the port that clients of etcd use, 2379 as a rule"
		}
		return a, "", ""
	}, Address.String)
}

// checkEtcdName has the rules of kit/registry for names.
func checkEtcdName(s string) (cause, fix string) {
	ok := s != "" && len(s) <= 128 && isAlnum(s[0])
	for i := 0; i < len(s); i++ {
		c := s[i]
		ok = ok && (isAlnum(c) || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return quote(s) + " cannot be the name of a service", "write 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"
	}
	return "", ""
}

func checkEtcdPrefix(s string) (cause, fix string) {
	ok := len(s) > 1 && len(s) <= 256 && s[0] == '/' && s[len(s)-1] != '/'
	for i := 0; i < len(s); i++ {
		ok = ok && s[i] > ' ' && s[i] < 0x7f
	}
	if !ok {
		return quote(s) + " cannot be a prefix of keys", "write it with a slash at the beginning and none at the end: /yumen"
	}
	return "", ""
}
