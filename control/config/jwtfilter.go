package config

import (
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// JWTFilter lets requests pass by a signed token.
type JWTFilter struct {
	Pos
	Issuers     []string
	Audiences   []string
	Algorithms  []JWTAlgorithm
	Keys        JWTKeys
	Required    bool
	Types       []string
	ClockSkew   time.Duration // 0: none
	ExpRequired bool
	From        APIKeyPlaces // as of API keys
	Forward     bool
	Headers     []Field
	Scopes      []string
	Claims      []JWTClaim
	TokenMax    int64
	Cache       int // tokens; 0: none
	Realm       string
	Guard       GuardMode
}

func (v *JWTFilter) guardMode() GuardMode { return v.Guard }

// JWTAlgorithm is a way to sign (RFC 7518, RFC 8037).
type JWTAlgorithm string

var jwtAlgorithms = []JWTAlgorithm{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}

// JWTKeys is where keys come from. Exactly one of the first six is set. A secret itself is in no field: what is made of a
// document, its effective form among others, cannot give it away.
type JWTKeys struct {
	URL, File, SecretFile, SecretEnv string
	PEM, JWKS                        string
	SecretForm                       JWTSecretForm

	CA       string
	Refresh  time.Duration
	Timeout  time.Duration
	Stale    time.Duration
	AskEvery time.Duration
}

// JWTSecretForm is how a secret is written.
type JWTSecretForm string

// The forms of a secret.
const (
	JWTSecretPlain  JWTSecretForm = "plain"
	JWTSecretBase64 JWTSecretForm = "base64"
)

// JWTClaim is a claim that must have one of some values.
type JWTClaim struct {
	Pos
	Name  string
	OneOf []string // empty: it must be there
}

var jwtFilterObject = sync.OnceValue(func() *object[JWTFilter] {
	type T = JWTFilter
	return &object[T]{
		name: "jwt", article: "a",
		about: "Lets requests pass by a signed token (JWT, RFC 7519), and knows by its claims who asks. A request without one, or with one that is not right, is answered 401; one whose claims do not suffice 403.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("issuer", oneOrMore(text("issuer", notEmpty)), func(v *T) *[]string { return &v.Issuers }, `Whose tokens are taken: the claim iss, byte by byte.`),
			need("audience", oneOrMore(text("audience", notEmpty)), func(v *T) *[]string { return &v.Audiences }, `Whom they must be meant for: one of these must be in the claim aud. Needed, since a token that was made for another service must not be good here.`),
			need("algorithms", oneOrMore(choice("algorithm", jwtAlgorithms...)), func(v *T) *[]JWTAlgorithm { return &v.Algorithms }, `How they may be signed. Needed, since what a token says of itself is the attacker's word. A key is used with algorithms of its own kind only.`),
			need("keys", section(jwtKeysObject), func(v *T) *JWTKeys { return &v.Keys }, `Where the keys come from.`),
			def("required", boolean(), func(v *T) *bool { return &v.Required }, true, `Refuse requests without a token. Off: they go on as nobody's, and only a token that is there must be right.`),
			may("types", oneOrMore(text("token type", notEmpty)), func(v *T) *[]string { return &v.Types }, `What the header typ must be one of: at+jwt for access tokens by RFC 9068. Any, or none, by default.`),
			def("clock_skew", orOff(duration(time.Second, 5*time.Minute)), func(v *T) *time.Duration { return &v.ClockSkew }, 30*time.Second, `How far the issuer's clock may be from this one, for exp, nbf and iat. What clocks without good care are apart.`),
			def("require_exp", boolean(), func(v *T) *bool { return &v.ExpRequired }, true, `Refuse tokens that never expire. Such a token cannot be taken back but with its key.`),
			always("from", section(apiKeyPlacesObject), func(v *T) *APIKeyPlaces { return &v.From }, `Where the token is looked for. The header Authorization with the scheme Bearer by default. Two tokens in one request are refused. In a query tokens get into histories and logs; use it for WebSockets of browsers only.`),
			def("forward", boolean(), func(v *T) *bool { return &v.Forward }, false, `Leave the token on the request. Off: with it, whoever reads the upstream's memory or logs could act for the client.`),
			may("headers", claimHeaders(), func(v *T) *[]Field { return &v.Headers }, claimHeadersAbout),
			may("scopes", oneOrMore(text("scope", isScope)), func(v *T) *[]string { return &v.Scopes }, `Scopes the token must have been given for, all of them: the claim scope, or scp.`),
			may("claims", mapOf(jwtClaimValues(), func(v *JWTClaim) *string { return &v.Name }, func(v *JWTClaim) *Pos { return &v.Pos },
				func(d *decoder, n *yaml.Node, name string) bool { return d.passes(n, name, []check{notEmpty}) }, asWritten),
				func(v *T) *[]JWTClaim { return &v.Claims }, `Claims the token must have, by name or path: tenant: [a, b] must be one of these, or a list with one of them. An empty list: it must be there.`),
			def("max_token", size(256, 64<<10), func(v *T) *int64 { return &v.TokenMax }, 8<<10, `The longest token. A longer one is refused before it is read. Tokens of a kilobyte or two are usual; browsers and servers take no fields much longer than the default.`),
			def("cache", orOff(integer(64, 1<<20)), func(v *T) *int { return &v.Cache }, 4096, `How many verified tokens each event loop knows, until they expire or their key goes. A token of a kilobyte takes two to three, with its claims and what the upstream is told; the default is so some ten megabytes at most.`),
			may("realm", text("realm", fieldValue, isJWTRealm), func(v *T) *string { return &v.Realm }, `What clients are told they need a token for, in WWW-Authenticate. Nothing by default.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			refuseTwiceAt(d, g, "issuer", v.Issuers)
			refuseTwiceAt(d, g, "audience", v.Audiences)
			refuseTwiceAt(d, g, "algorithms", v.Algorithms)
			refuseTwiceAt(d, g, "scopes", v.Scopes)
			for _, list := range []struct {
				name string
				n    int
			}{{"issuer", len(v.Issuers)}, {"audience", len(v.Audiences)}, {"algorithms", len(v.Algorithms)}} {
				if at := g.key(list.name); g.clean && at != nil && list.n == 0 {
					d.fail(at, "write at least one", "the list is empty, so that no token could be right")
				}
			}
			if p := &v.From; len(p.Header)+len(p.Query)+len(p.Cookie) == 0 {
				p.Header = []string{"authorization"}
			} else if at := g.key("from"); at != nil && len(p.Query) > 0 {
				d.warn(at, "use the header Authorization where clients can set it", "tokens in a query get into histories and logs of clients and proxies")
			}
		},
	}
})

var jwtKeysObject = sync.OnceValue(func() *object[JWTKeys] {
	type T = JWTKeys
	return &object[T]{
		name: "key_source", article: "a",
		about: "Where the keys come from that tokens are verified with: one of url, file, secret_file, secret_env, pem, jwks.",
		keys: []key[T]{
			may("url", text("URL", notEmpty, fieldValue), func(v *T) *string { return &v.URL }, `URL of a key set (JWKS, RFC 7517), by https, or by http on this machine. It is fetched in the background and kept fresh; requests that come before the first answer wait for it.`),
			may("file", fileName(), func(v *T) *string { return &v.File }, `File with a key set (JWKS), or with public keys or certificates in PEM. It is followed: a changed file counts within seconds; one with a mistake is reported, and what was read before stays.`),
			may("secret_file", fileName(), func(v *T) *string { return &v.SecretFile }, `File with the secret for HS256, HS384 or HS512, followed as file is. A line end behind it does not belong to it.`),
			may("secret_env", text("name of a variable", isVariableName), func(v *T) *string { return &v.SecretEnv }, `Name of the environment variable that holds the secret: JWT_SECRET. Its value is in nothing that is made of the document.`),
			may("pem", text("PEM text", notEmpty), func(v *T) *string { return &v.PEM }, `Public keys or certificates in PEM, written out.`),
			may("jwks", text("JSON text", notEmpty), func(v *T) *string { return &v.JWKS }, `A key set (JWKS) as JSON, written out. Secrets have no place in it.`),
			def("secret_form", choice("form", JWTSecretPlain, JWTSecretBase64), func(v *T) *JWTSecretForm { return &v.SecretForm }, JWTSecretPlain,
				`How the secret is written: plain, its bytes are the secret; base64, with either alphabet.`).when(func(v *T) bool { return v.SecretEnv != "" || v.SecretFile != "" }),
			may("ca", fileName(), func(v *T) *string { return &v.CA }, `File with the authorities that the URL's certificate is from, read for each fetch. Those of the system by default.`),
			def("refresh", duration(10*time.Second, 24*time.Hour), func(v *T) *time.Duration { return &v.Refresh }, 5*time.Minute,
				`The longest time between two fetches of the URL. Cache-Control of its answer may make it shorter, down to 30 s. By the default a key that was withdrawn is not used for longer than that.`).when(isFetched),
			def("timeout", duration(100*time.Millisecond, time.Minute), func(v *T) *time.Duration { return &v.Timeout }, 5*time.Second, `How long one fetch may take, and so how long a request may wait for keys.`).when(isFetched),
			def("stale", duration(time.Minute, 30*24*time.Hour), func(v *T) *time.Duration { return &v.Stale }, 24*time.Hour,
				`How long keys are used after the last fetch that went well. Then tokens are answered with 503. A day outlasts most outages of issuers, and is noticed.`).when(isFetched),
			def("unknown_kid_interval", duration(time.Second, time.Hour), func(v *T) *time.Duration { return &v.AskEvery }, 10*time.Second,
				`A token with an unknown key causes a fetch, one in this time at most however many there are, two after a pause. So new keys are had when they are first used, and invented ones cost the issuer next to nothing.`).when(isFetched),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			said := 0
			for _, s := range []string{v.URL, v.File, v.SecretFile, v.SecretEnv, v.PEM, v.JWKS} {
				if s != "" {
					said++
				}
			}
			if g.clean && said != 1 {
				d.fail(n, "write one of url, file, secret_file, secret_env, pem, jwks", "keys come from one place, found %d", said)
			}
			for _, name := range []string{"ca", "refresh", "timeout", "stale", "unknown_kid_interval"} {
				if at := g.key(name); g.clean && at != nil && v.URL == "" {
					d.fail(at, "remove it", "%s is for keys from a URL", quote(name))
				}
			}
			if at := g.key("secret_form"); g.clean && at != nil && v.SecretEnv == "" && v.SecretFile == "" {
				d.fail(at, "remove it", "there is no secret")
			}
		},
	}
})

func isFetched(v *JWTKeys) bool { return v.URL != "" }

// jwtClaimValues is one value, or a list of them.
func jwtClaimValues() kind[JWTClaim] {
	inner := oneOrMore(text("value", notEmpty))
	return part(inner, func(v *JWTClaim) *[]string { return &v.OneOf })
}

// isScope is RFC 6749 section 3.3.
func isScope(s string) (cause, fix string) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
		return quote(s) + " is not a scope", "write each scope on its own: [read, write]"
	}
	return "", ""
}

func isJWTRealm(s string) (cause, fix string) {
	if strings.ContainsAny(s, `"\`) {
		return quote(s) + " cannot stand between quotes", "remove quotes and backslashes"
	}
	return "", ""
}

func isVariableName(s string) (cause, fix string) {
	if !isIdentifier(s) {
		return "that is not the name of a variable", "write the name alone: JWT_SECRET"
	}
	return "", ""
}
