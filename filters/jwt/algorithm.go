package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"math/big"
)

// Algorithm is a way to sign, by its name in RFC 7518 section 3.1, RFC 8037 or RFC 9864.
type Algorithm string

// The algorithms there are. Ed25519 is EdDSA by its newer name: whoever takes both lists both.
const (
	HS256   Algorithm = "HS256"
	HS384   Algorithm = "HS384"
	HS512   Algorithm = "HS512"
	RS256   Algorithm = "RS256"
	RS384   Algorithm = "RS384"
	RS512   Algorithm = "RS512"
	PS256   Algorithm = "PS256"
	PS384   Algorithm = "PS384"
	PS512   Algorithm = "PS512"
	ES256   Algorithm = "ES256"
	ES384   Algorithm = "ES384"
	ES512   Algorithm = "ES512"
	EdDSA   Algorithm = "EdDSA"
	Ed25519 Algorithm = "Ed25519"
)

// family is which keys an algorithm goes with. A key has exactly one: that is what keeps a public RSA key from being taken
// for the secret of an HMAC.
type family uint8

const (
	noFamily family = iota
	secret          // HMAC
	rsaKey
	p256
	p384
	p521
	ed25519Key
)

func (f family) String() string {
	return [...]string{"none", "secret", "RSA", "P-256", "P-384", "P-521", "Ed25519"}[f]
}

// method is how an algorithm verifies.
type method struct {
	name   Algorithm
	family family
	hash   crypto.Hash
	pss    bool
	// bytes is the length of the signature where it is fixed (RFC 7518 section 3.4: two numbers of the curve's size), or of
	// the shortest secret (section 3.2: as long as the hash).
	bytes int
}

// methods is every algorithm that settings can list.
var methods = [...]method{
	{HS256, secret, crypto.SHA256, false, 32},
	{HS384, secret, crypto.SHA384, false, 48},
	{HS512, secret, crypto.SHA512, false, 64},
	{RS256, rsaKey, crypto.SHA256, false, 0},
	{RS384, rsaKey, crypto.SHA384, false, 0},
	{RS512, rsaKey, crypto.SHA512, false, 0},
	{PS256, rsaKey, crypto.SHA256, true, 0},
	{PS384, rsaKey, crypto.SHA384, true, 0},
	{PS512, rsaKey, crypto.SHA512, true, 0},
	{ES256, p256, crypto.SHA256, false, 64},
	{ES384, p384, crypto.SHA384, false, 96},
	{ES512, p521, crypto.SHA512, false, 132},
	{EdDSA, ed25519Key, 0, false, 64},
	{Ed25519, ed25519Key, 0, false, 64},
}

// methodOf returns the method of a name, nil if there is none of it.
func methodOf(name string) *method {
	for i := range methods {
		if string(methods[i].name) == name {
			return &methods[i]
		}
	}
	return nil
}

// Algorithms returns every algorithm that settings can list.
func Algorithms() []Algorithm {
	list := make([]Algorithm, len(methods))
	for i := range methods {
		list[i] = methods[i].name
	}
	return list
}

// verify tells whether the signature of signed is the key's. The key's family must be the method's.
func (m *method) verify(k *Key, signed, signature []byte) bool {
	if k.family != m.family {
		return false
	}
	var room [sha512.Size]byte
	switch m.family {
	case secret:
		mac := hmac.New(m.newHash, k.secret)
		mac.Write(signed)
		return hmac.Equal(mac.Sum(room[:0]), signature)
	case rsaKey:
		sum := m.sum(signed, &room)
		if m.pss {
			// RFC 7518 section 3.5: the salt is as long as the hash.
			return rsa.VerifyPSS(k.rsa, m.hash, sum, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(k.rsa, m.hash, sum, signature) == nil
	case p256, p384, p521:
		if len(signature) != m.bytes {
			return false
		}
		half := m.bytes / 2
		return ecdsa.Verify(k.ecdsa, m.sum(signed, &room), new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	case ed25519Key:
		return len(signature) == m.bytes && ed25519.Verify(k.ed25519, signed, signature)
	}
	return false
}

func (m *method) newHash() hash.Hash {
	switch m.hash {
	case crypto.SHA384:
		return sha512.New384()
	case crypto.SHA512:
		return sha512.New()
	}
	return sha256.New()
}

func (m *method) sum(signed []byte, room *[sha512.Size]byte) []byte {
	switch m.hash {
	case crypto.SHA384:
		sum := sha512.Sum384(signed)
		return append(room[:0], sum[:]...)
	case crypto.SHA512:
		sum := sha512.Sum512(signed)
		return append(room[:0], sum[:]...)
	}
	sum := sha256.Sum256(signed)
	return append(room[:0], sum[:]...)
}
