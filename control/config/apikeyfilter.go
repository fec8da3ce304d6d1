package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// APIKeyFilter knows clients by keys they send.
type APIKeyFilter struct {
	Pos
	From    APIKeyPlaces
	Keys    []APIKeyConsumer
	File    string
	Forward bool
	Headers []Field
	Guard   GuardMode
}

func (v *APIKeyFilter) guardMode() GuardMode { return v.Guard }

// APIKeyPlaces is where a key is looked for.
type APIKeyPlaces struct{ Header, Query, Cookie []string }

// APIKeyConsumer is a consumer and its keys. Keys are kept as their sums only, so that they cannot get into anything that is made
// of the document.
type APIKeyConsumer struct {
	Pos
	Name       string
	Sums       []string // SHA-256, hexadecimal
	Attributes []Attribute
}

// The lengths of keys in plain.
const (
	apiKeyBytesMin = 16 // 96 bits in Base64: a key must not be guessed
	apiKeyBytesMax = 512
)

var apiKeyFilterObject = sync.OnceValue(func() *object[APIKeyFilter] {
	type T = APIKeyFilter
	return &object[T]{
		name: "api_key", article: "an",
		about: "Knows clients by keys they send. Whose key it is becomes the claim sub, and the consumer's attributes claims too. Requests without a key that is somebody's are answered 401.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			always("from", section(apiKeyPlacesObject), func(v *T) *APIKeyPlaces { return &v.From }, `Where a key is looked for, in this order: header, query, cookie. The header X-API-Key by default. In a query keys get into histories and logs; use it for old clients only.`),
			may("keys", mapOf(section(apiKeyConsumerObject), func(v *APIKeyConsumer) *string { return &v.Name }, func(v *APIKeyConsumer) *Pos { return &v.Pos },
				func(*decoder, *yaml.Node, string) bool { return true }, asWritten), func(v *T) *[]APIKeyConsumer { return &v.Keys }, `Consumers by their names. keys or file, or both.`),
			may("file", fileName(), func(v *T) *string { return &v.File }, `File with a key to a line: NAME sha256:HEX ATTRIBUTE=VALUE. It is followed: a changed file counts at once; one with a mistake is reported, and what was read before stays.`),
			def("forward", boolean(), func(v *T) *bool { return &v.Forward }, false, `Leave the key on the request. Off: the upstream does not need it, and what it does not have it cannot log.`),
			may("headers", claimHeaders(), func(v *T) *[]Field { return &v.Headers }, claimHeadersAbout),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.clean && len(v.Keys) == 0 && v.File == "" {
				d.fail(n, "write keys: {NAME: {sha256: HEX}}, or file: keys.txt", "there are no keys, so that nobody could be let in")
			}
			if p := &v.From; len(p.Header)+len(p.Query)+len(p.Cookie) == 0 {
				p.Header = []string{"x-api-key"}
			}
		},
	}
})

var apiKeyPlacesObject = sync.OnceValue(func() *object[APIKeyPlaces] {
	type T = APIKeyPlaces
	return &object[T]{
		name: "api_key_places", article: "an",
		about: "Where a key is looked for.",
		keys: []key[T]{
			may("header", oneOrMore(fieldName()), func(v *T) *[]string { return &v.Header }, `Header fields. Of Authorization it is what follows Bearer or ApiKey.`),
			may("query", oneOrMore(text("query parameter", notEmpty)), func(v *T) *[]string { return &v.Query }, `Query parameters.`),
			may("cookie", oneOrMore(text("cookie name", fieldNameText)), func(v *T) *[]string { return &v.Cookie }, `Cookies.`),
		},
	}
})

var apiKeyConsumerObject = sync.OnceValue(func() *object[APIKeyConsumer] {
	type T = APIKeyConsumer
	sums := func(v *T) *[]string { return &v.Sums }
	return &object[T]{
		name: "api_key_consumer", article: "an",
		about: "A consumer: who a key belongs to.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("sha256", oneOrMore(text("SHA-256 sum", isSum)), sums, `SHA-256 of the key, as sha256sum writes it: printf %s "$KEY" | sha256sum. A list while one key takes the place of another.`),
			other("key", oneOrMore(plainKey()), sums, `The key itself, of 16 to 512 characters, which is kept as its sum: from a variable, ${ACME_KEY}. Written out it is a secret in a document, which is warned of.`),
			may("attributes", attributes(), func(v *T) *[]Attribute { return &v.Attributes }, `What else is known of the consumer: names to values. Other guards can use them as claims.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			switch {
			case g.clean && len(v.Sums) == 0:
				d.fail(n, "add sha256: with the sum of its key", "the consumer has no key")
			case g.key("sha256") != nil && g.key("key") != nil:
				d.fail(g.key("key"), "keep one of sha256 and key; each may be a list", "the consumer's keys are said in two ways")
			}
		},
	}
})

func isSum(s string) (cause, fix string) {
	const how = `write what sha256sum says: printf %s "$KEY" | sha256sum`
	if len(s) != 2*sha256.Size {
		// Not repeated: it may be the key.
		return fmt.Sprintf("a SHA-256 sum has 64 hexadecimal digits, found %d characters", len(s)), how
	}
	if _, err := hex.DecodeString(s); err != nil {
		return "a SHA-256 sum has hexadecimal digits only", how
	}
	return "", ""
}

// plainKey reads a key and keeps its sum.
func plainKey() kind[string] {
	inner := text("key")
	return kind[string]{
		word: inner.word,
		read: func(d *decoder, n *yaml.Node, v *string) {
			var s string
			before := d.errors
			inner.read(d, n, &s)
			if d.errors != before {
				return
			}
			if len(s) < apiKeyBytesMin || len(s) > apiKeyBytesMax || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				d.fail(n, "make one with: openssl rand -base64 24", "a key has %d to %d visible characters, found %d", apiKeyBytesMin, apiKeyBytesMax, len(s))
				return
			}
			if isWrittenOut(n) {
				d.warn(n, "write sha256: with its sum, or take it from a variable: key: ${NAME}", "a key stands in the document, for all who may read it")
			}
			sum := sha256.Sum256([]byte(s))
			*v = hex.EncodeToString(sum[:])
		},
		write:  inner.write,
		schema: inner.schema,
	}
}
