package config

import (
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// BasicAuthFilter knows clients by name and password.
type BasicAuthFilter struct {
	Pos
	Users   string // file
	Realm   string
	Cache   time.Duration // 0: off
	Forward bool
	Headers []Field
	Guard   GuardMode
}

func (v *BasicAuthFilter) guardMode() GuardMode { return v.Guard }

var basicAuthFilterObject = sync.OnceValue(func() *object[BasicAuthFilter] {
	type T = BasicAuthFilter
	return &object[T]{
		name: "basic_auth", article: "a",
		about: "Knows clients by name and password (Basic, RFC 7617). The name becomes the claim sub. Requests without a right password are answered 401; a client that is wrong more than five times has to pause, which is answered 429.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("users", fileName(), func(v *T) *string { return &v.Users }, `File as htpasswd writes it, with bcrypt (htpasswd -B) or Argon2id. It is followed: a changed file counts at once; one with a mistake is reported, and what was read before stays.`),
			def("realm", text("realm", notEmpty, isPlainRealm), func(v *T) *string { return &v.Realm }, "restricted", `What browsers say the password is for.`),
			def("cache", orOff(duration(time.Second, time.Hour)), func(v *T) *time.Duration { return &v.Cache }, time.Minute, `How long a right password is remembered, by a hash under a key of this process, so that not each request costs a slow hash. A changed file of users makes all that is remembered worthless at once. A minute: seldom enough to cost little, and nothing is kept for long. With off every request waits for its hash.`),
			def("forward", boolean(), func(v *T) *bool { return &v.Forward }, false, `Leave the Authorization field on the request. Off: the upstream does not need the password.`),
			may("headers", claimHeaders(), func(v *T) *[]Field { return &v.Headers }, claimHeadersAbout),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		short: &short[T]{
			about: "a file of users",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				fileName().read(d, n, &v.Users)
			},
			schema: fileName().schema,
		},
	}
})

// isPlainRealm refuses what would have to be escaped in a quoted string.
func isPlainRealm(s string) (cause, fix string) {
	if strings.ContainsAny(s, "\"\\") || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return "a realm has visible ASCII characters, without quotes and backslashes", "write a plain word"
	}
	return "", ""
}
