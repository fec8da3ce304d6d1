package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// pair is a key of the tests' issuer: go-jose signs, so that the two sides share no code.
type pair struct {
	kid     string
	alg     Algorithm
	private any
}

func (p pair) public() any {
	if s, ok := p.private.(crypto.Signer); ok {
		return s.Public()
	}
	return p.private
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pairs has one key for each algorithm, by name.
var pairs = sync.OnceValue(func() map[Algorithm]pair {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(0, err)
	secretKey := make([]byte, 64)
	rand.Read(secretKey)
	all := map[Algorithm]pair{}
	for _, m := range methods {
		var private any
		switch m.family {
		case secret:
			private = secretKey
		case familyRSA:
			private = rsaKey
		case p256:
			private = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		case p384:
			private = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
		case p521:
			private = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
		default:
			private = ed
		}
		all[m.name] = pair{"kid-" + string(m.name), m.name, private}
	}
	return all
})

// familyRSA has another name where a key is called rsaKey.
const familyRSA = rsaKey

// sign makes a token of a header and claims.
func (p pair) sign(header map[string]any, claims string) string {
	alg := p.alg
	if alg == Ed25519 {
		alg = EdDSA // go-jose knows the older name only; the header is written by us
	}
	h := map[string]any{"alg": p.alg, "kid": p.kid}
	for k, v := range header {
		if h[k] = v; v == nil {
			delete(h, k)
		}
	}
	signed := b64(must(json.Marshal(h))) + "." + b64([]byte(claims))
	return signed + "." + p.signature(alg, signed)
}

// signature signs any text: go-jose signs a payload under a header, so the text is cut where a token is.
func (p pair) signature(alg Algorithm, signed string) string {
	return b64(signRaw(alg, p.private, []byte(signed)))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// joseToken is a token made by go-jose alone.
func joseToken(p pair, claims string) string {
	opts := (&jose.SignerOptions{}).WithHeader("kid", p.kid).WithType("JWT")
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(p.alg), Key: p.private}, opts))
	return must(must(signer.Sign([]byte(claims))).CompactSerialize())
}

// jwks is a key set of the public keys.
func jwks(list ...pair) []byte {
	var set jose.JSONWebKeySet
	for _, p := range list {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: p.public(), KeyID: p.kid, Use: "sig"})
	}
	return must(json.Marshal(set))
}

// keySet is the set of the public keys.
func keySet(t testing.TB, list ...pair) *KeySet {
	t.Helper()
	set, err := ParseSet(jwks(list...), true)
	if err != nil {
		t.Fatal(err)
	}
	var none *KeySet
	return none.successor(set.Keys)
}

// testRules accept tokens of goodClaims by these algorithms.
func testRules(names ...Algorithm) rules {
	r := rules{issuers: []string{"https://idp.test/"}, audiences: []string{"api"}, skew: 30, tokenBytesMax: 8 << 10}
	for _, n := range names {
		r.methods = append(r.methods, methodOf(string(n)))
	}
	return r
}

// now is the time of the tests, Unix seconds.
const now = 1_800_000_000

const goodClaims = `{"iss":"https://idp.test/","aud":"api","sub":"alice","exp":1800000600,"iat":1799999990}`

// accept judges a token as a filter does, without its cache.
func accept(text string, at int64, set *KeySet, r *rules) string {
	d := &desk{}
	t, refused := d.read([]byte(text), at, r)
	if refused != nil {
		return refused.reason
	}
	from, known := set.find(t.kid, t.hasKid, t.method)
	switch {
	case !known:
		return unknownKey.reason
	case from.n == 0:
		return algorithm.reason
	}
	k := from.verify(t.method, t.signed, t.signature)
	if k == nil {
		return signature.reason
	}
	p := newPerson(d, &t, k, r)
	if p.refused != nil {
		return p.refused.reason
	}
	sub, _ := p.claims.Claim("sub")
	return "sub=" + string(sub)
}

// with changes claims of goodClaims; a nil value removes one.
func with(changes map[string]any) string {
	var all map[string]any
	must(0, json.Unmarshal([]byte(goodClaims), &all))
	for k, v := range changes {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	return string(must(json.Marshal(all)))
}

func unb64(s string) []byte {
	return must(base64.RawURLEncoding.DecodeString(strings.Join(strings.Fields(s), "")))
}
