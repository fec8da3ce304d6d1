package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// HMACAuthFilter knows clients by signatures over their requests.
type HMACAuthFilter struct {
	Pos
	File         string
	Keys         []HMACKey
	Components   []string
	MaxAge       time.Duration
	Skew         time.Duration
	Replays      int // 0: off
	MaxBody      int64
	UnsignedBody bool
	Headers      []Field
	Guard        GuardMode
}

func (v *HMACAuthFilter) guardMode() GuardMode { return v.Guard }

// HMACKey is a consumer whose secret is in a variable of the environment. The secret itself is in no field.
type HMACKey struct {
	Pos
	Name       string
	SecretEnv  string
	Attributes []Attribute
}

var hmacAuthFilterObject = sync.OnceValue(func() *object[HMACAuthFilter] {
	type T = HMACAuthFilter
	return &object[T]{
		name: "hmac_auth", article: "an",
		about: "Knows clients by signatures over their requests: HTTP Message Signatures (RFC 9421) with hmac-sha256, and Content-Digest (RFC 9530) for bodies. The key id is the consumer's name and becomes the claim sub. Put it before filters that rewrite the request. Requests without a right signature are answered 401.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("file", fileName(), func(v *T) *string { return &v.File }, `File with a secret to a line: KEYID SECRET ATTRIBUTE=VALUE. It is followed: a changed file counts at once; one with a mistake is reported, and what was read before stays.`),
			may("keys", mapOf(section(hmacKeyObject), func(v *HMACKey) *string { return &v.Name }, func(v *HMACKey) *Pos { return &v.Pos },
				func(*decoder, *yaml.Node, string) bool { return true }, asWritten), func(v *T) *[]HMACKey { return &v.Keys }, `Consumers whose secrets are in variables of the environment, by key id. file or keys, or both.`),
			def("components", oneOrMore(text("component", notEmpty)), func(v *T) *[]string { return &v.Components }, []string{"@method", "@authority", "@path", "@query"}, `What has to be signed at least: @method, @authority, @path, @query, and names of header fields in lower case. By default all that says where a request goes, so that a signature is good for one thing.`),
			def("max_age", duration(time.Second, time.Hour), func(v *T) *time.Duration { return &v.MaxAge }, 5*time.Minute, `How long after its creation a signature is good.`),
			def("skew", duration(time.Second, 10*time.Minute), func(v *T) *time.Duration { return &v.Skew }, 30*time.Second, `How far a client's clock may be ahead.`),
			def("replays", orOff(integer(1000, 10_000_000)), func(v *T) *int { return &v.Replays }, 200_000, `How many signatures are remembered for max_age and skew, so that none is used twice on this node; if there are more, requests are answered 503. Each takes 32 to 64 bytes. The default is good for 600 requests a second. Off lets a signature be used as often as it is seen.`),
			def("max_body", size(1<<10, 1<<30), func(v *T) *int64 { return &v.MaxBody }, 1<<20, `The largest body that is signed: it is held in memory until its digest is known to be right, and no upstream sees it before. More is answered with 413.`),
			def("unsigned_body", boolean(), func(v *T) *bool { return &v.UnsignedBody }, false, `Let bodies through whose digest is not signed (content-digest among the components of the signature). Off: who can change a body on its way can do nearly everything.`),
			may("headers", claimHeaders(), func(v *T) *[]Field { return &v.Headers }, claimHeadersAbout),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.clean && len(v.Keys) == 0 && v.File == "" {
				d.fail(n, "write file: secrets.txt, or keys: {NAME: {secret_env: VARIABLE}}", "there are no keys, so that nobody could be let in")
			}
			refuseTwiceAt(d, g, "components", v.Components)
		},
	}
})

var hmacKeyObject = sync.OnceValue(func() *object[HMACKey] {
	type T = HMACKey
	return &object[T]{
		name: "hmac_key", article: "an",
		about: "A consumer who signs requests.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("secret_env", text("name of a variable", isVariableName), func(v *T) *string { return &v.SecretEnv }, `Name of the environment variable that holds the secret: ACME_SECRET. Its value, of 16 to 512 bytes, is in nothing that is made of the document.`),
			may("attributes", attributes(), func(v *T) *[]Attribute { return &v.Attributes }, `What else is known of the consumer: names to values. Other guards can use them as claims.`),
		},
	}
})
