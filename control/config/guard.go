package config

import (
	"slices"
	"strconv"
	"sync"

	"go.yaml.in/yaml/v3"
)

// GuardMode is what becomes of what a guard decides.
type GuardMode string

// The modes.
const (
	GuardEnforce GuardMode = "enforce"
	GuardShadow  GuardMode = "shadow"
	GuardOff     GuardMode = "off"
)

const guardModeAbout = `enforce, shadow (it counts and records what it would have done, and does nothing) or off. Enforced by default: who writes a guard down wants it.`

func guardMode() kind[GuardMode] {
	return choice("mode", GuardEnforce, GuardShadow, GuardOff)
}

// guardian is a filter's settings that have a mode.
type guardian interface{ guardMode() GuardMode }

// Mode returns what becomes of what the filter decides: enforced, of filters that are no guards.
func (f *Filter) Mode() GuardMode {
	if g, ok := f.Body.(guardian); ok {
		return g.guardMode()
	}
	return GuardEnforce
}

// GuardKey is a part of what a guard counts by.
type GuardKey struct {
	Pos
	Source GuardSource
	Name   string // of the header (in lower case), cookie, path parameter or claim; empty for the others
}

func (k *GuardKey) parts() (*GuardSource, *string) { return &k.Source, &k.Name }

// GuardSource is where a part of a key is taken from.
type GuardSource string

// The parts of a request that a guard can count by.
const (
	GuardClientAddress GuardSource = "client_address"
	GuardHeader        GuardSource = "header"
	GuardCookie        GuardSource = "cookie"
	GuardPathParam     GuardSource = "path_param"
	GuardClaim         GuardSource = "claim"
	GuardHost          GuardSource = "host"
	GuardMethod        GuardSource = "method"
	GuardPath          GuardSource = "path"
	GuardRoute         GuardSource = "route"
	GuardListener      GuardSource = "listener"
)

// plainSources are those without a name.
var plainSources = []GuardSource{GuardClientAddress, GuardHost, GuardMethod, GuardPath, GuardRoute, GuardListener}

const guardKeyAbout = `client_address (of IPv6 its /64), host, method, path, route, listener, or {claim: NAME}, {header: NAME}, {cookie: NAME}, {path_param: NAME}; a list counts each combination on its own.`

// guardKeyPartsMax bounds the parts of a key: more is no key but a fingerprint.
const guardKeyPartsMax = 4

// guardKey is one part, or a list of them.
func guardKey() kind[[]GuardKey] {
	part := guardKeyPart()
	k := oneOrMore(part)
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *[]GuardKey) {
		if resolved(n).Kind == yaml.MappingNode { // one part that has a name
			*v = make([]GuardKey, 1)
			part.read(d, n, &(*v)[0])
			return
		}
		read(d, n, v)
		if len(*v) > guardKeyPartsMax {
			d.fail(n, "remove those that say the least", "a key has at most %d parts, found %d", guardKeyPartsMax, len(*v))
		}
		for i := range *v {
			same := func(o GuardKey) bool { return o.Source == (*v)[i].Source && o.Name == (*v)[i].Name }
			if slices.ContainsFunc((*v)[:i], same) {
				d.fail(n, "remove it", "part %s of the key is there twice", strconv.Itoa(i+1))
			}
		}
	}
	return k
}

func guardKeyPart() kind[GuardKey] {
	inner := section(guardKeyObject)
	return kind[GuardKey]{word: "key", read: inner.read, schema: inner.schema, inside: inner.inside,
		write: func(v *GuardKey) *yaml.Node {
			if v.Name == "" {
				return textNode(string(v.Source))
			}
			return inner.write(v)
		},
	}
}

var guardKeyObject = sync.OnceValue(func() *object[GuardKey] {
	named := func(source GuardSource, k kind[string], about string) key[GuardKey] {
		return may(string(source), sourceName(source, k, (*GuardKey).parts), func(v *GuardKey) *GuardKey { return v }, about).
			when(func(v *GuardKey) bool { return v.Source == source })
	}
	return &object[GuardKey]{
		name: "guard_key", article: "a",
		about: "A part of what a guard counts by: one of these, or one of the words client_address, host, method, path, route, listener.",
		pos:   func(v *GuardKey) *Pos { return &v.Pos },
		keys: []key[GuardKey]{
			named(GuardClaim, text("claim", notEmpty), `A claim of who asks, which a guard before this one has verified: sub, or a path such as org.tenant.`),
			named(GuardHeader, fieldName(), `The value of a header field. Clients can write what they like there.`),
			named(GuardCookie, text("cookie name", fieldNameText), `The value of a cookie.`),
			named(GuardPathParam, text("path parameter", notEmpty), `The value of a parameter of the path: id for /users/:id.`),
		},
		short: &short[GuardKey]{
			about: "a word",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *GuardKey) {
				choice("key", plainSources...).read(d, n, &v.Source)
			},
			schema: choice("key", plainSources...).schema,
		},
		check: func(d *decoder, n *yaml.Node, _ *GuardKey, g given[GuardKey]) {
			said := 0
			for _, at := range g.keys {
				if at != nil {
					said++
				}
			}
			if n.Kind == yaml.MappingNode && said != 1 {
				d.fail(n, "write one of claim, header, cookie, path_param, or a word such as client_address", "a part of a key has one source, found %d", said)
			}
		},
	}
})
