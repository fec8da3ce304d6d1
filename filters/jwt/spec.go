package jwt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
)

// Defaults of settings.
const (
	skewDefault       = 30 * time.Second
	tokenBytesDefault = 8 << 10
	cachedDefault     = 4096
)

// TokenBytesLeast and TokenBytesMost are between which the bound on a token may lie. Clients cannot send heads of more anyway.
const (
	TokenBytesLeast = 256
	TokenBytesMost  = 64 << 10
)

// Spec is what a document says.
type Spec struct {
	Algorithms []Algorithm
	Issuers    []string
	Audiences  []string

	// Where the keys come from: exactly one of these. Secret is the key of an HMAC, PEM and Set are texts.
	Fetch  Fetch
	Secret []byte
	PEM    []byte
	Set    []byte

	Optional       bool // a request without a token goes on, as nobody's
	Types          []string
	Skew           time.Duration // 0: 30 s; below 0: none
	ExpiryOptional bool          // a token without exp is accepted
	Places         []Place       // none: Authorization
	Forward        bool          // the token itself goes on to the upstream
	Headers        []identity.Field
	Scopes         []string // all of them are needed
	Claims         []Requirement
	TokenBytesMax  int // 0: 8 KiB
	Cached         int // verified tokens known on each loop; 0: 4096; below 0: none
	Realm          string

	Logger *slog.Logger // told how fetches of keys go; nil tells nobody
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// Compile makes a filter of s, or says everything that is wrong with it. memory holds keys, what fetches them and verified
// tokens, so that a change of other settings loses none of them; nil remembers nothing, and then nothing is fetched.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	c := compilation{spec: s}
	r := c.rules()
	fixed, kept := c.keys(r.methods)
	forward, err := identity.NewForward(s.Headers)
	if err != nil {
		c.fail("headers", "write a header field and the claim it gets: {x-user: sub}", "%v", err)
	}
	c.places()
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	f := &Filter{
		guard: guard, rules: r, optional: s.Optional, pass: s.Forward, forward: forward, places: s.Places, text: s.describe(),
		answers: challenges(s.Realm, s.Scopes),
	}
	if len(f.places) == 0 {
		f.places = []Place{{Kind: InAuthorization}}
	}
	// A cache belongs to all that a verdict follows from. Other settings have another.
	entries := s.Cached
	switch {
	case entries == 0:
		entries = cachedDefault
	case entries < 0:
		entries = 0
	}
	f.caches = gateway.Recall(memory, fmt.Sprintf("jwt/tokens/%d/%s", entries, s.fingerprint()), func() *caches { return &caches{entries: entries, tokenBytesMax: r.tokenBytesMax} })
	f.verifiers = gateway.Recall(memory, "jwt/verifiers", func() *verifiers { return new(verifiers) })
	if fixed {
		f.keys = gateway.Recall(memory, "jwt/fixed/"+s.fingerprint(), func() *Keys { return fixedKeys(kept) })
		return f, nil
	}
	fetch := s.Fetch.withDefaults()
	place := fetch.from() + " " + fetch.CA
	place += fmt.Sprintf(" %d", fetch.Secret)
	f.keys = gateway.Recall(memory, "jwt/keys/"+place, func() *Keys { return new(Keys) })
	f.fetcher = gateway.Recall(memory, fmt.Sprintf("jwt/fetcher/%s %v %v %v %v", place, fetch.Refresh, fetch.Timeout, fetch.Stale, fetch.AskEvery),
		func() *Fetcher { return newFetcher(fetch, f.keys, s.Logger) })
	if fetch.File != "" && f.keys.now.Load() == nil {
		if err := f.fetcher.first(); err != nil {
			c.fail("keys", "", "%v", err)
			return nil, c.problems
		}
	}
	if guard != nil {
		guard.Tell, guard.Detail = f.tell, func() any { return f.fetcher.State() }
	}
	return f, nil
}

// tell tells metrics how it stands with the keys.
func (f *Filter) tell(yield func(number string, value float64)) {
	s := f.fetcher.State()
	yield("keys", float64(s.Keys))
	yield("key_fetch_failures", float64(s.Failures))
}

// compilation collects problems.
type compilation struct {
	spec     Spec
	problems []Problem
}

func (c *compilation) fail(field, fix, cause string, args ...any) {
	c.problems = append(c.problems, Problem{field, fmt.Sprintf(cause, args...), fix})
}

func (c *compilation) rules() rules {
	s := &c.spec
	r := rules{issuers: s.Issuers, audiences: s.Audiences, expiryMay: s.ExpiryOptional, tokenBytesMax: s.TokenBytesMax, scopes: s.Scopes, claims: s.Claims}
	for i, name := range s.Algorithms {
		m := methodOf(string(name))
		switch {
		case m == nil && strings.EqualFold(string(name), "none"):
			c.fail(at("algorithms", i), "remove it", "a token that is not signed says nothing")
		case m == nil:
			c.fail(at("algorithms", i), "known: "+joined(Algorithms()), "there is no algorithm %q here", name)
		case slices.Contains(r.methods, m):
			c.fail(at("algorithms", i), "remove one of them", "%q is listed twice", name)
		default:
			r.methods = append(r.methods, m)
		}
	}
	for _, needed := range []struct {
		field string
		n     int
	}{{"algorithms", len(s.Algorithms)}, {"issuer", len(s.Issuers)}, {"audience", len(s.Audiences)}} {
		if needed.n == 0 {
			c.fail(needed.field, "", "%s is needed: without it a token made for somebody else would do", needed.field)
		}
	}
	for _, t := range s.Types {
		r.types = append(r.types, mediaType(t))
	}
	switch {
	case s.Skew == 0:
		r.skew = int64(skewDefault / time.Second)
	case s.Skew > 0:
		r.skew = int64(s.Skew / time.Second)
	}
	switch {
	case s.TokenBytesMax == 0:
		r.tokenBytesMax = tokenBytesDefault
	case s.TokenBytesMax < TokenBytesLeast || s.TokenBytesMax > TokenBytesMost:
		c.fail("max_token", "", "a token may be bounded by %d to %d bytes, not by %d", TokenBytesLeast, TokenBytesMost, s.TokenBytesMax)
	}
	return r
}

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func joined(list []Algorithm) string {
	var b strings.Builder
	for i, a := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(a))
	}
	return b.String()
}

// keys returns the keys that are written in the settings; fixed is false if they are fetched.
func (c *compilation) keys(methods []*method) (fixed bool, list []*Key) {
	s := &c.spec
	given := 0
	for _, is := range []bool{s.Fetch.URL != "", s.Fetch.File != "", s.Secret != nil, s.PEM != nil, s.Set != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		c.fail("keys", "write one of url, file, secret_file, secret_env, pem, jwks", "keys come from one place, found %d", given)
		return true, nil
	}
	field := ""
	var err error
	switch {
	case s.Secret != nil:
		field = "keys"
		list, err = ParseSecret(s.Secret)
	case s.PEM != nil:
		field = "keys.pem"
		list, err = ParsePEM(s.PEM)
	case s.Set != nil:
		field = "keys.jwks"
		var set *Set
		if set, err = ParseSet(s.Set, false); err == nil {
			list = set.Keys
			if len(set.Skipped) > 0 {
				err = fmt.Errorf("it has keys that cannot be used (%s)", set.Skipped[0])
			}
		}
	case s.Fetch.URL != "":
		if cause, fix := CheckURL(s.Fetch.URL); cause != "" {
			c.fail("keys.url", fix, "%s", cause)
		}
		c.unpublished(methods)
		return false, nil
	default:
		for i, m := range methods {
			if s.Fetch.Secret != NoSecret && m.family != secret {
				c.fail(at("algorithms", i), "remove it, or write keys: {file: ...}", "there is no key for %s: what the file holds is a secret", m.name)
			}
		}
		return false, nil
	}
	if err != nil {
		fix := ""
		if s.Secret != nil {
			fix = "make one by: openssl rand -hex 32"
		}
		c.fail(field, fix, "%v", err)
		return true, nil
	}
	// A listed algorithm without a key, and a key without an algorithm, are mistakes of whoever wrote both down.
	for i, m := range methods {
		if !slices.ContainsFunc(list, func(k *Key) bool { return k.takes(m) }) {
			c.fail(at("algorithms", i), "remove it, or add its key", "there is no key for %s%s", m.name, shortSecret(list, m))
		}
	}
	for i, k := range list {
		if !slices.ContainsFunc(methods, k.takes) {
			c.fail(field, "list an algorithm for it", "key %d is of the kind %s, and no algorithm listed uses it", i+1, k.family)
		}
	}
	return true, list
}

// unpublished refuses HMACs with keys that anybody can read.
func (c *compilation) unpublished(methods []*method) {
	for i, m := range methods {
		if m.family == secret {
			c.fail(at("algorithms", i), "write keys: {secret_env: JWT_SECRET}, or use RS256 or ES256", "%s needs a secret, and what a URL gives is none", m.name)
		}
	}
}

func shortSecret(list []*Key, m *method) string {
	for _, k := range list {
		if k.family == secret && m.family == secret {
			return fmt.Sprintf(": the secret has %d bytes, and %s needs %d (RFC 7518 section 3.2)", len(k.secret), m.name, m.bytes)
		}
	}
	return ""
}

func (c *compilation) places() {
	for i, p := range c.spec.Places {
		if slices.Contains(c.spec.Places[:i], p) {
			c.fail(at("from", i), "remove one of them", "the place is listed twice")
		}
		if p.Kind != InHeader {
			continue
		}
		switch message.Identify([]byte(p.Name)) {
		case message.Authorization:
			c.fail(at("from", i), "write authorization", "the field Authorization is a place of its own")
		case message.Host, message.Cookie, message.Connection, message.ContentLength, message.TransferEncoding, message.Upgrade, message.TE, message.Trailer:
			c.fail(at("from", i), "use a field of your own", "no token can be in the field %s", p.Name)
		}
	}
	for _, h := range c.spec.Headers {
		switch message.Identify([]byte(h.Name)) {
		case message.Authorization, message.Host, message.Cookie, message.Connection, message.ContentLength, message.TransferEncoding, message.Upgrade,
			message.TE, message.Trailer, message.KeepAlive, message.ProxyConnection, message.Expect, message.HTTP2Settings:
			c.fail("headers", "use a field of your own, such as x-user", "the field %q has a meaning of its own", h.Name)
		}
	}
}

// fingerprint stands for all that a verdict on a token follows from.
func (s *Spec) fingerprint() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %q %q %q %d %q %q %q", s.Algorithms, s.Issuers, s.Audiences, s.Fetch.URL, s.Fetch.CA, s.Fetch.File, s.Fetch.Secret, s.Secret, s.PEM, s.Set)
	fmt.Fprintf(sum, "%q %d %t %q %d", s.Types, s.Skew, s.ExpiryOptional, s.Scopes, s.TokenBytesMax)
	for _, c := range s.Claims {
		fmt.Fprintf(sum, "%q %q", c.Claim, c.OneOf)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (s *Spec) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tokens of %s for %s, signed by %s with ", strings.Join(s.Issuers, ", "), strings.Join(s.Audiences, ", "), joined(s.Algorithms))
	switch from := s.Fetch.from(); {
	case from != "":
		b.WriteString("keys from " + from)
	case s.Secret != nil:
		b.WriteString("a secret")
	default:
		b.WriteString("keys from the document")
	}
	if s.Optional {
		b.WriteString("; requests without one go on")
	}
	if len(s.Scopes) > 0 {
		b.WriteString("; scopes " + strings.Join(s.Scopes, " "))
	}
	for _, c := range s.Claims {
		b.WriteString("; claim " + c.Claim)
		if len(c.OneOf) > 0 {
			b.WriteString(" = " + strings.Join(c.OneOf, " or "))
		}
	}
	for _, h := range s.Headers {
		fmt.Fprintf(&b, "; %s: %s", h.Name, h.Claim)
	}
	return b.String()
}
