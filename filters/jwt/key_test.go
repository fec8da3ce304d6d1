package jwt

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestKeySetsThatAreRefused(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	ec := strings.TrimSuffix(strings.TrimPrefix(string(jwks(pairs()[ES256])), `{"keys":[`), `]}`)
	f := func(text string, secrets bool, want string) {
		t.Helper()
		set, err := ParseSet([]byte(text), secrets)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("%d keys, %d skipped", len(set.Keys), len(set.Skipped))
		}
		if !strings.Contains(got, want) {
			t.Errorf("%.80s: got %q, want %q", text, got, want)
		}
	}
	keys := func(list ...string) string { return `{"keys":[` + strings.Join(list, ",") + `]}` }
	f(keys(ec), false, "1 keys, 0 skipped")
	f("", false, "it is no key set")
	f("<html>", false, "it is no key set")
	f("{}", false, `it has no list "keys"`)
	f(`{"keys":null}`, false, `it has no list "keys"`)
	f(`{"keys":[]}`, false, "it has no keys")
	f(`{"keys":{}}`, false, "it is no key set")
	f(`{"keys":[1,null,"a",[]]}`, false, "it has no key that can be used (key 1:")
	f(keys(`{"kty":"EC"}`), false, "it has no key that can be used")
	f(keys(`{"kty":"XX","kid":"new"}`, ec), false, "1 keys, 1 skipped") // RFC 7517 section 5: passed over
	f(keys(strings.Replace(ec, `"sig"`, `"enc"`, 1)), false, `it is for the use "enc"`)
	f(keys(strings.Replace(ec, `{`, `{"key_ops":["sign"],`, 1)), false, "do not have verify")
	f(keys(strings.Replace(ec, `{`, `{"key_ops":["verify"],`, 1)), false, "1 keys, 0 skipped")
	f(keys(strings.Replace(ec, `{`, `{"alg":"RS256",`, 1)), false, "of the kind P-256 and says it is for RS256")
	f(keys(strings.Replace(ec, `{`, `{"alg":"none",`, 1)), false, `for the algorithm "none"`)
	f(keys(strings.Replace(ec, `{`, `{"alg":"ES256",`, 1)), false, "1 keys, 0 skipped")
	f(keys(strings.Replace(ec, `{`, `{"kty":"RSA",`, 1)), false, "has a member twice")
	f(keys(strings.Replace(ec, pairs()[ES256].kid, strings.Repeat("k", kidBytesMax+1), 1)), false, "its name has 257 bytes")
	f(string(jwks(pairs()[HS256])), false, "a secret, in a key set that is published")
	f(string(jwks(pairs()[HS256])), true, "1 keys, 0 skipped")
	f(keys(`{"kty":"oct","k":"AAAA"}`), true, "the secret has 3 bytes")
	f(keys(string(must(jose.JSONWebKey{Key: &small.PublicKey, KeyID: "s"}.MarshalJSON()))), false, "an RSA key of 1024 bits")
	f(keys(string(must(jose.JSONWebKey{Key: &rsa.PublicKey{N: pairs()[RS256].private.(*rsa.PrivateKey).N, E: 1}, KeyID: "s"}.MarshalJSON()))), false, "bad e value")
	f(keys()+strings.Repeat(" ", setBytesMax), false, "more than 1048576")
	f(keys(strings.Split(strings.Repeat(ec+"|", keysMax+1), "|")[:keysMax]...), false, "100 keys, 0 skipped")
	f(keys(strings.Split(strings.Repeat(ec+"|", keysMax+1), "|")[:keysMax+1]...), false, "it has 101 keys, more than 100")
	// A private key serves by its public part.
	private := string(must(jose.JSONWebKey{Key: pairs()[ES256].private, KeyID: "p"}.MarshalJSON()))
	f(keys(private), false, "1 keys, 0 skipped")
}

func TestPEM(t *testing.T) {
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	public := func(p pair) string { return block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(p.public()))) }
	rsaPair := pairs()[RS256]
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	for _, c := range []struct{ text, want string }{
		{public(rsaPair), "RSA"},
		{public(pairs()[ES256]) + "\n" + public(pairs()[ES384]) + public(pairs()[ES512]) + public(pairs()[EdDSA]), "P-256 P-384 P-521 Ed25519"},
		{block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(rsaPair.public().(*rsa.PublicKey))), "RSA"},
		{block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, rsaPair.public(), rsaPair.private))), "RSA"},
		{"text before\n" + public(rsaPair) + "text behind", "RSA"},
		{"", "it holds no PEM block"},
		{"hello", "it holds no PEM block"},
		{block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaPair.private))), "it holds a private key"},
		{public(rsaPair) + block("RSA PRIVATE KEY", []byte{1}), "it holds a private key"},
		{block("EC PARAMETERS", []byte{1}), `it holds a block "EC PARAMETERS"`},
		{block("PUBLIC KEY", []byte{1}), "asn1"},
		{strings.Repeat(public(rsaPair), candidatesMax+1), "5 keys without names"},
	} {
		keys, err := ParsePEM([]byte(c.text))
		var kinds []string
		for _, k := range keys {
			kinds = append(kinds, k.family.String())
		}
		got := strings.Join(kinds, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%.60q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestWhichKeysATokenIsTriedWith(t *testing.T) {
	named := func(alg Algorithm, kid string) pair { p := pairs()[alg]; p.kid = kid; return p }
	set := keySet(t, named(ES256, "a"), named(RS256, "a"), named(ES256, "b"), named(EdDSA, ""), named(ES384, "c"))
	for _, c := range []struct {
		kid, alg string
		want     string
	}{
		{"a", "ES256", "1 true"},
		{"a", "RS256", "1 true"}, // two keys of one name and different kinds (RFC 7517 section 4.5)
		{"a", "ES384", "0 true"},
		{"a", "EdDSA", "0 true"},
		{"c", "ES384", "1 true"},
		{"x", "ES256", "0 false"},
		{"x", "EdDSA", "1 true"}, // the key without a name
		{"", "EdDSA", "1 true"},
		{"-", "ES256", "2 true"},
		{"-", "RS256", "1 true"},
		{"-", "HS256", "0 true"},
	} {
		got, known := set.find([]byte(c.kid), c.kid != "-", methodOf(c.alg))
		if is := fmt.Sprint(got.n, known); is != c.want {
			t.Errorf("%q %s: got %s, want %s", c.kid, c.alg, is, c.want)
		}
	}
	// candidatesMax: a token without a name is tried with no more.
	var many []*Key
	for i := range candidatesMax + 1 {
		k := *keySet(t, pairs()[ES256]).keys[0]
		k.kid = fmt.Sprint(i)
		many = append(many, &k)
	}
	var none *KeySet
	got, _ := none.successor(many).find(nil, false, methodOf("ES256"))
	if got.n != candidatesMax || !got.more {
		t.Errorf("%d candidates, more: %v", got.n, got.more)
	}
}

// What the cache knows rests on this: the key that stays is the same pointer, and a set that is the same is the same pointer.
func TestSetsThatFollowOneAnother(t *testing.T) {
	a, b := keySet(t, pairs()[ES256]).keys[0], keySet(t, pairs()[RS256]).keys[0]
	a2, b2 := keySet(t, pairs()[ES256]).keys[0], keySet(t, pairs()[RS256]).keys[0]
	var none *KeySet
	s1 := none.successor([]*Key{a, a2})
	if len(s1.keys) != 1 {
		t.Error("the same key is there twice")
	}
	if s1.successor([]*Key{a2}) != s1 {
		t.Error("the same keys make another set")
	}
	s2 := s1.successor([]*Key{b, a2})
	if s2 == s1 || !s2.has(a) || s2.has(a2) || !s2.has(b) {
		t.Error("a key that stays is another")
	}
	if s2.successor([]*Key{a2, b2}) != s2 {
		t.Error("another order makes another set")
	}
	s3 := s2.successor([]*Key{b2, b2})
	if s3 == s2 || s3.has(a) || !s3.has(b) || len(s3.keys) != 1 {
		t.Error("a key that is gone is still there")
	}
}
